//! The sessions of each principal, and which of them a new one replaces.

use std::{collections::HashMap, sync::Arc};

use crate::{
    config::{HubConfig, PrincipalLimit},
    refusal::Refusal,
};

/// The sessions of all principals, by their number.
#[derive(Default)]
pub(super) struct Principals(HashMap<Arc<str>, Sessions>);

/// The sessions of a principal.
#[derive(Default)]
struct Sessions {
    /// Those that count, the oldest first.
    open: Vec<u64>,
    /// The number of sessions that were replaced and have not ended yet: a client may delay its end by seconds.
    replaced: usize,
}

impl Principals {
    /// Adds the session `id` of `principal`. Returns the session that it replaces.
    ///
    /// # Errors
    /// Returns [`Refusal::Principal`] if the principal has too many sessions.
    pub(super) fn add(
        &mut self,
        principal: &Arc<str>,
        id: u64,
        config: &HubConfig,
    ) -> Result<Option<u64>, Refusal> {
        let max = config.max_sessions_per_principal;
        let sessions = self.0.entry(principal.clone()).or_default();
        if sessions.open.len() < max {
            sessions.open.push(id);
            return Ok(None);
        }
        // Without the second limit, a principal that opens sessions in a loop could hold any number of replaced ones.
        if config.when_principal_is_full == PrincipalLimit::Refuse || sessions.replaced >= max {
            return Err(Refusal::Principal);
        }
        let oldest = sessions.open.remove(0);
        sessions.open.push(id);
        sessions.replaced += 1;
        Ok(Some(oldest))
    }

    /// Returns whether `principal` has a session.
    pub(super) fn contains(&self, principal: &str) -> bool {
        self.0.contains_key(principal)
    }

    /// Removes a session that has ended.
    pub(super) fn remove(&mut self, principal: &Arc<str>, id: u64) {
        let Some(sessions) = self.0.get_mut(principal) else { return };
        match sessions.open.iter().position(|open| *open == id) {
            Some(index) => drop(sessions.open.remove(index)),
            None => sessions.replaced -= 1,
        }
        if sessions.open.is_empty() && sessions.replaced == 0 {
            self.0.remove(principal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_principal_replaces_its_oldest_session_or_is_refused() {
        let ann: Arc<str> = "ann".into();
        let config = HubConfig::default().max_sessions_per_principal(2);
        let mut principals = Principals::default();
        let mut add = |id, config: &HubConfig| principals.add(&ann, id, config);
        assert_eq!([add(1, &config), add(2, &config)], [Ok(None), Ok(None)]);
        assert_eq!(add(3, &config), Err(Refusal::Principal));
        let config = config.when_principal_is_full(PrincipalLimit::EndOldest);
        assert_eq!([add(3, &config), add(4, &config)], [Ok(Some(1)), Ok(Some(2))]);
        assert_eq!(add(5, &config), Err(Refusal::Principal), "two replaced sessions have not ended");
        principals.remove(&ann, 1);
        assert_eq!(principals.add(&ann, 5, &config), Ok(Some(3)));
        [2, 3, 4, 5].iter().for_each(|id| principals.remove(&ann, *id));
        assert!(principals.0.is_empty());
    }
}

//! The paths that are labels of metrics.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

/// Labels in all. A server has fewer methods.
const MAX_LABELS: usize = 1_024;
/// Labels of paths that have not answered a call. A layer in front of the handlers, such as an interceptor, can refuse
/// calls of any path, so that such a path may be no method.
const MAX_UNPROVEN: usize = 128;
/// The longest label in bytes.
const MAX_LENGTH: usize = 256;

/// The labels of a server, so that a peer cannot create any number of them.
///
/// A path that has answered a call is a label. A path that only failed is one as well, so that a method that fails from the
/// start is seen, within a limit that does not keep out the paths that answer.
#[derive(Debug, Default)]
pub(super) struct MethodLabels(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether the path has answered a call.
    labels: HashMap<Box<str>, bool>,
    unproven: usize,
}

impl MethodLabels {
    /// Returns whether `path` is a label. `answered`: a handler has answered the call.
    pub(super) fn admit(&self, path: &str, answered: bool) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).labels.get(path).copied();
        match known {
            Some(proven) if proven || !answered => true,
            _ if path.len() > MAX_LENGTH => false,
            _ => self.0.write().unwrap_or_else(PoisonError::into_inner).add(path, answered),
        }
    }
}

impl State {
    fn add(&mut self, path: &str, answered: bool) -> bool {
        if let Some(proven) = self.labels.get_mut(path) {
            if answered && !*proven {
                *proven = true;
                self.unproven -= 1;
            }
            return true;
        }
        let full = if answered { self.labels.len() >= MAX_LABELS } else { self.unproven >= MAX_UNPROVEN };
        if full {
            return false;
        }
        self.labels.insert(path.into(), answered);
        self.unproven += usize::from(!answered);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_any_path_keep_out_no_path_that_answers() {
        let labels = MethodLabels::default();
        let admitted = |name: &str, answered| {
            (0..2_000).filter(|number| labels.admit(&format!("/a.B/{name}{number}"), answered)).count()
        };
        assert_eq!(admitted("failed", false), MAX_UNPROVEN);
        assert_eq!(admitted("failed", false), MAX_UNPROVEN, "the first ones stay labels");
        assert!(labels.admit("/a.B/answers", true) && labels.admit("/a.B/answers", false));
        assert!(!labels.admit("/a.B/late", false), "no room");
        assert!(
            labels.admit("/a.B/failed0", true) && labels.admit("/a.B/late", false),
            "an answer makes room"
        );
        assert_eq!(admitted("answered", true), MAX_LABELS - MAX_UNPROVEN - 2);
        assert!(!labels.admit(&"x".repeat(MAX_LENGTH + 1), true));
    }
}

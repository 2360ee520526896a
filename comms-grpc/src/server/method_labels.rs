//! The paths that are labels of metrics.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::method_meter::MethodMeter;

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
pub(super) struct MethodLabels {
    histogram: &'static str,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    labels: HashMap<Box<str>, Arc<Label>>,
    unproven: usize,
}

/// A path that is a label, with its measurements.
pub(super) struct Label {
    meter: MethodMeter,
    /// Whether the path has answered a call.
    is_proven: AtomicBool,
}

impl Label {
    pub(super) const fn meter(&self) -> &MethodMeter {
        &self.meter
    }
}

impl MethodLabels {
    pub(super) fn new(histogram: &'static str) -> Self {
        Self { histogram, state: RwLock::default() }
    }

    /// Returns the label of `path`, if it is one.
    pub(super) fn get(&self, path: &str) -> Option<Arc<Label>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).labels.get(path).cloned()
    }

    /// Makes `path` a label, unless a limit is reached. `answered`: a handler has answered the call.
    pub(super) fn admit(&self, path: &str, answered: bool) -> Option<Arc<Label>> {
        if path.len() > MAX_LENGTH {
            return None;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = state.labels.get(path).cloned() {
            drop(state);
            self.prove(&known, answered);
            return Some(known);
        }
        let full = if answered { state.labels.len() >= MAX_LABELS } else { state.unproven >= MAX_UNPROVEN };
        if full {
            return None;
        }
        let meter = MethodMeter::new(self.histogram, path, None);
        let label = Arc::new(Label { meter, is_proven: AtomicBool::new(answered) });
        state.labels.insert(path.into(), label.clone());
        state.unproven += usize::from(!answered);
        Some(label)
    }

    /// Records that the path of `label` has `answered` a call.
    pub(super) fn prove(&self, label: &Label, answered: bool) {
        if answered && !label.is_proven.load(Relaxed) {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.unproven -= usize::from(!label.is_proven.swap(true, Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_any_path_keep_out_no_path_that_answers() {
        let labels = MethodLabels::new("test");
        let admitted = |name: &str, answered| {
            (0..2_000)
                .filter(|number| labels.admit(&format!("/a.B/{name}{number}"), answered).is_some())
                .count()
        };
        assert_eq!(admitted("failed", false), MAX_UNPROVEN);
        assert_eq!(admitted("failed", false), MAX_UNPROVEN, "the first ones stay labels");
        let is_admitted = |path: &str, answered| labels.admit(path, answered).is_some();
        assert!(is_admitted("/a.B/answers", true) && is_admitted("/a.B/answers", false));
        assert!(!is_admitted("/a.B/late", false), "no room");
        assert!(is_admitted("/a.B/failed0", true) && is_admitted("/a.B/late", false), "an answer makes room");
        assert_eq!(admitted("answered", true), MAX_LABELS - MAX_UNPROVEN - 2);
        assert!(!is_admitted(&"x".repeat(MAX_LENGTH + 1), true));
    }
}

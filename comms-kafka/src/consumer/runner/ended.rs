//! Lets the poll thread wait until runners have ended.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use crate::consumer::{assignment::Assignment, control::Control};
use comms_core::Error;

/// Notifies the poll thread when a runner ends.
#[derive(Default)]
pub(in crate::consumer) struct EndSignal {
    lock: Mutex<()>,
    changed: Condvar,
}

impl EndSignal {
    /// Blocks until the runners of all `assignments` have ended, for at most `limit`. Returns whether they have.
    pub(in crate::consumer) fn wait(&self, assignments: &[Arc<Assignment>], limit: Duration) -> bool {
        let running = |(): &mut ()| assignments.iter().any(|assignment| !assignment.has_ended());
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(lock, limit, running);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn end(&self, assignment: &Assignment) {
        // Under the lock: the poll thread must not miss the change between its check and its wait.
        let _lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        assignment.set_ended();
        self.changed.notify_all();
    }
}

/// Marks a runner as ended when it is dropped: at its end, by a panic, or with the runtime.
pub(in crate::consumer) struct EndGuard {
    pub(in crate::consumer) assignment: Arc<Assignment>,
    pub(in crate::consumer) signal: Arc<EndSignal>,
    pub(in crate::consumer) control: Arc<Control>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.signal.end(&self.assignment);
        if std::thread::panicking() {
            // Without its runner the partition would stand still.
            let Assignment { topic, partition, .. } = &*self.assignment;
            self.control.fail(Error::fatal(format!("the runner of {}/{partition} panicked", topic.name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::topic::Topic;

    #[test]
    fn a_waiting_thread_is_woken_by_the_last_end() {
        let topic = Arc::new(Topic::of_test("orders"));
        let assignments = [0, 1].map(|partition| Arc::new(Assignment::new(topic.clone(), partition)));
        let (signal, control) = (Arc::new(EndSignal::default()), Arc::new(Control::default()));
        let guard = |assignment: &Arc<Assignment>| EndGuard {
            assignment: assignment.clone(),
            signal: signal.clone(),
            control: control.clone(),
        };
        let guards = assignments.each_ref().map(guard);
        assert!(!signal.wait(&assignments, Duration::from_millis(1)));
        std::thread::scope(|scope| {
            let ended = scope.spawn(|| signal.wait(&assignments, Duration::from_secs(60)));
            drop(guards);
            assert!(ended.join().unwrap());
        });
        assert!(control.failure().is_none());
    }

    #[test]
    fn the_panic_of_a_runner_stops_the_consumer() {
        let assignment = Arc::new(Assignment::new(Arc::new(Topic::of_test("orders")), 3));
        let (signal, control) = (Arc::new(EndSignal::default()), Arc::new(Control::default()));
        let guard = EndGuard { assignment: assignment.clone(), signal, control: control.clone() };
        let panicked = std::thread::spawn(move || {
            let _guard = guard;
            panic!("expected panic");
        });
        assert!(panicked.join().is_err());
        assert!(assignment.has_ended() && control.stopping.is_cancelled());
        assert!(control.failure().unwrap().to_string().contains("orders/3"));
    }
}

//! The admin client: how it logs, what it last failed with, and how it is dropped.

use rdkafka::{
    ClientConfig, ClientContext,
    admin::AdminClient,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{client, error::classify};
use comms_core::{Error, ErrorKind};

pub(super) type Admin = AdminClient<Context>;

/// Keeps the last connection failure. An admin request to a broker that refuses the connection or the credentials ends
/// with a time-out, which names no reason.
#[derive(Default)]
pub(super) struct Context(Mutex<Option<String>>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
        if facility == "FAIL" {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.to_owned());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::error(&error, reason);
    }
}

pub(super) fn client(settings: &ClientConfig) -> Result<Admin, Error> {
    Admin::from_config_and_context(settings, Context::default()).map_err(classify)
}

/// `error` with the last connection failure, if the cluster could not be reached.
pub(super) fn explained(admin: &Admin, error: Error) -> Error {
    let failure = admin.inner().context().0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match failure.filter(|_| matches!(error.kind, ErrorKind::NotExecuted | ErrorKind::Indeterminate)) {
        Some(failure) => error.context(failure),
        None => error,
    }
}

/// A client whose drop blocks, and so happens on a thread of its own.
pub(super) struct Closing(Option<Arc<Admin>>);

impl Closing {
    pub(super) fn of(admin: Admin) -> (Self, Arc<Admin>) {
        let admin = Arc::new(admin);
        (Self(Some(admin.clone())), admin)
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let admin = self.0.take();
        // Without a thread the client is dropped here.
        let _ = std::thread::Builder::new().name("kafka-admin-close".to_owned()).spawn(move || drop(admin));
    }
}

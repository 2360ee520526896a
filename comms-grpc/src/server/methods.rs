//! The kinds of the methods of a server, from descriptor sets.

use std::collections::HashSet;

use comms_core::Error;
use prost::Message;
use prost_types::FileDescriptorSet;

/// The paths of the methods that take exactly one request message.
#[derive(Debug, Clone, Default)]
pub(super) struct Methods {
    single: HashSet<String>,
    services: HashSet<String>,
}

impl Methods {
    /// Adds the methods of an encoded `google.protobuf.FileDescriptorSet`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if `descriptors` cannot be decoded.
    pub(super) fn add(&mut self, descriptors: &[u8]) -> Result<(), Error> {
        let set = FileDescriptorSet::decode(descriptors).map_err(|error| {
            Error::invalid(error)
                .context("gRPC server: the descriptor set is not an encoded FileDescriptorSet")
        })?;
        for file in &set.file {
            let prefix =
                if file.package().is_empty() { String::new() } else { format!("{}.", file.package()) };
            for service in &file.service {
                let methods = service.method.iter().filter(|method| !method.client_streaming());
                let paths = methods.map(|method| format!("/{prefix}{}/{}", service.name(), method.name()));
                self.single.extend(paths);
                self.services.insert(format!("{prefix}{}", service.name()));
            }
        }
        Ok(())
    }

    /// Returns whether a descriptor set has the service.
    pub(super) fn has_service(&self, service: &str) -> bool {
        self.services.contains(service)
    }

    /// Returns whether the method at `path` is known to take exactly one request message.
    pub(super) fn is_single(&self, path: &str) -> bool {
        self.single.contains(path)
    }
}

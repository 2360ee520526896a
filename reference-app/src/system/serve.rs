//! Serves the listeners of the system.

use std::time::Duration;

use comms_core::Error;
use comms_grpc::Server;
use comms_ws::backplane::Backplane as _;
use tokio::net::TcpListener;

use super::{ADMIN, System};
use crate::{
    contracts::DESCRIPTORS,
    platform::{
        admin::{Admin, AdminToken},
        http,
        listeners::Limits,
        service::Serves,
        telemetry,
        tls::Tls,
    },
};

/// The longest time that the sessions of a hub may take to close.
const HUB_DRAIN: Duration = Duration::from_secs(5);

impl System {
    /// Serves the admin listener.
    pub(super) fn serve_admin(&self, listener: Option<TcpListener>, limits: &Limits) -> Result<(), Error> {
        let admin = Admin {
            health: self.health.clone(),
            policies: self.policies.clone(),
            channels: self.channels.clone(),
            sockets: self.sockets.clone(),
            holds: self.holds.clone(),
            sagas: self.sagas.clone(),
            projections: self.projections.clone(),
            token: AdminToken::load(&self.config)?,
            metrics: telemetry::init_metrics()?,
            clock: self.clock.clone(),
        };
        if let Some(listener) = listener {
            let limits = limits.admin();
            self.stages.admin.spawn(ADMIN, move |shutdown| admin.serve(listener, limits, shutdown));
        }
        Ok(())
    }

    /// Serves the routes of a service at its listener, in the stage for the listener's protocol.
    ///
    /// # Errors
    /// Returns `Internal` if a gRPC service has no certificate although TLS is on.
    pub(super) fn serve(
        &self,
        name: &'static str,
        listener: TcpListener,
        limits: &Limits,
        serves: Serves,
        tls: &Tls,
    ) -> Result<(), Error> {
        match serves {
            Serves::Nothing => {}
            Serves::Grpc { name: grpc_name, routes } => {
                let server = Server::new(routes)
                    .service_names([grpc_name])
                    .descriptors(DESCRIPTORS)
                    .health(self.health.clone())
                    .config(limits.grpc(name, tls.server(name)?))
                    .clock(self.clock.clone());
                let server = match tls.access(name, grpc_name, self.config.callers(name))? {
                    Some(access) => server.authorize(access),
                    None => server,
                };
                self.stages.calls.spawn(name, move |shutdown| server.serve(listener, shutdown.wait()));
            }
            Serves::Http(routes) => {
                let (limits, clock) = (limits.http(name), self.clock.clone());
                let routes = self.draining.layer(routes);
                self.stages.edge.spawn(name, move |shutdown| {
                    http::serve(listener, routes, limits, clock, shutdown.wait())
                });
            }
            Serves::Sockets { routes, hub, backplane } => {
                if let Some(backplane) = backplane {
                    // In the last stage, so that sessions get the messages of other processes until they are closed.
                    self.stages.databases.spawn("backplane", move |shutdown| async move {
                        backplane.run(shutdown).await;
                        Ok(())
                    });
                }
                let (limits, clock) = (limits.http(name), self.clock.clone());
                let routes = self.draining.layer(routes);
                self.stages.sockets.spawn(name, move |shutdown| async move {
                    let drained = async move {
                        shutdown.wait().await;
                        hub.drain(HUB_DRAIN).await;
                    };
                    http::serve(listener, routes, limits, clock, drained).await
                });
            }
        }
        Ok(())
    }
}

//! One client connection, as far as handlers care.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Session {
    pub peer: SocketAddr,
    /// Name of the listener the client came in by; decides which addresses it is told.
    pub listener: Arc<str>,
    /// The listener is one of the controller's (`controller.listener.names`), where only requests for controllers are served (KIP-919).
    pub on_controller: bool,
    /// `User:ANONYMOUS` until something authenticates.
    pub principal: Arc<str>,
    /// From ApiVersions v3 on (KIP-511).
    pub client_software: Option<(String, String)>,
}

impl Session {
    pub fn new(peer: SocketAddr, listener: Arc<str>) -> Self {
        Session { peer, listener, on_controller: false, principal: "User:ANONYMOUS".into(), client_software: None }
    }

    pub fn address(&self) -> IpAddr {
        self.peer.ip()
    }
}

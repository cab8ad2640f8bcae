//! Listening sockets: opened early (so that clients can queue while logs are loaded), accepted from once the node is ready.

use crate::limits::Limits;
use crate::stats::{ListenerStats, Stats};
use crate::worker::Handoff;
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Socket options of Kafka's configuration; `None` leaves the operating system's default.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// `socket.send.buffer.bytes`
    pub send_buffer: Option<usize>,
    /// `socket.receive.buffer.bytes`
    pub receive_buffer: Option<usize>,
    /// `socket.listen.backlog.size`
    pub backlog: i32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { send_buffer: None, receive_buffer: None, backlog: 1024 }
    }
}

/// A listener that holds its port. Connections wait in the backlog until `Net::start` gets it.
#[derive(Debug)]
pub struct BoundListener {
    pub name: Arc<str>,
    sockets: Vec<TcpListener>,
    addr: SocketAddr,
}

impl BoundListener {
    /// Where it listens; with the real port where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Opens a listener. An empty host means all addresses, of both families where the system has both. `localhost` is opened for both
/// families too, because clients differ in which one they try first; other names are opened, as in Kafka, at the first address they
/// resolve to, IPv4 preferred.
pub fn bind(name: &str, host: &str, port: u16, options: &SocketOptions) -> io::Result<BoundListener> {
    if host.is_empty() {
        let any = [SocketAddr::from(([0u16; 8], port)), SocketAddr::from(([0u8; 4], port))];
        let socket =
            open(any[0], options).or_else(|e| if e.kind() == io::ErrorKind::AddrInUse { Err(e) } else { open(any[1], options) })?;
        return bound(name, vec![socket]);
    }
    let mut addrs: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    addrs.sort_by_key(SocketAddr::is_ipv6);
    let Some(first) = addrs.first().copied() else {
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address"));
    };
    let mut sockets = vec![open(first, options)?];
    if host.eq_ignore_ascii_case("localhost") && first.is_ipv4() {
        let port = sockets[0].local_addr()?.port();
        // Best effort: there may be no IPv6 here.
        sockets.extend(open(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)), options).ok());
    }
    bound(name, sockets)
}

fn bound(name: &str, sockets: Vec<TcpListener>) -> io::Result<BoundListener> {
    let addr = sockets[0].local_addr()?;
    Ok(BoundListener { name: name.into(), sockets, addr })
}

fn open(addr: SocketAddr, options: &SocketOptions) -> io::Result<TcpListener> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if addr.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !addr.ip().is_unspecified())?;
    }
    // Accepted sockets inherit both; the receive buffer must be set before the handshake to count for the window scale.
    if let Some(bytes) = options.receive_buffer {
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }
    if let Some(bytes) = options.send_buffer {
        sockopt::set_socket_send_buffer_size(&socket, bytes)?;
    }
    rustix::net::bind(&socket, &addr)?;
    rustix::net::listen(&socket, options.backlog.max(1))?;
    Ok(TcpListener::from(socket))
}

/// An accepted connection on its way to a worker.
pub(crate) struct Accepted {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) listener: Arc<str>,
    pub(crate) stats: Arc<ListenerStats>,
    pub(crate) permit: crate::limits::Permit,
}

/// Starts accepting on the runtime of the calling worker.
pub(crate) fn spawn_acceptors(listener: BoundListener, limits: &Arc<Limits>, stats: &Arc<Stats>, handoff: &Handoff) -> io::Result<()> {
    let stats = stats.listener(&listener.name);
    for socket in listener.sockets {
        let socket = tokio::net::TcpListener::from_std(socket)?;
        tokio::task::spawn_local(accept_loop(socket, listener.name.clone(), limits.clone(), stats.clone(), handoff.clone()));
    }
    Ok(())
}

async fn accept_loop(socket: tokio::net::TcpListener, name: Arc<str>, limits: Arc<Limits>, stats: Arc<ListenerStats>, handoff: Handoff) {
    loop {
        limits.room().await;
        let (stream, peer) = tokio::select! {
            () = handoff.stopped() => return,
            accepted = socket.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    if !is_connection_error(&e) {
                        // Out of descriptors or memory: trying again at once would only burn the processor.
                        tracing::error!(listener = %name, error = %e, "cannot accept connections; check the limit of open files (ulimit -n)");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    continue;
                }
            },
        };
        let permit = match limits.admit(peer.ip()) {
            Ok(permit) => permit,
            Err(limit) => {
                Stats::add(&stats.refused, 1);
                tracing::info!(listener = %name, peer = %peer, limit, "rejected a connection: max.connections.per.ip is reached");
                continue;
            }
        };
        match detach(stream) {
            Ok(stream) => handoff.send(Accepted { stream, peer, listener: name.clone(), stats: stats.clone(), permit }).await,
            Err(e) => tracing::debug!(listener = %name, peer = %peer, error = %e, "dropped a connection"),
        }
    }
}

/// Takes the socket out of this worker's runtime, so that another one can have it.
fn detach(stream: TcpStream) -> io::Result<std::net::TcpStream> {
    stream.set_nodelay(true)?;
    stream.into_std()
}

fn is_connection_error(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

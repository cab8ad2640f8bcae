//! Listening sockets: opened early (so that clients can queue while logs are loaded), accepted from once the node is ready.

use crate::limits::{Limits, Permit};
use crate::stats::{ListenerStats, Stats};
use crate::worker::Handoff;
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
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
    pacing: Option<Arc<str>>,
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
    let pacing = sockets.iter().fold(None, |pacing, socket| send_without_timers(socket).or(pacing));
    Ok(BoundListener { name: name.into(), sockets, addr, pacing })
}

/// For clients on the same machine. Where the system's choice is BBR a connection sends by timers, at the speed that it takes the bottleneck on the way
/// to have; between two programs of a machine is none, and the timers cost several times what sending does. Every kernel has Reno, which sends as fast
/// as is read. Accepted sockets inherit it (once a socket has begun with BBR its timers stay); returns what the others have to be given back.
fn send_without_timers(socket: &TcpListener) -> Option<Arc<str>> {
    let choice = sockopt::tcp_congestion(socket).ok().filter(|name| name.starts_with("bbr"))?;
    sockopt::set_tcp_congestion(socket, "reno").ok().map(|()| choice.into())
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
    pub(crate) admission: Admission,
}

/// What a connection holds of the listener that it came in by.
pub(crate) struct Admission {
    pub(crate) stats: Arc<ListenerStats>,
    /// Set when the listener has been closed; its connections end then.
    pub(crate) closed: Arc<AtomicBool>,
    pub(crate) permit: Permit,
}

/// Accepts from the listeners of a node, on the runtime of one worker, and opens and closes listeners while it runs.
pub(crate) struct Acceptor {
    limits: Arc<Limits>,
    stats: Arc<Stats>,
    handoff: Handoff,
    open: HashMap<Arc<str>, OpenListener>,
}

struct OpenListener {
    closed: Arc<AtomicBool>,
    loops: Vec<tokio::task::JoinHandle<()>>,
}

impl Acceptor {
    pub(crate) fn new(limits: Arc<Limits>, stats: Arc<Stats>, handoff: Handoff) -> Self {
        Acceptor { limits, stats, handoff, open: HashMap::new() }
    }

    pub(crate) fn open(&mut self, listener: BoundListener) -> io::Result<()> {
        let source = Source {
            name: listener.name.clone(),
            limits: self.limits.clone(),
            stats: self.stats.listener(&listener.name),
            closed: Arc::default(),
            handoff: self.handoff.clone(),
            pacing: listener.pacing,
        };
        let mut loops = Vec::new();
        for socket in listener.sockets {
            let socket = tokio::net::TcpListener::from_std(socket)?;
            loops.push(tokio::task::spawn_local(accept_loop(socket, source.clone())));
        }
        self.open.insert(listener.name, OpenListener { closed: source.closed, loops });
        Ok(())
    }

    /// Frees the port and marks the listener's connections, which end when they are woken.
    pub(crate) fn close(&mut self, name: &str) {
        let Some(listener) = self.open.remove(name) else { return };
        listener.loops.iter().for_each(tokio::task::JoinHandle::abort);
        listener.closed.store(true, SeqCst);
    }
}

#[derive(Clone)]
struct Source {
    name: Arc<str>,
    limits: Arc<Limits>,
    stats: Arc<ListenerStats>,
    closed: Arc<AtomicBool>,
    handoff: Handoff,
    pacing: Option<Arc<str>>,
}

async fn accept_loop(socket: tokio::net::TcpListener, source: Source) {
    let Source { name, limits, stats, closed, handoff, pacing } = source;
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
        match detach(stream, peer, pacing.as_deref()) {
            Ok(stream) => {
                let admission = Admission { stats: stats.clone(), closed: closed.clone(), permit };
                handoff.send(Accepted { stream, peer, listener: name.clone(), admission }).await;
            }
            Err(e) => tracing::debug!(listener = %name, peer = %peer, error = %e, "dropped a connection"),
        }
    }
}

/// Takes the socket out of this worker's runtime, so that another one can have it.
fn detach(stream: TcpStream, peer: SocketAddr, pacing: Option<&str>) -> io::Result<std::net::TcpStream> {
    stream.set_nodelay(true)?;
    if let Some(pacing) = pacing
        && !peer.ip().to_canonical().is_loopback()
        && stream.local_addr()?.ip() != peer.ip()
    {
        // Best effort: with Reno it is served as well.
        if let Err(error) = sockopt::set_tcp_congestion(&stream, pacing) {
            tracing::debug!(%peer, pacing, %error, "cannot give a connection the system's congestion control");
        }
    }
    stream.into_std()
}

fn is_connection_error(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bbr_is_replaced_and_only_on_the_same_machine() {
        for (chosen, expected, pacing) in [("reno", "reno", None), ("cubic", "cubic", None), ("bbr", "reno", Some("bbr"))] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            // Not every kernel has all of them, but Reno.
            match sockopt::set_tcp_congestion(&listener, chosen) {
                Err(_) if chosen != "reno" => continue,
                set => set.unwrap(),
            }
            let bound = bound("PLAINTEXT", vec![listener]).unwrap();
            assert_eq!(bound.pacing.as_deref(), pacing);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            for (host, expected) in [("127.0.0.1", expected), ("::ffff:127.0.0.2", expected), ("192.0.2.1", chosen)] {
                let _client = std::net::TcpStream::connect(bound.addr).unwrap();
                let (accepted, _) = bound.sockets[0].accept().unwrap();
                accepted.set_nonblocking(true).unwrap();
                let peer = SocketAddr::new(host.parse().unwrap(), 1);
                let _inside = runtime.enter();
                let stream = detach(TcpStream::from_std(accepted).unwrap(), peer, bound.pacing.as_deref()).unwrap();
                assert_eq!(sockopt::tcp_congestion(&stream).unwrap(), expected, "{chosen}, {host}");
            }
        }
    }
}

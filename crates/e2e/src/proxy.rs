//! A TCP proxy in front of a broker that makes the network bad on purpose: connections cut in the middle of an answer, answers that come
//! late, answers that never come. Used by: tests of clients. The broker has to advertise the proxy's port.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often, in thousandths of the pieces that a broker sends, something happens to a piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Half of the piece is passed on, then the connection ends.
    pub cut: u32,
    /// The piece is held back for up to `delay_max`.
    pub delay: u32,
    pub delay_max: Duration,
    /// Requests still pass; nothing that the broker says does, until the client gives up.
    pub swallow: u32,
}

#[derive(Default)]
struct Shared {
    weather: Mutex<Weather>,
    connections: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
    seed: AtomicU64,
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Listens on a port of its own; where it leads is said with `lead_to`.
    pub fn listen() -> (Self, TcpListener) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port for the proxy");
        let port = listener.local_addr().expect("the proxy's address").port();
        (Self { port, shared: Arc::new(Shared { seed: AtomicU64::new(1), ..Shared::default() }) }, listener)
    }

    /// Begins to pass connections on to a port of this machine.
    pub fn lead_to(&self, listener: TcpListener, broker: u16) {
        let shared = self.shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(client) = client {
                    pass_on(&shared, client, SocketAddr::from(([127, 0, 0, 1], broker)));
                }
            }
        });
    }

    pub fn set(&self, weather: Weather) {
        *lock(&self.shared.weather) = weather;
    }

    /// Ends every connection now.
    pub fn cut_all(&self) {
        for connection in lock(&self.shared.connections).drain(..) {
            let _ = connection.shutdown(Shutdown::Both); // it may have ended already
        }
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.cut_all();
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the listener
    }
}

fn pass_on(shared: &Arc<Shared>, client: TcpStream, broker: SocketAddr) {
    // A broker that is down refuses; so does the proxy then, a moment later.
    let Ok(upstream) = TcpStream::connect(broker) else { return };
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let clones = (client.try_clone(), upstream.try_clone(), client.try_clone());
    let (Ok(client_reader), Ok(upstream_writer), Ok(kept)) = clones else { return };
    {
        let mut connections = lock(&shared.connections);
        connections.retain(|connection| connection.peer_addr().is_ok());
        connections.push(kept);
    }
    std::thread::spawn(move || requests(client_reader, upstream_writer));
    let shared = shared.clone();
    let seed = shared.seed.fetch_add(0x9e37_79b9, Ordering::Relaxed);
    std::thread::spawn(move || answers(&shared, upstream, client, seed));
}

fn requests(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to); // any end is an end
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn answers(shared: &Shared, mut from: TcpStream, mut to: TcpStream, mut seed: u64) {
    let mut buffer = vec![0; 32 << 10];
    let mut swallowing = false;
    while let Ok(size) = from.read(&mut buffer) {
        if size == 0 {
            break;
        }
        let weather = *lock(&shared.weather);
        let mut chance = |thousandths: u32| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % 1000) < u64::from(thousandths)
        };
        swallowing |= chance(weather.swallow);
        if swallowing {
            continue;
        }
        if chance(weather.cut) {
            let _ = to.write_all(&buffer[..size / 2]);
            break;
        }
        if chance(weather.delay) {
            std::thread::sleep(weather.delay_max.mul_f64((seed % 1000) as f64 / 1000.0));
        }
        if to.write_all(&buffer[..size]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

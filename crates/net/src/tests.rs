//! The network layer over loopback, against a service that does what the first byte of a frame says.

use crate::stats::{ParkedCount, Timing};
use crate::{
    BoundListener, Handled, Limits, ListenerStats, Net, NetConfig, Parked, Service, Session, SessionInfo, SocketOptions, Stats, Waited,
    bind,
};
use base::disk::{Disk, OpenMode, RealDisk};
use base::{Clock, FileRange, Instant, Now, Segment};
use bytes::Bytes;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::task::Waker;
use std::time::Duration;

fn clock() -> Now {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    let elapsed = ORIGIN.get_or_init(std::time::Instant::now).elapsed();
    Now { mono: Instant::from_nanos(elapsed.as_nanos() as u64), wall_ms: 0 }
}

/// Requests that wait until a test releases them by their number.
#[derive(Default)]
struct Gates {
    open: Mutex<HashMap<u8, Option<Waker>>>,
    changed: Condvar,
}

impl Gates {
    /// Waits until request `n` is parked, then lets it answer.
    fn release(&self, n: u8) {
        let guard = self.open.lock().unwrap();
        let mut guard = self.changed.wait_while(guard, |open| !open.contains_key(&n)).unwrap();
        if let Some(Some(waker)) = guard.insert(n, None) {
            waker.wake();
        }
    }
}

struct Script {
    gates: Arc<Gates>,
    file: PathBuf,
}

struct ScriptSession {
    gates: Arc<Gates>,
    file: PathBuf,
}

impl Service for Script {
    fn open_session(&self, _info: SessionInfo) -> Box<dyn Session> {
        Box::new(ScriptSession { gates: self.gates.clone(), file: self.file.clone() })
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

struct Gate {
    gates: Arc<Gates>,
    n: u8,
    holds: bool,
}

impl Parked for Gate {
    fn poll(&mut self, _now: Now, waker: &Waker) -> Waited {
        match self.gates.open.lock().unwrap().get_mut(&self.n) {
            Some(Some(known)) => {
                known.clone_from(waker);
                Waited::Waiting
            }
            _ => Waited::Answered(vec![Segment::Bytes(framed(&[b'g', self.n]).into())]),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::FAR_FUTURE
    }

    fn holds_next(&self) -> bool {
        self.holds
    }
}

struct Timeout(Instant);

impl Parked for Timeout {
    fn poll(&mut self, now: Now, _waker: &Waker) -> Waited {
        if now.mono < self.0 {
            return Waited::Waiting;
        }
        Waited::Answered(vec![Segment::Bytes(framed(b"timeout").into())])
    }

    fn deadline(&self) -> Instant {
        self.0
    }
}

impl Session for ScriptSession {
    fn handle(&mut self, now: Now, frame: Bytes, waker: &Waker) -> Handled {
        match frame[0] {
            b'e' => Handled::Response(vec![Segment::Bytes(framed(&frame).into())]),
            b'n' => Handled::NoResponse,
            kind @ (b'g' | b'h') => {
                self.gates.open.lock().unwrap().insert(frame[1], Some(waker.clone()));
                self.gates.changed.notify_all();
                Handled::Parked(Box::new(Gate { gates: self.gates.clone(), n: frame[1], holds: kind == b'h' }))
            }
            b't' => Handled::Parked(Box::new(Timeout(now.mono + Duration::from_millis(u64::from(frame[1]))))),
            b'c' => Handled::Close("as asked".into()),
            b'f' => {
                // From this position to the end, with a header and a trailer around it.
                let position = u64::from(u32::from_be_bytes(frame[1..5].try_into().unwrap()));
                let promised = usize::try_from(u32::from_be_bytes(frame[5..9].try_into().unwrap())).unwrap();
                let file = RealDisk.open(&self.file, OpenMode::Read).unwrap();
                let total = (promised + 6) as u32;
                Handled::Response(vec![
                    Segment::Bytes(total.to_be_bytes().to_vec().into()),
                    Segment::Bytes(Bytes::from_static(b"abc")),
                    Segment::Bytes(Bytes::new()),
                    Segment::File(FileRange { file, position, len: promised }),
                    Segment::Bytes(Bytes::from_static(b"xyz")),
                ])
            }
            other => panic!("scripted panic on {other}"),
        }
    }
}

struct Node {
    net: Option<Net>,
    addr: SocketAddr,
    gates: Arc<Gates>,
    stats: Arc<Stats>,
    file: PathBuf,
}

impl Node {
    fn listener_stats(&self) -> Arc<ListenerStats> {
        self.stats.listener(&"PLAINTEXT".into())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(net) = self.net.take() {
            net.stop(Duration::ZERO);
        }
        let _ = std::fs::remove_file(&self.file);
    }
}

fn config() -> NetConfig {
    NetConfig { threads: 2, request_max_bytes: 1 << 20, idle_max: None, clock: Clock { now: clock, mono: || clock().mono } }
}

fn listener() -> BoundListener {
    bind("PLAINTEXT", "127.0.0.1", 0, &SocketOptions::default()).unwrap()
}

fn node_with(config: &NetConfig, limits: Limits, listener: BoundListener) -> Node {
    let addr = listener.local_addr();
    let gates = Arc::new(Gates::default());
    let file = std::env::temp_dir().join(format!("gregor-net-{}-{}", std::process::id(), addr.port()));
    std::fs::write(&file, file_content()).unwrap();
    let script = Arc::new(Script { gates: gates.clone(), file: file.clone() });
    let stats = Arc::new(Stats::default());
    let net = Net::start(config, vec![listener], Arc::new(limits), stats.clone(), script).unwrap();
    Node { net: Some(net), addr, gates, stats, file }
}

fn node() -> Node {
    node_with(&config(), Limits::default(), listener())
}

fn file_content() -> Vec<u8> {
    (0..3_000_000u32).map(|i| (i ^ (i >> 8)) as u8).collect()
}

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn send(stream: &mut TcpStream, body: &[u8]) {
    stream.write_all(&framed(body)).unwrap();
}

fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut body = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn assert_closed(stream: &mut TcpStream) {
    match stream.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {}
        other => panic!("expected the connection to be closed, got {other:?}"),
    }
}

#[test]
fn answers_leave_in_request_order_while_earlier_ones_wait() {
    let node = node();
    let mut stream = connect(&node);
    let mut requests = Vec::new();
    for body in [&b"g\x01"[..], b"e1", b"n", b"g\x02", b"e2", b"t\x01", b"e3"] {
        requests.extend(framed(body));
    }
    stream.write_all(&requests).unwrap();
    // The second gate is reached, and opened, while the first is closed: requests are handled past one that waits.
    node.gates.release(2);
    stream.set_nonblocking(true).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    node.gates.release(1);
    for expected in [&b"g\x01"[..], b"e1", b"g\x02", b"e2", b"timeout", b"e3"] {
        assert_eq!(receive(&mut stream).unwrap(), expected);
    }
}

/// What a request holds back is handled once that one is answered, though nothing more comes from the client.
#[test]
fn a_request_that_must_not_be_overtaken_holds_the_next_one_back() {
    let node = node();
    let mut stream = connect(&node);
    let requests: Vec<u8> = [&b"g\x01"[..], b"h\x02", b"g\x03", b"e4"].iter().flat_map(|body| framed(body)).collect();
    stream.write_all(&requests).unwrap();
    node.gates.release(1);
    assert_eq!(receive(&mut stream).unwrap(), b"g\x01");
    // Its answer left after a turn of the connection that had the third request at hand.
    assert!(!node.gates.open.lock().unwrap().contains_key(&3));
    node.gates.release(2);
    assert_eq!(receive(&mut stream).unwrap(), b"g\x02");
    node.gates.release(3);
    assert_eq!(receive(&mut stream).unwrap(), b"g\x03");
    assert_eq!(receive(&mut stream).unwrap(), b"e4");
}

#[test]
fn reading_stops_at_sixteen_unanswered_requests() {
    let node = node();
    let mut stream = connect(&node);
    for n in 0..40 {
        send(&mut stream, &[b'g', n]);
    }
    // Answers come in order, and each makes room for one more.
    for n in 0..40 {
        assert!(node.gates.open.lock().unwrap().len() <= usize::from(n) + crate::connection::UNANSWERED_MAX);
        node.gates.release(n);
        assert_eq!(receive(&mut stream).unwrap(), [b'g', n]);
    }
}

/// More requests in one read than may be unanswered: those that were held back are handled once answers left, though nothing more comes.
#[test]
fn requests_beyond_the_limit_in_one_read_are_answered_too() {
    let node = node();
    let mut stream = connect(&node);
    let bodies: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![b'e', n]).collect();
    let requests: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
    stream.write_all(&requests).unwrap();
    for body in bodies {
        assert_eq!(receive(&mut stream).unwrap(), body);
    }
}

#[test]
fn a_parked_request_answers_at_its_deadline() {
    let node = node();
    let mut stream = connect(&node);
    let start = clock().mono;
    send(&mut stream, &[b't', 200]);
    send(&mut stream, &[b't', 30]);
    assert_eq!(receive(&mut stream).unwrap(), b"timeout");
    assert!(clock().mono - start >= Duration::from_millis(200));
    assert_eq!(receive(&mut stream).unwrap(), b"timeout");
    send(&mut stream, &[b't', 20]);
    assert_eq!(receive(&mut stream).unwrap(), b"timeout");
}

#[test]
fn malformed_lengths_close_after_earlier_answers() {
    let node = node();
    for prefix in [-1i32, i32::MIN, 0, (1 << 20) + 1, i32::MAX] {
        let mut stream = connect(&node);
        let mut bytes = framed(b"e first");
        bytes.extend(prefix.to_be_bytes());
        stream.write_all(&bytes).unwrap();
        assert_eq!(receive(&mut stream).unwrap(), b"e first");
        assert_closed(&mut stream);
    }
    let mut stream = connect(&node);
    let largest = vec![b'e'; 1 << 20];
    send(&mut stream, &largest);
    assert_eq!(receive(&mut stream).unwrap(), largest);
}

#[test]
fn a_truncated_frame_is_dropped_and_a_half_closed_peer_is_answered() {
    let node = node();
    let mut stream = connect(&node);
    let mut bytes = framed(b"g\x07");
    bytes.extend(&framed(b"e never complete")[..9]);
    stream.write_all(&bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    node.gates.release(7);
    assert_eq!(receive(&mut stream).unwrap(), b"g\x07");
    assert_closed(&mut stream);
}

#[test]
fn a_panic_costs_one_connection() {
    let node = node();
    let mut other = connect(&node);
    let mut stream = connect(&node);
    send(&mut stream, b"e before");
    send(&mut stream, b"!");
    assert_eq!(receive(&mut stream).unwrap(), b"e before");
    assert_closed(&mut stream);
    send(&mut other, b"e still here");
    assert_eq!(receive(&mut other).unwrap(), b"e still here");
    assert_eq!(node.stats.panics.load(SeqCst), 1);
    let mut closing = connect(&node);
    send(&mut closing, b"c");
    assert_closed(&mut closing);
}

#[test]
fn file_ranges_arrive_whole_also_at_a_slow_reader() {
    let node = node();
    let content = file_content();
    let mut stream = connect(&node);
    let request = |position: u32, len: u32| {
        let mut body = vec![b'f'];
        body.extend(position.to_be_bytes());
        body.extend(len.to_be_bytes());
        body
    };
    let ranges = [(0u32, 3_000_000u32), (17, 2_999_000), (2_999_999, 1), (5, 0), (1_000_000, 1_500_000)];
    for (position, len) in ranges {
        send(&mut stream, &request(position, len));
    }
    // Nothing was read yet: the socket is full in the middle of a range, and later requests wait for it.
    for (position, len) in ranges {
        let body = receive(&mut stream).unwrap();
        let (position, len) = (position as usize, len as usize);
        assert_eq!(&body[..3], b"abc");
        assert!(body[3..3 + len] == content[position..position + len]);
        assert_eq!(&body[3 + len..], b"xyz");
    }
    // A range beyond the end of the file: what was promised cannot be sent, so the connection ends.
    send(&mut stream, &request(2_999_990, 100));
    assert!(receive(&mut stream).is_err());
}

#[test]
fn a_thousand_connections() {
    let node = node();
    let mut streams: Vec<TcpStream> = (0..1000).map(|_| connect(&node)).collect();
    for (i, stream) in streams.iter_mut().enumerate() {
        send(stream, format!("e{i}").as_bytes());
    }
    for (i, stream) in streams.iter_mut().enumerate() {
        assert_eq!(receive(stream).unwrap(), format!("e{i}").as_bytes());
    }
    assert_eq!(node.stats.open(), 1000);
    let big = vec![b'e'; 300_000];
    for stream in &mut streams[..50] {
        send(stream, &big);
    }
    for stream in &mut streams[..50] {
        assert_eq!(receive(stream).unwrap(), big);
    }
}

#[test]
fn idle_connections_are_closed_but_waiting_ones_are_not() {
    let node = node_with(&NetConfig { idle_max: Some(Duration::from_millis(50)), ..config() }, Limits::default(), listener());
    let mut waiting = connect(&node);
    send(&mut waiting, b"g\x01");
    let mut idle = connect(&node);
    send(&mut idle, b"e");
    assert_eq!(receive(&mut idle).unwrap(), b"e");
    assert_closed(&mut idle);
    assert_eq!(node.listener_stats().expired_idle.load(SeqCst), 1);
    node.gates.release(1);
    assert_eq!(receive(&mut waiting).unwrap(), b"g\x01");
    assert_closed(&mut waiting);
}

#[test]
fn connection_limits() {
    let node = node_with(&config(), Limits::new(2, u32::MAX, HashMap::new()), listener());
    let mut first = connect(&node);
    let mut second = connect(&node);
    let mut third = connect(&node);
    for stream in [&mut first, &mut second, &mut third] {
        send(stream, b"e");
    }
    assert_eq!(receive(&mut first).unwrap(), b"e");
    assert_eq!(receive(&mut second).unwrap(), b"e");
    assert_eq!(node.listener_stats().accepted.load(SeqCst), 2);
    drop(first);
    assert_eq!(receive(&mut third).unwrap(), b"e");

    let node = node_with(&config(), Limits::new(9, 1, HashMap::new()), listener());
    let mut first = connect(&node);
    send(&mut first, b"e");
    assert_eq!(receive(&mut first).unwrap(), b"e");
    assert_closed(&mut connect(&node));
    assert_eq!(node.listener_stats().refused.load(SeqCst), 1);
}

#[test]
fn stop_answers_what_was_read_and_closes_the_rest() {
    let mut node = node();
    let mut waiting = connect(&node);
    send(&mut waiting, b"g\x01");
    let mut stuck = connect(&node);
    send(&mut stuck, b"g\x02");
    let mut idle = connect(&node);
    send(&mut idle, b"e");
    assert_eq!(receive(&mut idle).unwrap(), b"e");
    let net = node.net.take().unwrap();
    net.begin_stop(Duration::from_millis(300));
    assert_closed(&mut idle);
    node.gates.release(1);
    assert_eq!(receive(&mut waiting).unwrap(), b"g\x01");
    assert_closed(&mut waiting);
    net.stop(Duration::ZERO);
    assert_closed(&mut stuck);
    assert!(TcpStream::connect(node.addr).is_err());
    assert_eq!(node.stats.open(), 0);
}

#[test]
fn localhost_is_reachable_in_both_families() {
    let listener = bind("PLAINTEXT", "localhost", 0, &SocketOptions::default()).unwrap();
    let port = listener.local_addr().port();
    let node = node_with(&config(), Limits::default(), listener);
    for addr in [SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))] {
        match TcpStream::connect(addr) {
            Ok(mut stream) => {
                send(&mut stream, b"e");
                assert_eq!(receive(&mut stream).unwrap(), b"e");
            }
            // A machine without IPv6.
            Err(e) => assert!(addr.is_ipv6(), "{e}"),
        }
    }
    drop(node);
    let error = bind("PLAINTEXT", "127.0.0.1", port, &SocketOptions::default())
        .and_then(|_holder| bind("X", "127.0.0.1", port, &SocketOptions::default()))
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_request_is_counted_with_every_stretch_of_its_way() {
    let stats = Arc::new(Stats::default());
    let at = |ms: u64| Instant::from_nanos(1_000_000 * (1000 + ms));
    let mut timing = Timing::begin(&[0, 1, 0, 17, 9, 9, 9, 9], at(0));
    timing.handled = at(2);
    timing.answered = at(502);
    timing.response_bytes = 700;
    // Requests of two workers add up.
    let workers = [stats.add_worker(), stats.add_worker()];
    let waits = workers.each_ref().map(|worker| ParkedCount::new(worker, timing.key));
    assert_eq!(stats.apis(at(502)).iter().map(|(key, api)| (*key, api.parked)).collect::<Vec<_>>(), [(1, 2)]);
    drop(waits);
    workers.iter().for_each(|worker| timing.done(worker, at(503)));
    let [(1, api)] = &stats.apis(at(503))[..] else { panic!("one API was used") };
    assert_eq!((api.parked, api.versions().collect::<Vec<_>>()), (0, vec![(17, 2)]));
    assert_eq!([&api.local, &api.remote, &api.send, &api.total].map(|h| h.sum), [4_000, 1_000_000, 2_000, 1_006_000]);
    assert_eq!((api.request_bytes.sum, api.response_bytes), (16, 1400));
    // What is no API is counted nowhere and harms nothing.
    for frame in [&[][..], &[0], &[0x7f, 0xff, 0x7f, 0xff], &[0xff, 0xff, 0xff, 0xff], &[0, 1, 0x7f, 0xff]] {
        Timing::begin(frame, at(0)).done(&workers[0], at(1));
    }
    assert_eq!(stats.apis(at(1)).len(), 1);
}

#[test]
fn listeners_come_and_go_while_the_others_serve() {
    let node = node();
    let control = node.net.as_ref().unwrap().listeners();
    let mut old = connect(&node);
    let other = bind("OTHER", "127.0.0.1", 0, &SocketOptions::default()).unwrap();
    let addr = other.local_addr();
    control.open(other);
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    send(&mut stream, b"e1");
    assert_eq!(receive(&mut stream).unwrap(), b"e1");
    // A request that waits is still answered; nothing more is read.
    send(&mut stream, b"g\x01");
    node.gates.release(1);
    assert_eq!(receive(&mut stream).unwrap(), b"g\x01");
    control.close("OTHER");
    assert_closed(&mut stream);
    send(&mut old, b"e2");
    assert_eq!(receive(&mut old).unwrap(), b"e2");
}

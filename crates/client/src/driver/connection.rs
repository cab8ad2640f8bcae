//! Owns: one TCP connection to one broker — version negotiation, framing, pipelined requests in flight, their time limits. A request is written
//! by whoever sends it, as far as the socket takes it; the connection's task writes the rest, reads the answers and looks after the time.
//! Used by: `cluster`. Never does: retries, or decisions about where a request goes. Whatever the broker sends, the worst that happens is that
//! the connection closes and its requests fail. Kafka: `NetworkClient`, `InFlightRequests`, `Selector`.

use super::thread::NetworkThread;
use super::traffic::Traffic;
use crate::config::ConnectionConfig;
use crate::core::versions::NodeVersions;
use crate::error::{Error, Result};
use crate::types::Node;
use base::Instant;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot};
use wire::messages::{ApiVersionsRequest, ApiVersionsResponse, ResponseHeader};
use wire::{ErrorCode, Message, Reader, Request, Segment};

/// Receives the body of the answer, or why there is none. Called on the network thread; must not block.
pub type ResponseSink = Box<dyn FnOnce(Result<Bytes>) + Send>;

/// How much is reserved ahead for a response; larger ones grow as their bytes arrive.
const RESERVE_MAX: usize = 64 << 20;
const READ_CHUNK: usize = 32 << 10;
/// How often requests in flight are checked for their deadlines, at least and at most, and an idle connection for its age.
const TIMEOUT_CHECK_MIN: Duration = Duration::from_millis(50);
const TIMEOUT_CHECK_MAX: Duration = Duration::from_millis(500);

struct InFlight {
    correlation_id: i32,
    header_version: i16,
    deadline: Instant,
    sent: Instant,
    api: &'static str,
    sink: ResponseSink,
}

/// What the sender of a request waits for.
enum Awaited {
    Answer(InFlight),
    Written(ResponseSink),
}

impl Awaited {
    fn sink(self) -> ResponseSink {
        match self {
            Awaited::Answer(request) => request.sink,
            Awaited::Written(sink) => sink,
        }
    }
}

pub struct Connection {
    pub node: Node,
    pub versions: NodeVersions,
    client_id: String,
    shared: Arc<Shared>,
    next_correlation_id: AtomicI32,
}

struct Shared {
    name: String,
    thread: NetworkThread,
    closed: AtomicBool,
    close: Notify,
    pending: AtomicUsize,
    writer: OwnedWriteHalf,
    pipe: Mutex<Pipe>,
    /// The socket has not taken everything, or is broken.
    unwritten: Notify,
    traffic: Arc<Traffic>,
    last_used: AtomicU64,
}

/// What is on its way, in the order of the socket's bytes.
#[derive(Default)]
struct Pipe {
    /// Requests that wait for their answers.
    in_flight: VecDeque<InFlight>,
    /// What the socket has not taken yet.
    chunks: VecDeque<Bytes>,
    /// Bytes that were put into `chunks`, and that were written, since the connection was opened.
    queued: u64,
    written: u64,
    /// Of requests without an answer: told when this many bytes are written.
    unanswered: VecDeque<(u64, ResponseSink)>,
    /// Why nothing can be written any more.
    broken: Option<String>,
    closed: bool,
}

impl Pipe {
    /// Writes until nothing is left or the socket is full. Returns whom to tell.
    fn write(&mut self, writer: &OwnedWriteHalf) -> Vec<ResponseSink> {
        while !self.chunks.is_empty() && self.broken.is_none() {
            let mut slices = [IoSlice::new(&[]); 64];
            let mut count = 0;
            for (slot, chunk) in slices.iter_mut().zip(&self.chunks) {
                *slot = IoSlice::new(chunk);
                count += 1;
            }
            match writer.try_write_vectored(&slices[..count]) {
                Ok(0) => self.broken = Some("the socket takes no more bytes".to_owned()),
                Ok(written) => self.take_written(written),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => self.broken = Some(error.to_string()),
            }
        }
        let told = self.unanswered.partition_point(|(end, _)| *end <= self.written);
        self.unanswered.drain(..told).map(|(_, sink)| sink).collect()
    }

    fn take_written(&mut self, written: usize) {
        self.written += written as u64;
        let mut left = written;
        while let Some(front) = self.chunks.front_mut() {
            if front.len() > left {
                front.advance(left);
                break;
            }
            left -= front.len();
            self.chunks.pop_front();
        }
    }
}

impl Shared {
    fn pipe(&self) -> MutexGuard<'_, Pipe> {
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disconnected(&self, why: &str) -> Error {
        Error::Disconnected(format!("connection to node {} was lost: {why}", self.name))
    }
}

impl Connection {
    /// Connects to one address and negotiates versions, within `timeout`.
    pub async fn open(
        thread: &NetworkThread,
        config: &ConnectionConfig,
        node: Node,
        address: SocketAddr,
        timeout: Duration,
        traffic: Arc<Traffic>,
    ) -> Result<Arc<Connection>> {
        let deadline = thread.clock().mono() + timeout;
        let name = format!("{}:{}", node.host, node.port);
        let late = || Error::Disconnected(format!("connection to node {name} could not be established in {} ms", timeout.as_millis()));
        let stream = tokio::time::timeout_at(thread.clock().to_tokio(deadline), connect(config, address))
            .await
            .map_err(|_| late())?
            .map_err(|error| Error::Disconnected(format!("connection to node {name} ({address}) could not be established: {error}")))?;
        let (reader, writer) = stream.into_split();
        traffic.opened();
        let shared = Arc::new(Shared {
            name: if node.id < 0 { name.clone() } else { format!("{} ({name})", node.id) },
            thread: thread.clone(),
            closed: AtomicBool::new(false),
            close: Notify::new(),
            pending: AtomicUsize::new(0),
            writer,
            pipe: Mutex::default(),
            unwritten: Notify::new(),
            traffic,
            last_used: AtomicU64::new(thread.clock().mono().as_nanos()),
        });
        thread.spawn(drive(reader, shared.clone(), config.connections_max_idle));
        let mut connection = Connection {
            node,
            versions: NodeVersions::default(),
            client_id: config.client_id.clone(),
            shared,
            next_correlation_id: AtomicI32::new(0),
        };
        connection.versions = connection.negotiate(deadline).await?;
        Ok(Arc::new(connection))
    }

    /// ApiVersions in the newest version, then in what the broker says it speaks (KIP-511).
    async fn negotiate(&self, deadline: Instant) -> Result<NodeVersions> {
        let mut version = ApiVersionsRequest::MAX_VERSION;
        for _ in 0..2 {
            let request = ApiVersionsRequest {
                client_software_name: "gregor".into(),
                client_software_version: env!("CARGO_PKG_VERSION").into(),
                ..Default::default()
            };
            let body = self.request_bytes(&request, version, deadline).await?;
            let error = body.get(..2).map_or(0, |code| i16::from_be_bytes([code[0], code[1]]));
            if error == ErrorCode::UnsupportedVersion.code() && version > 0 {
                let range = wire::from_bytes::<ApiVersionsResponse>(body, 0).ok().map(|response| NodeVersions::from_response(&response));
                let newest = range.and_then(|versions| versions.range(wire::ApiKey::ApiVersions)).map_or(0, |(_, max)| max);
                version = newest.clamp(0, version - 1);
                continue;
            }
            let response: ApiVersionsResponse = self.decode(body, version)?;
            Error::check(response.error_code, None)?;
            return Ok(NodeVersions::from_response(&response));
        }
        Err(Error::UnsupportedVersion(format!("node {} offers no version of ApiVersions that this client speaks", self.shared.name)))
    }

    pub fn name(&self) -> &str {
        &self.shared.name
    }

    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Requests that were handed over and not answered yet.
    pub fn pending(&self) -> usize {
        self.shared.pending.load(Ordering::Relaxed)
    }

    pub fn close(&self) {
        self.shared.close.notify_one();
    }

    /// Sends `request` in `version`; `sink` gets the answer or the failure, exactly once. Requests leave in the order of the calls.
    pub fn send<R: Request>(&self, request: &R, version: i16, now: Instant, deadline: Instant, sink: ResponseSink) {
        let correlation_id = self.next_correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        match wire::encode_request(request, version, correlation_id, Some(&self.client_id)) {
            Ok(segments) => {
                let header_version = R::KEY.response_header_version(version);
                let in_flight = InFlight { correlation_id, header_version, deadline, sent: now, api: R::KEY.name(), sink };
                self.hand_over(segments, now, Awaited::Answer(in_flight));
            }
            Err(error) => sink(Err(unencodable(R::KEY.name(), version, &error))),
        }
    }

    /// Sends a request that the broker does not answer (Produce with acks=0). `sink` gets an empty body once the bytes are written.
    pub fn send_without_response<R: Request>(&self, request: &R, version: i16, now: Instant, sink: ResponseSink) {
        let correlation_id = self.next_correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        match wire::encode_request(request, version, correlation_id, Some(&self.client_id)) {
            Ok(segments) => self.hand_over(segments, now, Awaited::Written(sink)),
            Err(error) => sink(Err(unencodable(R::KEY.name(), version, &error))),
        }
    }

    fn hand_over(&self, segments: Vec<Segment>, now: Instant, awaited: Awaited) {
        let shared = &*self.shared;
        shared.pending.fetch_add(1, Ordering::Relaxed);
        shared.last_used.store(now.as_nanos(), Ordering::Relaxed);
        let mut pipe = shared.pipe();
        if pipe.closed || pipe.broken.is_some() {
            drop(pipe);
            return finish(shared, awaited.sink(), Err(shared.disconnected("it is closed")));
        }
        let before = pipe.queued;
        for segment in segments {
            let bytes = match segment {
                Segment::Bytes(bytes) => bytes,
                Segment::File(range) => match range.read() {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        // Part of a request is of no use to anybody.
                        pipe.broken = Some(error.to_string());
                        break;
                    }
                },
            };
            if !bytes.is_empty() {
                pipe.queued += bytes.len() as u64;
                pipe.chunks.push_back(bytes);
            }
        }
        shared.traffic.sent((pipe.queued - before) as usize);
        let end = pipe.queued;
        match awaited {
            Awaited::Answer(in_flight) => pipe.in_flight.push_back(in_flight),
            Awaited::Written(sink) => pipe.unanswered.push_back((end, sink)),
        }
        let told = pipe.write(&shared.writer);
        let left = !pipe.chunks.is_empty() || pipe.broken.is_some();
        drop(pipe);
        if left {
            shared.unwritten.notify_one();
        }
        for sink in told {
            finish(shared, sink, Ok(Bytes::new()));
        }
    }

    async fn request_bytes<R: Request>(&self, request: &R, version: i16, deadline: Instant) -> Result<Bytes> {
        let (sender, receiver) = oneshot::channel();
        // The receiver may be gone: then nobody wants the answer.
        self.send(request, version, self.shared.thread.clock().mono(), deadline, Box::new(move |result| drop(sender.send(result))));
        receiver.await.unwrap_or_else(|_| Err(Error::Closed("the client was closed".into())))
    }

    /// One request and its decoded answer.
    pub async fn request<R: Request>(&self, request: &R, version: i16, deadline: Instant) -> Result<R::Response> {
        let body = self.request_bytes(request, version, deadline).await?;
        self.decode(body, version)
    }

    pub fn decode<M: Message>(&self, body: Bytes, version: i16) -> Result<M> {
        // Like Java, tolerate bytes after the message: a newer broker may have said more.
        let mut reader = Reader::new(body);
        M::decode(&mut reader, version)
            .map_err(|error| Error::InvalidResponse { node: self.shared.name.clone(), reason: format!("{}: {error}", M::NAME) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.close.notify_one();
    }
}

fn unencodable(api: &str, version: i16, error: &wire::EncodeError) -> Error {
    Error::UnsupportedVersion(format!("{api} cannot be sent in version {version}: {error}"))
}

async fn connect(config: &ConnectionConfig, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_keepalive(true)?;
    if let Some(bytes) = config.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = config.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Runs the connection to its end, then fails what is left of its requests.
async fn drive(reader: OwnedReadHalf, shared: Arc<Shared>, max_idle: Option<Duration>) {
    let mut end = End { shared: &shared, why: "the client was closed".to_owned() };
    end.why = tokio::select! {
        biased;
        why = read_loop(reader, &shared) => why,
        why = write_loop(&shared) => why,
        () = shared.close.notified() => "the client closed it".to_owned(),
        why = watch_deadlines(&shared, max_idle) => why,
    };
}

/// However the task ends, nobody waits for an answer in vain.
struct End<'a> {
    shared: &'a Shared,
    why: String,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let Self { shared, why } = self;
        shared.closed.store(true, Ordering::Release);
        shared.traffic.closed();
        tracing::debug!(node = %shared.name, "connection closed: {why}");
        let (in_flight, unanswered) = {
            let mut pipe = shared.pipe();
            pipe.closed = true;
            pipe.chunks.clear();
            (std::mem::take(&mut pipe.in_flight), std::mem::take(&mut pipe.unanswered))
        };
        for sink in in_flight.into_iter().map(|request| request.sink).chain(unanswered.into_iter().map(|(_, sink)| sink)) {
            finish(shared, sink, Err(shared.disconnected(why)));
        }
    }
}

fn finish(shared: &Shared, sink: ResponseSink, result: Result<Bytes>) {
    shared.pending.fetch_sub(1, Ordering::Relaxed);
    sink(result);
}

async fn read_loop(mut reader: OwnedReadHalf, shared: &Shared) -> String {
    let mut buffer = BytesMut::with_capacity(READ_CHUNK);
    loop {
        let missing = loop {
            match take_frame(&mut buffer) {
                Ok(Frame::Complete(frame)) => {
                    if let Err(why) = deliver(frame, shared) {
                        return why;
                    }
                }
                Ok(Frame::Missing(bytes)) => break bytes,
                Err(why) => return why,
            }
        };
        buffer.reserve(missing.clamp(READ_CHUNK / 4, RESERVE_MAX));
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return "the broker closed it".to_owned(),
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
    }
}

enum Frame {
    Complete(Bytes),
    /// At least this many bytes are still to come.
    Missing(usize),
}

fn take_frame(buffer: &mut BytesMut) -> Result<Frame, String> {
    let Some(prefix) = buffer.first_chunk::<4>() else { return Ok(Frame::Missing(4 - buffer.len())) };
    let length = i32::from_be_bytes(*prefix);
    let length = usize::try_from(length).map_err(|_| format!("the broker announced a response of {length} bytes"))?;
    if length < 4 {
        return Err(format!("the broker announced a response of {length} bytes"));
    }
    if buffer.len() < 4 + length {
        return Ok(Frame::Missing(4 + length - buffer.len()));
    }
    buffer.advance(4);
    Ok(Frame::Complete(buffer.split_to(length).freeze()))
}

/// Hands a response to the request it answers. Brokers answer in order, so anything else is a broken peer.
fn deliver(frame: Bytes, shared: &Shared) -> Result<(), String> {
    let size = frame.len() + 4;
    let correlation_id = frame.first_chunk::<4>().map_or(-1, |bytes| i32::from_be_bytes(*bytes));
    let Some(request) = shared.pipe().in_flight.pop_front() else {
        return Err(format!("the broker sent a response with correlation id {correlation_id} that nothing asked for"));
    };
    if request.correlation_id != correlation_id {
        let expected = request.correlation_id;
        finish(shared, request.sink, Err(shared.disconnected("responses out of order")));
        return Err(format!("the broker answered correlation id {correlation_id} instead of {expected}"));
    }
    shared.traffic.received(size, shared.thread.clock().mono().saturating_since(request.sent));
    let mut reader = Reader::new(frame);
    if let Err(error) = ResponseHeader::decode(&mut reader, request.header_version) {
        let reason = format!("response header: {error}");
        finish(shared, request.sink, Err(Error::InvalidResponse { node: shared.name.clone(), reason: reason.clone() }));
        return Err(reason);
    }
    finish(shared, request.sink, Ok(reader.rest()));
    Ok(())
}

/// Writes what a sender could not.
async fn write_loop(shared: &Shared) -> String {
    loop {
        shared.unwritten.notified().await;
        loop {
            if let Err(error) = shared.writer.writable().await {
                return error.to_string();
            }
            let (told, left) = {
                let mut pipe = shared.pipe();
                let told = pipe.write(&shared.writer);
                if let Some(why) = &pipe.broken {
                    return why.clone();
                }
                (told, !pipe.chunks.is_empty())
            };
            for sink in told {
                finish(shared, sink, Ok(Bytes::new()));
            }
            if !left {
                break;
            }
        }
    }
}

/// Ends when the oldest request is overdue (like Java, the whole connection goes: its answers could only be later still) or after idling.
async fn watch_deadlines(shared: &Shared, max_idle: Option<Duration>) -> String {
    let clock = shared.thread.clock();
    loop {
        let earliest = shared.pipe().in_flight.iter().map(|request| request.deadline).min();
        let left = earliest.map_or(TIMEOUT_CHECK_MAX, |deadline| deadline.saturating_since(clock.mono()));
        tokio::time::sleep(left.clamp(TIMEOUT_CHECK_MIN, TIMEOUT_CHECK_MAX)).await;
        let now = clock.mono();
        let overdue = shared.pipe().in_flight.iter().find(|request| request.deadline <= now).map(|request| request.api);
        if let Some(api) = overdue {
            return format!("no answer to {api} within its request timeout");
        }
        let idle = now.saturating_since(Instant::from_nanos(shared.last_used.load(Ordering::Relaxed)));
        if max_idle.is_some_and(|max| idle > max) && shared.pending.load(Ordering::Relaxed) == 0 {
            return "it was idle".to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_and_hostile_lengths_refused() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0][..]);
        assert!(matches!(take_frame(&mut buffer), Ok(Frame::Complete(frame)) if frame.len() == 5));
        assert!(matches!(take_frame(&mut buffer), Ok(Frame::Missing(2))));
        assert!(take_frame(&mut BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..])).is_err());
        assert!(take_frame(&mut BytesMut::from(&[0, 0, 0, 1, 0][..])).is_err());
        let huge = take_frame(&mut BytesMut::from(&[0x7f, 0xff, 0xff, 0xff, 0][..]));
        assert!(matches!(huge, Ok(Frame::Missing(missing)) if missing > RESERVE_MAX));
    }
}

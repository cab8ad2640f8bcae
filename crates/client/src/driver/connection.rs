//! Owns: one TCP connection to one broker — version negotiation, framing, pipelined requests in flight, their time limits.
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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use wire::messages::{ApiVersionsRequest, ApiVersionsResponse, ResponseHeader};
use wire::{ErrorCode, Message, Reader, Request, Segment};

/// Receives the body of the answer, or why there is none. Called on the network thread; must not block.
pub type ResponseSink = Box<dyn FnOnce(Result<Bytes>) + Send>;

/// How much is reserved ahead for a response; larger ones grow as their bytes arrive.
const RESERVE_MAX: usize = 64 << 20;
const READ_CHUNK: usize = 32 << 10;
/// How often requests in flight are checked for their deadlines, and an idle connection for its age.
const TIMEOUT_CHECK: Duration = Duration::from_millis(50);
const IDLE_CHECK: Duration = Duration::from_millis(500);

struct Outgoing {
    segments: Vec<Segment>,
    in_flight: Option<InFlight>,
    /// For requests without an answer: told when the bytes are handed to the socket.
    sent: Option<ResponseSink>,
}

struct InFlight {
    correlation_id: i32,
    header_version: i16,
    deadline: Instant,
    sent: Instant,
    api: &'static str,
    sink: ResponseSink,
}

pub struct Connection {
    pub node: Node,
    pub versions: NodeVersions,
    client_id: String,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    shared: Arc<Shared>,
    next_correlation_id: AtomicI32,
}

struct Shared {
    name: String,
    thread: NetworkThread,
    closed: AtomicBool,
    close: Notify,
    pending: AtomicUsize,
    in_flight: Mutex<VecDeque<InFlight>>,
    traffic: Arc<Traffic>,
    last_used: AtomicU64,
}

impl Shared {
    fn in_flight(&self) -> MutexGuard<'_, VecDeque<InFlight>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
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
            in_flight: Mutex::new(VecDeque::new()),
            traffic,
            last_used: AtomicU64::new(thread.clock().mono().as_nanos()),
        });
        let (sender, receiver) = mpsc::unbounded_channel();
        thread.spawn(drive(reader, writer, receiver, shared.clone(), config.connections_max_idle));
        let mut connection = Connection {
            node,
            versions: NodeVersions::default(),
            client_id: config.client_id.clone(),
            outgoing: sender,
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
    pub fn send<R: Request>(&self, request: &R, version: i16, deadline: Instant, sink: ResponseSink) {
        let correlation_id = self.next_correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        match wire::encode_request(request, version, correlation_id, Some(&self.client_id)) {
            Ok(segments) => {
                let header_version = R::KEY.response_header_version(version);
                let sent = self.shared.thread.clock().mono();
                let in_flight = InFlight { correlation_id, header_version, deadline, sent, api: R::KEY.name(), sink };
                self.hand_over(Outgoing { segments, in_flight: Some(in_flight), sent: None });
            }
            Err(error) => sink(Err(unencodable(R::KEY.name(), version, &error))),
        }
    }

    /// Sends a request that the broker does not answer (Produce with acks=0). `sink` gets an empty body once the bytes are written.
    pub fn send_without_response<R: Request>(&self, request: &R, version: i16, sink: ResponseSink) {
        let correlation_id = self.next_correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        match wire::encode_request(request, version, correlation_id, Some(&self.client_id)) {
            Ok(segments) => self.hand_over(Outgoing { segments, in_flight: None, sent: Some(sink) }),
            Err(error) => sink(Err(unencodable(R::KEY.name(), version, &error))),
        }
    }

    fn hand_over(&self, outgoing: Outgoing) {
        self.shared.pending.fetch_add(1, Ordering::Relaxed);
        self.shared.last_used.store(self.shared.thread.clock().mono().as_nanos(), Ordering::Relaxed);
        if let Err(mpsc::error::SendError(outgoing)) = self.outgoing.send(outgoing) {
            fail(&self.shared, outgoing, "it is closed");
        }
    }

    async fn request_bytes<R: Request>(&self, request: &R, version: i16, deadline: Instant) -> Result<Bytes> {
        let (sender, receiver) = oneshot::channel();
        // The receiver may be gone: then nobody wants the answer.
        self.send(request, version, deadline, Box::new(move |result| drop(sender.send(result))));
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
async fn drive(
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    mut receiver: mpsc::UnboundedReceiver<Outgoing>,
    shared: Arc<Shared>,
    max_idle: Option<Duration>,
) {
    let why = tokio::select! {
        why = read_loop(reader, &shared) => why,
        why = write_loop(writer, &mut receiver, &shared) => why,
        why = watch_deadlines(&shared, max_idle) => why,
        () = shared.close.notified() => "the client closed it".to_owned(),
    };
    shared.closed.store(true, Ordering::Release);
    shared.traffic.closed();
    receiver.close();
    tracing::debug!(node = %shared.name, "connection closed: {why}");
    let left: Vec<InFlight> = shared.in_flight().drain(..).collect();
    for request in left {
        finish(&shared, request.sink, Err(shared.disconnected(&why)));
    }
    while let Some(outgoing) = receiver.recv().await {
        fail(&shared, outgoing, &why);
    }
}

fn finish(shared: &Shared, sink: ResponseSink, result: Result<Bytes>) {
    shared.pending.fetch_sub(1, Ordering::Relaxed);
    sink(result);
}

fn fail(shared: &Shared, outgoing: Outgoing, why: &str) {
    if let Some(sink) = outgoing.in_flight.map(|request| request.sink).or(outgoing.sent) {
        finish(shared, sink, Err(shared.disconnected(why)));
    }
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
    let Some(request) = shared.in_flight().pop_front() else {
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

async fn write_loop(mut writer: OwnedWriteHalf, receiver: &mut mpsc::UnboundedReceiver<Outgoing>, shared: &Shared) -> String {
    let mut chunks: VecDeque<Bytes> = VecDeque::new();
    let mut sent: Vec<ResponseSink> = Vec::new();
    loop {
        let Some(mut outgoing) = receiver.recv().await else { return "the client dropped it".to_owned() };
        // Take along what else is waiting, so that small requests share a system call.
        loop {
            let before: usize = chunks.iter().map(Bytes::len).sum();
            for segment in outgoing.segments {
                match segment {
                    Segment::Bytes(bytes) => chunks.push_back(bytes),
                    Segment::File(range) => match range.read() {
                        Ok(bytes) => chunks.push_back(bytes),
                        Err(error) => return error.to_string(),
                    },
                }
            }
            shared.traffic.sent(chunks.iter().map(Bytes::len).sum::<usize>() - before);
            if let Some(request) = outgoing.in_flight {
                shared.in_flight().push_back(request);
            }
            sent.extend(outgoing.sent);
            if chunks.len() >= 32 {
                break;
            }
            match receiver.try_recv() {
                Ok(next) => outgoing = next,
                Err(_) => break,
            }
        }
        if let Err(error) = write_all(&mut writer, &mut chunks).await {
            for sink in sent.drain(..) {
                finish(shared, sink, Err(shared.disconnected(&error.to_string())));
            }
            return error.to_string();
        }
        for sink in sent.drain(..) {
            finish(shared, sink, Ok(Bytes::new()));
        }
    }
}

async fn write_all(writer: &mut OwnedWriteHalf, chunks: &mut VecDeque<Bytes>) -> std::io::Result<()> {
    while !chunks.is_empty() {
        let written = {
            let mut slices = [IoSlice::new(&[]); 64];
            let mut count = 0;
            for (slot, chunk) in slices.iter_mut().zip(chunks.iter()) {
                *slot = IoSlice::new(chunk);
                count += 1;
            }
            writer.write_vectored(&slices[..count]).await?
        };
        if written == 0 && chunks.iter().any(|chunk| !chunk.is_empty()) {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        let mut left = written;
        while let Some(front) = chunks.front_mut() {
            if front.len() > left {
                front.advance(left);
                break;
            }
            left -= front.len();
            chunks.pop_front();
        }
    }
    Ok(())
}

/// Ends when the oldest request is overdue (like Java, the whole connection goes: its answers could only be later still) or after idling.
async fn watch_deadlines(shared: &Shared, max_idle: Option<Duration>) -> String {
    let clock = shared.thread.clock();
    loop {
        let idle = shared.pending.load(Ordering::Relaxed) == 0;
        tokio::time::sleep(if idle { IDLE_CHECK } else { TIMEOUT_CHECK }).await;
        let now = clock.mono();
        let overdue = shared.in_flight().iter().find(|request| request.deadline <= now).map(|request| request.api);
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

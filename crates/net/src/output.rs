//! Hot path. Bytes of responses on their way to a socket: memory by send or sendmsg, file ranges by sendfile.
//!
//! A worker never waits for a disk here: what is not in the page cache is brought there by other threads first. Nor does a reader that keeps
//! up with the sending hold the worker: after some bytes the other connections have their turn.

use crate::cold::ColdReads;
use crate::stats::Timing;
use base::{FileRange, Segment, Slot};
use bytes::Buf;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::net::TcpStream;

const SLICES_MAX: usize = 64;
/// How much of a file without a descriptor (a simulated disk) is read at a time.
const COPY_CHUNK: usize = 256 * 1024;
/// How much is brought into the page cache before it is sent.
const COLD_CHUNK: usize = 1024 * 1024;
/// How much is sent before other connections have their turn.
const BYTES_PER_TURN: usize = 256 * 1024;

/// How far `flush` has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    All,
    /// The task is woken when it can go on.
    Waiting,
    /// There is more to send at once, when the others had their turn.
    Yielded,
}

#[derive(Default)]
pub(crate) struct Output {
    segments: VecDeque<Queued>,
    /// Responses not yet written in full.
    responses: usize,
    /// One for each of these, and for those that were written and are not counted yet, which come first.
    timings: VecDeque<Timing>,
    /// So many bytes of the file range in front are in the page cache.
    resident: usize,
    /// Filled when bytes of the file range in front have been brought there.
    warming: Option<(Arc<Slot<()>>, usize)>,
}

struct Queued {
    segment: Segment,
    /// The last one of its response.
    last: bool,
}

impl Output {
    pub(crate) fn push(&mut self, response: Vec<Segment>, mut timing: Timing) {
        let count = response.len();
        if count == 0 {
            return;
        }
        timing.response_bytes = response.iter().map(Segment::len).sum();
        self.timings.push_back(timing);
        self.responses += 1;
        for (i, segment) in response.into_iter().enumerate() {
            self.segments.push_back(Queued { segment, last: i + 1 == count });
        }
    }

    /// The next response that was written in full since this was last asked.
    pub(crate) fn pop_written(&mut self) -> Option<Timing> {
        if self.timings.len() > self.responses { self.timings.pop_front() } else { None }
    }

    /// Responses not yet written in full.
    pub(crate) fn responses(&self) -> usize {
        self.responses
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Writes until all is written, the socket is full, bytes must come from a disk, or it is the turn of others.
    /// Returns how many bytes were written in this call through `written`.
    pub(crate) fn flush(&mut self, stream: &TcpStream, cold: &ColdReads, cx: &mut Context<'_>, written: &mut usize) -> io::Result<Flushed> {
        loop {
            self.drop_finished();
            let Some(front) = self.segments.front_mut() else { return Ok(Flushed::All) };
            if *written >= BYTES_PER_TURN {
                return Ok(Flushed::Yielded);
            }
            let result = match &mut front.segment {
                Segment::File(range) if range.file.fd().is_some() => {
                    if self.resident == 0 {
                        match warm(range, cold, &mut self.warming, cx) {
                            Poll::Ready(len) => self.resident = len,
                            Poll::Pending => return Ok(Flushed::Waiting),
                        }
                    }
                    send_file(stream, range, self.resident.min(BYTES_PER_TURN)).inspect(|n| self.resident -= n)
                }
                Segment::File(_) => {
                    self.read_ahead()?;
                    continue;
                }
                Segment::Bytes(_) => self.send_bytes(stream),
            };
            match result {
                Ok(n) => *written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => match stream.poll_write_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(e)) => return Err(e),
                    Poll::Pending => return Ok(Flushed::Waiting),
                },
                Err(e) => return Err(e),
            }
        }
    }

    fn drop_finished(&mut self) {
        while let Some(front) = self.segments.front()
            && front.segment.is_empty()
        {
            self.responses -= usize::from(front.last);
            self.segments.pop_front();
        }
    }

    fn send_bytes(&mut self, stream: &TcpStream) -> io::Result<usize> {
        // Most often one small response is all there is: nothing is gathered then, neither here nor in the kernel.
        if self.segments.len() == 1
            && let Some(Queued { segment: Segment::Bytes(bytes), .. }) = self.segments.front_mut()
        {
            let sent = stream.try_io(Interest::WRITABLE, || Ok(rustix::net::send(stream, bytes, SendFlags::NOSIGNAL)?))?;
            bytes.advance(sent);
            return Ok(sent);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        // With a file range next, the kernel may wait for it instead of sending the header in a packet of its own.
        let mut flags = SendFlags::NOSIGNAL;
        for queued in &self.segments {
            match &queued.segment {
                Segment::Bytes(bytes) if count < SLICES_MAX => {
                    slices[count] = IoSlice::new(bytes);
                    count += 1;
                }
                Segment::Bytes(_) => break,
                Segment::File(range) => {
                    if range.len > 0 {
                        flags |= SendFlags::MORE;
                    }
                    break;
                }
            }
        }
        let mut n = stream.try_io(Interest::WRITABLE, || {
            Ok(rustix::net::sendmsg(stream, &slices[..count], &mut SendAncillaryBuffer::default(), flags)?)
        })?;
        let sent = n;
        for queued in &mut self.segments {
            let Segment::Bytes(bytes) = &mut queued.segment else { break };
            let part = n.min(bytes.len());
            bytes.advance(part);
            n -= part;
            if n == 0 {
                break;
            }
        }
        Ok(sent)
    }

    /// Replaces the beginning of a file range in front by its bytes.
    fn read_ahead(&mut self) -> io::Result<()> {
        let Some(Queued { segment: Segment::File(range), last }) = self.segments.pop_front() else { return Ok(()) };
        let part = range.len.min(COPY_CHUNK);
        let bytes = FileRange { file: range.file.clone(), position: range.position, len: part }.read()?;
        let rest = FileRange { file: range.file, position: range.position + part as u64, len: range.len - part };
        self.segments.push_front(Queued { segment: Segment::File(rest), last });
        self.segments.push_front(Queued { segment: Segment::Bytes(bytes), last: false });
        Ok(())
    }
}

/// How many bytes of the range, from its start, can be sent without waiting for a disk; at least one, once it is ready.
fn warm(range: &FileRange, cold: &ColdReads, warming: &mut Option<(Arc<Slot<()>>, usize)>, cx: &mut Context<'_>) -> Poll<usize> {
    if warming.is_none() {
        let resident = range.file.resident(range.position, range.len).min(range.len);
        if resident > 0 {
            return Poll::Ready(resident);
        }
        let len = range.len.min(COLD_CHUNK);
        *warming = Some((cold.read(range.file.clone(), range.position, len), len));
    }
    match warming {
        Some((done, len)) if done.poll(cx.waker()).is_some() => {
            let len = *len;
            *warming = None;
            Poll::Ready(len)
        }
        _ => Poll::Pending,
    }
}

fn send_file(stream: &TcpStream, range: &mut FileRange, len_max: usize) -> io::Result<usize> {
    let mut position = range.position;
    let n = stream.try_io(Interest::WRITABLE, || {
        let Some(file) = range.file.fd() else { return Err(io::ErrorKind::Unsupported.into()) };
        Ok(rustix::fs::sendfile(stream, file, Some(&mut position), range.len.min(len_max))?)
    });
    let n = n.inspect_err(|error| {
        // Sockets do not say this: the disk could not be read.
        if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) {
            range.file.failed(error);
        }
    })?;
    if n == 0 {
        // Truncated since the range was read. The client was promised more bytes, so only closing is left.
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a log segment is shorter than the range that was to be sent"));
    }
    range.position += n as u64;
    range.len -= n;
    Ok(n)
}

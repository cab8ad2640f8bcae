//! A connection without a runtime: requests go out at once, answers are taken as they come.

use crate::Result;
use bytes::{Buf, Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use wire::messages::ResponseHeader;
use wire::{Message, Reader, Request, Segment};

pub struct Connection {
    stream: TcpStream,
    input: BytesMut,
    output: VecDeque<Bytes>,
}

impl Connection {
    pub fn open(address: &str) -> Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, input: BytesMut::new(), output: VecDeque::new() })
    }

    pub fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<()> {
        for segment in wire::encode_request(request, version, 0, Some("load"))? {
            let Segment::Bytes(bytes) = segment else { return Err("a request with a file in it".into()) };
            self.output.push_back(bytes);
        }
        self.flush()
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self) -> Result<()> {
        while let Some(front) = self.output.front_mut() {
            match self.stream.write(front) {
                Ok(n) => front.advance(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e.into()),
            }
            if front.is_empty() {
                self.output.pop_front();
            }
        }
        Ok(())
    }

    /// The next answer to a request of this kind, if it is there. Every request is answered in order.
    pub fn receive<R: Request>(&mut self, version: i16) -> Result<Option<R::Response>> {
        loop {
            if let Some(frame) = self.frame() {
                let mut reader = Reader::new(frame);
                ResponseHeader::decode(&mut reader, R::KEY.response_header_version(version))?;
                return Ok(Some(R::Response::decode(&mut reader, version)?));
            }
            let missing = self.missing();
            let have = self.input.len();
            self.input.resize(have + missing, 0);
            let read = self.stream.read(&mut self.input[have..]);
            self.input.truncate(have + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => return Err("the broker closed the connection".into()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn frame_len(&self) -> Option<usize> {
        Some(u32::from_be_bytes(*self.input.first_chunk::<4>()?) as usize)
    }

    /// How much to read: more than a small answer, so that one call gets it, and not much more than one call gives.
    fn missing(&self) -> usize {
        let whole = self.frame_len().map_or(0, |len| 4 + len);
        whole.saturating_sub(self.input.len()).clamp(16 * 1024, 256 * 1024)
    }

    fn frame(&mut self) -> Option<Bytes> {
        let len = self.frame_len()?;
        if self.input.len() < 4 + len {
            return None;
        }
        self.input.advance(4);
        Some(self.input.split_to(len).freeze())
    }

    /// Sends and waits for the answer.
    pub fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        self.send(request, version)?;
        loop {
            if let Some(response) = self.receive::<R>(version)? {
                return Ok(response);
            }
            wait(std::slice::from_mut(self), None)?;
        }
    }
}

/// Sleeps until one of them has something to read, or can write what is left, or `until` has come.
pub fn wait(connections: &mut [Connection], until: Option<Instant>) -> Result<()> {
    let mut polled: Vec<PollFd> = Vec::with_capacity(connections.len());
    for connection in connections.iter() {
        let flags = if connection.output.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        polled.push(PollFd::new(&connection.stream, flags));
    }
    let timeout = until.map(|until| to_timespec(until.saturating_duration_since(Instant::now())));
    match rustix::event::poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    let can_write: Vec<bool> = polled.iter().map(|fd| fd.revents().contains(PollFlags::OUT)).collect();
    for (connection, _) in connections.iter_mut().zip(can_write).filter(|(_, can)| *can) {
        connection.flush()?;
    }
    Ok(())
}

fn to_timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}

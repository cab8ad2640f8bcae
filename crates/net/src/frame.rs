//! Hot path. Bytes from a socket into frames: 4 bytes big-endian length, then that many bytes.
//!
//! Large frames are handed out as slices of the buffer they were read into, without a copy. Frames up to `COPY_MAX` are copied, so
//! that a few bytes which outlive their request (group member metadata) do not keep a whole read buffer alive.
//! A connection holds a buffer only while part of a frame is in it; in between, buffers go back to the worker's pool. Nothing is
//! allocated for a length before that length was checked, and large frames grow with the bytes that really arrive.
//!
//! A frame that is larger than a read buffer is read to its end and no further, and the next one is expected to be as large: so it begins at
//! the front of the same memory, which is still in the cache, and no part of it is moved.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const READ_BUFFER: usize = 64 * 1024;
const COPY_MAX: usize = 2 * 1024;
/// A frame up to this size gets its buffer at once; a larger one doubles from here.
const GROW_FROM: usize = 1024 * 1024 + 64 * 1024;
const POOLED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Read buffers that no connection uses at the moment; one pool per worker.
#[derive(Default)]
pub(crate) struct BufferPool(RefCell<Vec<BytesMut>>);

impl BufferPool {
    /// The smallest there is with that much room, or a new one.
    fn take(&self, capacity: usize) -> BytesMut {
        let mut pool = self.0.borrow_mut();
        let fitting = pool.iter().enumerate().filter(|(_, buf)| buf.capacity() >= capacity);
        match fitting.min_by_key(|(_, buf)| buf.capacity()).map(|(at, _)| at) {
            Some(at) => pool.swap_remove(at),
            None => BytesMut::with_capacity(capacity.next_multiple_of(READ_BUFFER)),
        }
    }

    /// Keeps the memory of an empty buffer for the next reader, unless frames still point into it or there is enough already.
    fn give(&self, mut buf: BytesMut) {
        debug_assert!(buf.is_empty());
        let mut pool = self.0.borrow_mut();
        let pooled: usize = pool.iter().map(BytesMut::capacity).sum();
        if pooled < POOLED_BYTES_MAX && buf.try_reclaim(READ_BUFFER) && pooled + buf.capacity() <= POOLED_BYTES_MAX {
            pool.push(buf);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    Negative(i32),
    Empty,
    TooLarge { len: i32, max: usize },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Negative(len) => write!(f, "invalid receive (size = {len})"),
            FrameError::Empty => f.write_str("invalid receive (size = 0): a request has at least a header"),
            FrameError::TooLarge { len, max } => {
                write!(f, "invalid receive (size = {len} larger than {max}): if the client is right, raise socket.request.max.bytes")
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct FrameReader {
    buf: BytesMut,
    /// Whether `buf` is a whole read buffer, rather than a few copied bytes.
    large: bool,
    /// What the last frame took, length included, if that was more than a read buffer holds.
    expected: usize,
}

impl FrameReader {
    /// The next whole frame among the bytes already read.
    pub(crate) fn next_frame(&mut self, max: usize) -> Result<Option<Bytes>, FrameError> {
        let Some(len) = self.announced(max)? else { return Ok(None) };
        if self.buf.len() < 4 + len {
            return Ok(None);
        }
        self.buf.advance(4);
        self.expected = if 4 + len > READ_BUFFER { 4 + len } else { 0 };
        if len <= COPY_MAX {
            let frame = Bytes::copy_from_slice(&self.buf[..len]);
            self.buf.advance(len);
            return Ok(Some(frame));
        }
        Ok(Some(self.buf.split_to(len).freeze()))
    }

    /// The length of the frame that begins at the front of the buffer, once its four bytes are there.
    fn announced(&self, max: usize) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buf.first_chunk::<4>() else { return Ok(None) };
        let len = i32::from_be_bytes(*prefix);
        match usize::try_from(len) {
            Err(_) => Err(FrameError::Negative(len)),
            Ok(0) => Err(FrameError::Empty),
            Ok(n) if n > max => Err(FrameError::TooLarge { len, max }),
            Ok(n) => Ok(Some(n)),
        }
    }

    /// Reads once. `Ready(Ok(0))` is the end of the stream. While pending, an empty reader owns no buffer.
    pub(crate) fn fill(&mut self, stream: &mut TcpStream, pool: &BufferPool, max: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let limit = self.make_room(pool, max);
        let poll = pin!(stream.read_buf(&mut (&mut self.buf).limit(limit))).poll(cx);
        if poll.is_pending() {
            self.release(pool);
        }
        poll
    }

    /// Gives how many bytes to read at most.
    fn make_room(&mut self, pool: &BufferPool, max: usize) -> usize {
        let have = self.buf.len();
        let need = match self.announced(max) {
            Ok(Some(len)) => 4 + len,
            _ => self.expected,
        };
        self.large = true;
        let capacity = self.buf.capacity();
        let (enough, wanted, limit) = if need > READ_BUFFER {
            (capacity > have && capacity >= need.min(GROW_FROM), need.min(GROW_FROM.max(2 * have)), need - have)
        } else {
            (capacity >= READ_BUFFER, READ_BUFFER, usize::MAX)
        };
        if !enough && !self.buf.try_reclaim(wanted - have) {
            // Frames still point into the buffer, or it is too small, or there is none.
            let mut fresh = pool.take(wanted);
            fresh.extend_from_slice(&self.buf);
            let mut old = std::mem::replace(&mut self.buf, fresh);
            old.clear();
            pool.give(old);
        }
        limit
    }

    /// Gives the buffer back when nothing, or only a little, of an unfinished frame is in it.
    pub(crate) fn release(&mut self, pool: &BufferPool) {
        if self.large && self.buf.len() <= COPY_MAX {
            let rest = BytesMut::from(&self.buf[..]);
            let mut buf = std::mem::replace(&mut self.buf, rest);
            buf.clear();
            pool.give(buf);
            self.large = false;
        }
    }

    #[cfg(test)]
    fn feed(&mut self, pool: &BufferPool, max: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let limit = self.make_room(pool, max);
            let n = bytes.len().min(self.buf.capacity() - self.buf.len()).min(limit);
            assert!(n > 0, "make_room makes room");
            self.buf.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 100 << 20;

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut out = (body.len() as u32).to_be_bytes().to_vec();
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn frames_of_all_sizes_in_pieces_of_all_sizes() {
        let pool = BufferPool::default();
        for size in [1, 2, 100, COPY_MAX, COPY_MAX + 1, 5000, READ_BUFFER - 4, READ_BUFFER, 3 * READ_BUFFER, 3 << 20] {
            let body: Vec<u8> = (0..size).map(|i| i as u8).collect();
            let bytes = framed(&body);
            for piece in [1usize, 3, 4, 1000, 70_000, usize::MAX] {
                if size > 100_000 && piece < 1000 {
                    continue;
                }
                let mut reader = FrameReader::default();
                let mut frame = None;
                for chunk in bytes.chunks(piece.min(bytes.len())) {
                    assert_eq!(reader.next_frame(MAX).unwrap(), None);
                    reader.feed(&pool, MAX, chunk);
                    reader.release(&pool);
                    if let Some(f) = reader.next_frame(MAX).unwrap() {
                        frame = Some(f);
                    }
                }
                assert_eq!(frame.unwrap(), body, "size {size} piece {piece}");
                reader.release(&pool);
                assert!(reader.buf.capacity() <= READ_BUFFER || size > READ_BUFFER);
            }
        }
    }

    #[test]
    fn several_frames_in_one_read_leave_in_order_and_keep_their_bytes() {
        let pool = BufferPool::default();
        let mut reader = FrameReader::default();
        let mut bytes = framed(&[1; 3000]);
        bytes.extend(framed(&[2; 10]));
        bytes.extend(framed(&[3; 3000]));
        bytes.extend(&framed(&[4; 3000])[..2000]);
        reader.make_room(&pool, MAX);
        reader.buf.extend_from_slice(&bytes);
        let frames: Vec<_> = std::iter::from_fn(|| reader.next_frame(MAX).unwrap()).collect();
        assert_eq!(frames.len(), 3);
        reader.feed(&pool, MAX, &framed(&[4; 3000])[2000..]);
        assert_eq!(reader.next_frame(MAX).unwrap().unwrap(), vec![4; 3000]);
        assert_eq!(frames[0], vec![1; 3000]);
        assert_eq!(frames[1], vec![2; 10]);
        assert_eq!(frames[2], vec![3; 3000]);
    }

    #[test]
    fn bad_lengths_are_refused_before_anything_is_allocated() {
        let pool = BufferPool::default();
        for (prefix, error) in [
            (-1i32, FrameError::Negative(-1)),
            (0, FrameError::Empty),
            (1001, FrameError::TooLarge { len: 1001, max: 1000 }),
            (i32::MAX, FrameError::TooLarge { len: i32::MAX, max: 1000 }),
        ] {
            let mut reader = FrameReader::default();
            reader.make_room(&pool, 1000);
            reader.buf.extend_from_slice(&prefix.to_be_bytes());
            assert_eq!(reader.next_frame(1000), Err(error));
            assert!(reader.buf.capacity() <= READ_BUFFER);
        }
    }

    #[test]
    fn a_large_frame_that_never_comes_costs_little() {
        let pool = BufferPool::default();
        let mut reader = FrameReader::default();
        reader.make_room(&pool, MAX);
        reader.buf.extend_from_slice(&(MAX as i32).to_be_bytes());
        reader.make_room(&pool, MAX);
        assert!(reader.buf.capacity() <= 2 * GROW_FROM);
        reader.release(&pool);
        assert!(reader.buf.capacity() <= COPY_MAX);
    }

    #[test]
    fn large_frames_in_a_row_use_the_same_memory_and_nothing_is_read_beyond_them() {
        let pool = BufferPool::default();
        let mut reader = FrameReader::default();
        let mut places = Vec::new();
        for (i, size) in [300_000, 300_000, 299_000, 301_000].into_iter().enumerate() {
            let body = vec![i as u8; size];
            reader.feed(&pool, MAX, &framed(&body));
            let frame = reader.next_frame(MAX).unwrap().unwrap();
            assert_eq!(frame, body);
            places.push(frame.as_ptr());
            drop(frame);
            assert!(reader.buf.len() < 4, "{} bytes of the next frame", reader.buf.len());
            reader.release(&pool);
        }
        assert!(places[1..].iter().all(|place| *place == places[1]), "{places:?}");
        // Small ones are read as many at a time as there are.
        let mut small = framed(&[7; 100]);
        small.extend(framed(&[8; 100]));
        reader.feed(&pool, MAX, &small);
        assert_eq!(std::iter::from_fn(|| reader.next_frame(MAX).unwrap()).count(), 2);
        assert_eq!(reader.make_room(&pool, MAX), usize::MAX);
    }
}

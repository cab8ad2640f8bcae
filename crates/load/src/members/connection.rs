//! One connection of one member: a request, then its answer. No buffering beyond one answer, no retries.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::messages::ResponseHeader;
use wire::{Message, Reader, Request, Segment};

pub struct Connection {
    stream: TcpStream,
    client_id: String,
    correlation_id: i32,
}

impl Connection {
    pub async fn open(address: &str, client_id: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, client_id: client_id.to_owned(), correlation_id: 0 })
    }

    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.correlation_id += 1;
        let frame = wire::encode_request(request, version, self.correlation_id, Some(&self.client_id)).map_err(io::Error::other)?;
        let mut bytes = BytesMut::new();
        for segment in frame {
            match segment {
                Segment::Bytes(part) => bytes.extend_from_slice(&part),
                Segment::File(_) => return Err(io::Error::other("a request holds no files")),
            }
        }
        self.stream.write_all(&bytes).await?;
        let length = self.stream.read_u32().await?;
        let mut answer = vec![0; length as usize];
        self.stream.read_exact(&mut answer).await?;
        let mut reader = Reader::new(Bytes::from(answer));
        let header = ResponseHeader::decode(&mut reader, R::KEY.response_header_version(version)).map_err(io::Error::other)?;
        if header.correlation_id != self.correlation_id {
            return Err(io::Error::other("an answer to another request"));
        }
        R::Response::decode(&mut reader, version).map_err(io::Error::other)
    }
}

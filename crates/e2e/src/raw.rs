//! A socket that speaks frames and nothing more: what is sent may be as wrong as a test wants.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub struct RawConnection(TcpStream);

/// What came back for a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Frame(Vec<u8>),
    Closed,
    /// Nothing within the time given.
    Silence,
}

impl RawConnection {
    pub fn open(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Sends bytes as they are. A connection that the other side closed shows at the next [`Self::answer`].
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// Sends `body` with its length in front.
    pub fn send_frame(&mut self, body: &[u8]) {
        let mut frame = (body.len() as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(body);
        self.send(&frame);
    }

    /// The other side sees the end of what we send.
    pub fn finish_sending(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Write);
    }

    pub fn answer(&mut self, patience: Duration) -> Answer {
        self.0.set_read_timeout(Some(patience)).expect("read timeout");
        let mut length = [0; 4];
        if let Some(other) = self.fill(&mut length) {
            return other;
        }
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.fill(&mut body).unwrap_or(Answer::Frame(body))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Option<Answer> {
        match self.0.read_exact(buffer) {
            Ok(()) => None,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Some(Answer::Silence),
            Err(_) => Some(Answer::Closed),
        }
    }
}

/// The body of ApiVersions v0: the one request that every broker of every age answers.
pub fn api_versions_v0() -> [u8; 10] {
    [0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]
}

/// Whether a broker answers requests on this port.
pub fn answers(port: u16) -> bool {
    let Ok(mut connection) = RawConnection::open(port) else { return false };
    connection.send_frame(&api_versions_v0());
    matches!(connection.answer(Duration::from_secs(10)), Answer::Frame(_))
}

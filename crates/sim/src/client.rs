//! A client that speaks the wire protocol to a simulated node, one request at a time or several at once.

use crate::node::{SimNode, no_waker};
use base::Segment;
use broker::{Handled, Parked, Session};
use bytes::{BufMut, Bytes, BytesMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use wire::messages::ResponseHeader;
use wire::{Message, Reader, Request};

pub struct Client {
    session: Session,
    correlation_id: i32,
    id: String,
}

/// A request whose answer is not there yet.
pub struct Waiting<R: Request> {
    parked: Parked,
    version: i16,
    request: std::marker::PhantomData<R>,
}

pub enum Sent<R: Request> {
    Answered(R::Response),
    Waiting(Waiting<R>),
    Nothing,
    Closed(String),
}

impl Client {
    pub fn new(id: &str) -> Self {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40000));
        Client { session: Session::new(peer, "PLAINTEXT".into()), correlation_id: 0, id: id.into() }
    }

    pub fn send<R: Request>(&mut self, node: &mut SimNode, request: &R, version: i16) -> Sent<R> {
        self.correlation_id += 1;
        let segments = wire::encode_request(request, version, self.correlation_id, Some(&self.id)).expect("the request encodes");
        let frame = flatten(segments).expect("a request is in memory").slice(4..);
        let broker = node.broker.clone();
        let handled = broker.handle(node.now, &mut self.session, frame, no_waker());
        node.settle();
        match handled {
            Handled::Response(response) => match decode::<R>(response.frame, version) {
                Ok(response) => Sent::Answered(response),
                Err(why) => Sent::Closed(why),
            },
            Handled::NoResponse => Sent::Nothing,
            Handled::Close(why) => Sent::Closed(why),
            Handled::Parked(parked) => {
                let mut waiting = Waiting { parked, version, request: std::marker::PhantomData };
                match waiting.look(node) {
                    Some(Ok(response)) => Sent::Answered(response),
                    Some(Err(why)) => Sent::Closed(why),
                    None => Sent::Waiting(waiting),
                }
            }
        }
    }

    /// Sends and lets some time pass; `None` when no answer came, or the node ended meanwhile.
    pub fn attempt<R: Request>(&mut self, node: &mut SimNode, request: &R, version: i16) -> Option<R::Response> {
        match self.send(node, request, version) {
            Sent::Answered(response) => Some(response),
            Sent::Waiting(mut waiting) => waiting.wait_for(node, Duration::from_secs(3)),
            Sent::Nothing | Sent::Closed(_) => None,
        }
    }

    /// Sends and lets time pass until the answer is there.
    pub fn call<R: Request>(&mut self, node: &mut SimNode, request: &R, version: i16) -> R::Response {
        match self.send(node, request, version) {
            Sent::Answered(response) => response,
            Sent::Waiting(mut waiting) => waiting.wait(node, Duration::from_secs(120)),
            Sent::Nothing => panic!("{} is not answered", R::NAME),
            Sent::Closed(why) => panic!("{} closed the connection: {why}", R::NAME),
        }
    }
}

impl<R: Request> Waiting<R> {
    pub fn poll(&mut self, node: &mut SimNode) -> Option<R::Response> {
        self.look(node).map(|answer| answer.expect("the answer can be sent"))
    }

    fn look(&mut self, node: &mut SimNode) -> Option<Result<R::Response, String>> {
        let broker = node.broker.clone();
        let response = self.parked.poll(&broker, node.now, no_waker())?;
        Some(decode::<R>(response.frame, self.version))
    }

    /// Moves the clock until the answer is there.
    pub fn wait(&mut self, node: &mut SimNode, at_most: Duration) -> R::Response {
        self.wait_for(node, at_most).unwrap_or_else(|| panic!("{} is not answered within {at_most:?}", R::NAME))
    }

    fn wait_for(&mut self, node: &mut SimNode, at_most: Duration) -> Option<R::Response> {
        let end = node.now.plus(at_most).mono;
        while node.now.mono < end && node.died.is_none() {
            if let Some(answer) = self.look(node) {
                return answer.ok();
            }
            node.advance(Duration::from_millis(10));
        }
        None
    }
}

/// An error is what makes the server close the connection: the disk failed while the answer was sent.
fn decode<R: Request>(response: Vec<Segment>, version: i16) -> Result<R::Response, String> {
    let mut r = Reader::new(flatten(response).map_err(|e| e.to_string())?.slice(4..));
    ResponseHeader::decode(&mut r, R::KEY.response_header_version(version)).expect("the header decodes");
    let body = R::Response::decode(&mut r, version).expect("the response decodes");
    assert_eq!(r.remaining(), 0, "nothing is left over");
    Ok(body)
}

fn flatten(segments: Vec<Segment>) -> std::io::Result<Bytes> {
    let mut out = BytesMut::new();
    for segment in segments {
        match segment {
            Segment::Bytes(bytes) => out.put_slice(&bytes),
            Segment::File(range) => out.put_slice(&range.read()?),
        }
    }
    Ok(out.freeze())
}

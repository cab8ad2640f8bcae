//! One answer made of the answers of several shards.

use crate::Broker;
use crate::answer::{Handled, ReplyTo, Response, Wait};
use crate::context::Context;
use crate::groups::ReplySlot;
use base::{Instant, Now};
use coordinator::Reply;
use std::task::Waker;
use wire::ErrorCode;

pub(super) enum Part {
    Waiting(ReplySlot),
    Done(Reply),
}

impl Part {
    pub fn of(slot: Result<ReplySlot, ErrorCode>, refuse: impl FnOnce(ErrorCode) -> Reply) -> Part {
        match slot {
            Ok(slot) => Part::Waiting(slot),
            Err(error) => Part::Done(refuse(error)),
        }
    }
}

pub(super) struct Gather<F> {
    reply: ReplyTo,
    parts: Vec<Part>,
    finish: Option<F>,
}

impl<F: FnOnce(ReplyTo, Vec<Reply>) -> Option<Response> + Send + 'static> Gather<F> {
    /// Parks until every part is there; `finish` gets them in their order.
    pub fn park(c: &Context, parts: Vec<Part>, finish: F) -> Handled {
        c.park(Gather { reply: c.reply, parts, finish: Some(finish) }, Instant::FAR_FUTURE)
    }
}

impl<F: FnOnce(ReplyTo, Vec<Reply>) -> Option<Response> + Send> Wait for Gather<F> {
    fn poll(&mut self, _broker: &Broker, _now: Now, waker: &Waker) -> Option<Response> {
        let mut all = true;
        for part in &mut self.parts {
            if let Part::Waiting(slot) = part {
                match slot.poll(waker) {
                    Some(reply) => *part = Part::Done(reply),
                    None => all = false,
                }
            }
        }
        if !all {
            return None;
        }
        let replies = self.parts.drain(..).filter_map(|p| if let Part::Done(reply) = p { Some(reply) } else { None }).collect();
        self.finish.take()?(self.reply, replies)
    }
}

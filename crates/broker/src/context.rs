//! All that a handler is given besides its request.

use crate::answer::{Handled, ReplyTo, Wait};
use crate::{Broker, Session};
use base::{Instant, Now, Slot};
use controller::{ControllerError, ControllerRequest, ControllerResponse, ResponseSlot};
use metadata::Image;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use wire::{ErrorCode, Message};

pub(crate) struct Context<'a> {
    pub broker: &'a Broker,
    pub now: Now,
    pub session: &'a mut Session,
    pub waker: &'a Waker,
    pub reply: ReplyTo,
    /// Empty when the client sent none.
    pub client_id: String,
    /// The cluster as this request sees it, from its start to its end.
    pub image: Arc<Image>,
}

impl Context<'_> {
    pub fn version(&self) -> i16 {
        self.reply.version
    }

    pub fn answer<M: Message>(&self, body: &M) -> Handled {
        self.reply.answer(body)
    }

    pub fn deadline(&self, timeout_ms: i32) -> Instant {
        self.now.mono + Duration::from_millis(timeout_ms.max(0) as u64)
    }

    pub fn park(&self, wait: impl Wait + 'static, deadline: Instant) -> Handled {
        self.reply.park(wait, self.broker, self.now, self.waker, deadline)
    }

    /// Sends a request to the controller and parks until it answers; `finish` makes the client's response of it.
    pub fn ask_controller<R, M>(
        &self,
        request: impl Into<ControllerRequest>,
        timeout_ms: i32,
        finish: impl FnOnce(&Broker, Result<R, ControllerError>) -> M + Send + 'static,
    ) -> Handled
    where
        R: TryFrom<ControllerResponse, Error = ControllerError> + Send + 'static,
        M: Message + 'static,
    {
        let deadline = self.deadline(timeout_ms);
        let slot = Slot::new();
        let context = controller::RequestContext {
            principal: self.session.principal.to_string(),
            listener: self.session.listener.to_string(),
            client_host: self.session.address().to_string(),
            api_version: self.version(),
            deadline: Some(deadline),
        };
        self.broker.controller().submit(context, request.into(), slot.clone());
        let wait = AwaitController { slot, reply: self.reply, deadline, finish: Some(finish), answer: std::marker::PhantomData };
        self.park(wait, deadline)
    }
}

struct AwaitController<R, F> {
    slot: ResponseSlot,
    reply: ReplyTo,
    deadline: Instant,
    finish: Option<F>,
    answer: std::marker::PhantomData<fn() -> R>,
}

impl<R, M, F> Wait for AwaitController<R, F>
where
    R: TryFrom<ControllerResponse, Error = ControllerError> + Send,
    M: Message,
    F: FnOnce(&Broker, Result<R, ControllerError>) -> M + Send,
{
    fn poll(&mut self, broker: &Broker, now: Now, waker: &Waker) -> Option<crate::Response> {
        let answer = match self.slot.poll(waker) {
            Some(answer) => R::try_from(answer),
            None if now.mono >= self.deadline => Err(ControllerError::of(ErrorCode::RequestTimedOut)),
            None => return None,
        };
        let finish = self.finish.take()?;
        self.reply.encode(&finish(broker, answer))
    }
}

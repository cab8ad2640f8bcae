//! The local HTTP port: `/metrics` (Prometheus), `/health/live`, `/health/ready`. No authentication, so it listens on localhost
//! unless told otherwise. A metrics page is written by a thread of its own, at a lower priority than what serves clients, and sent while it is
//! written; a scraper that does not read it loses it.

use crate::clock;
use crate::health::Health;
use crate::metrics::{Format, Metrics};
use crate::node::spawn;
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http_body::Frame;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{self, error::TrySendError};

/// Pieces of a page on their way to a scraper.
const PIECES: usize = 4;
/// How long a scraper may take to read a page; others wait for it.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks whether there is room again.
const FULL: Duration = Duration::from_millis(1);
/// Serving clients goes first: so much is added to the niceness of the process.
const NICE: i32 = 5;

#[derive(Clone)]
pub struct Pages {
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    /// One page is written at a time.
    pub turn: Arc<tokio::sync::Mutex<()>>,
}

/// Serves until `stop` resolves.
pub async fn serve(listener: TcpListener, pages: Pages, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, router(pages)).with_graceful_shutdown(stop).await
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(pages)
}

async fn index() -> &'static str {
    "/metrics\n/health/live\n/health/ready\n"
}

async fn metrics(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    // Scrapers that come faster than pages are written wait their turn.
    let turn = pages.turn.lock_owned().await;
    let (sender, receiver) = mpsc::channel(PIECES);
    let written = spawn("gregor-metrics", move || {
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "the metrics page is written at normal priority");
        }
        let begin = Instant::now();
        let mut read = true;
        pages.metrics.render(format, &mut |piece| read = read && send(&sender, Piece::Text(piece.into()), begin));
        if read {
            send(&sender, Piece::End, begin);
        }
        drop(turn);
    });
    match written {
        Ok(_) => ([(header::CONTENT_TYPE, format.content_type())], Body::new(Pieces(receiver))).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics page could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

enum Piece {
    Text(Bytes),
    /// Without it the page has broken off.
    End,
}

/// Waits for room, but not for a scraper that has stopped reading. `false` when the page is not read any more: it ends there.
fn send(sender: &mpsc::Sender<Piece>, mut piece: Piece, begin: Instant) -> bool {
    loop {
        match sender.try_send(piece) {
            Ok(()) => return true,
            Err(TrySendError::Full(unsent)) if begin.elapsed() < READ_TIMEOUT => piece = unsent,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => return false,
        }
        std::thread::sleep(FULL);
    }
}

/// The body of a page that is being written.
struct Pieces(mpsc::Receiver<Piece>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Text(text)) => Some(Ok(Frame::data(text))),
            Some(Piece::End) => None,
            // So that half a page is not taken for a whole one.
            None => Some(Err(io::Error::other("the metrics page broke off"))),
        })
    }
}

async fn live(State(pages): State<Pages>) -> Response {
    answer(&pages.health, pages.health.is_live())
}

async fn ready(State(pages): State<Pages>) -> Response {
    answer(&pages.health, pages.health.is_ready())
}

fn answer(health: &Health, ok: bool) -> Response {
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (status, content_type, health.to_json(clock::now().mono).to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn next(pieces: &mut Pieces) -> Option<Result<Bytes, String>> {
        let frame = poll_fn(|cx| Pin::new(&mut *pieces).poll_frame(cx)).await?;
        Some(frame.map_err(|error| error.to_string()).map(|frame| frame.into_data().unwrap_or_default()))
    }

    #[tokio::test]
    async fn a_page_ends_or_breaks_off() {
        for whole in [true, false] {
            let (sender, receiver) = mpsc::channel(PIECES);
            let mut pieces = Pieces(receiver);
            assert!(send(&sender, Piece::Text("a 1\n".into()), Instant::now()));
            if whole {
                assert!(send(&sender, Piece::End, Instant::now()));
            }
            drop(sender);
            assert_eq!(next(&mut pieces).await, Some(Ok("a 1\n".into())));
            assert_eq!(next(&mut pieces).await, if whole { None } else { Some(Err("the metrics page broke off".into())) });
        }
    }

    #[test]
    fn nothing_is_written_for_a_scraper_that_does_not_read() {
        let (sender, receiver) = mpsc::channel(1);
        let late = Instant::now().checked_sub(READ_TIMEOUT).expect("the clock runs for that long");
        assert!(send(&sender, Piece::End, late), "there is room");
        assert!(!send(&sender, Piece::End, late), "no room, and the time is over");
        drop(receiver);
        assert!(!send(&sender, Piece::End, Instant::now()), "nobody is there");
    }
}

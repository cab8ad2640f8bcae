//! The local HTTP port: `/metrics` (Prometheus), `/health/live`, `/health/ready`. No authentication, so it listens on localhost
//! unless told otherwise.

use crate::clock;
use crate::health::Health;
use crate::metrics::{Format, Metrics};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

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

/// Written on a thread of its own: a page about very many partitions must not keep health and signals waiting.
async fn metrics(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    // Scrapers that come faster than pages are written wait their turn.
    let _turn = pages.turn.lock().await;
    let metrics = pages.metrics.clone();
    match tokio::task::spawn_blocking(move || metrics.render(format)).await {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics page could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
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

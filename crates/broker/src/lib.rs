//! Owns: the whole logic of answering requests. A handler is a plain function, run to its end on the thread that read the socket; what must
//! wait becomes a `Parked` value that the connection polls again when it is woken.
//! Used by: server (composition), the simulator. Never does: await, spawn, read a clock, block on anything slower than the page cache.
//! Kafka counterpart: `KafkaApis`, `FetchManager`, `AutoTopicCreationManager`, `CoordinatorRuntime`, the purgatories.

mod alarm;
mod answer;
mod auto_create;
mod context;
pub mod fetch_session;
mod groups;
mod handle;
mod markers;
pub mod metrics;
mod node;
mod producer_ids;
mod session;
mod shard_log;
mod txns;
mod verify;

pub use answer::{Handled, Parked, Response};
pub use groups::{CommittedOffsets, CoordinatorStates, GroupCounts};
pub use handle::configs::Loggers;
pub use metrics::Metrics;
pub use node::{Broker, BrokerListener, BrokerParts};
pub use session::Session;
pub use txns::TxnStates;

//! Owns: the active controller. Pure `decide` functions turn a request and the head image into records and an answer; `Node`
//! drives raft, keeps the head (uncommitted) and the committed image, and releases answers when their records are committed.
//! Used by: server (the metadata thread loops over `Node`), broker (through the seam types only).
//! Never does: threads, sockets, clock reads. Decisions read the head image, as Kafka's do.
//! Kafka: `QuorumController` and its control managers.

mod active;
pub mod change;
pub mod decide;
pub mod heartbeats;
pub mod node;
pub mod placement;
mod quorum;
pub mod seam;
pub mod settings;

pub use node::{Effects, Event, Node, NodeError};
pub use seam::{
    ControllerClient, ControllerError, ControllerRequest, ControllerResponse, MetadataListener, MetadataUpdate, RequestContext,
    ResponseSlot,
};
pub use settings::Settings;

#[cfg(test)]
mod tests;

//! The controller of one node: raft, the committed image, and while it leads, the head image that is ahead of it.
//! Kafka: `QuorumController` with `MetadataLoader` and `SnapshotGenerator`.
//!
//! Guarantees: nothing is appended that the own strict replay refuses; an answer that speaks of records leaves after they are
//! committed, and after the update that shows them. Non-guarantees: the order of answers.

use crate::active::{Active, Outcome};
use crate::decide::{Decision, bootstrap};
use crate::quorum::Quorum;
use crate::seam::{ControllerError, ControllerRequest, ControllerResponse, MetadataUpdate, RequestContext};
use crate::settings::Settings;
use base::{Instant, Now};
use metadata::{Delta, Image, Loader, Provenance, Record, RecordError, ReplayError, snapshot};
use raft::{Content, OffsetAndEpoch, RaftError};
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::ErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Raft(#[from] RaftError),
    #[error("metadata record at offset {offset} cannot be read: {error}")]
    Record { offset: i64, error: RecordError },
    #[error("metadata log at offset {offset} cannot be applied: {error}")]
    Replay { offset: i64, error: ReplayError },
    #[error("metadata snapshot cannot be applied: {0}")]
    Snapshot(ReplayError),
    #[error("bootstrap.checkpoint cannot be read: {0}")]
    Bootstrap(RecordError),
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one event at a time, on the stack of the metadata thread")]
pub enum Event {
    /// First event: loads what is committed and becomes active if elected.
    Start,
    Request {
        token: u64,
        context: RequestContext,
        request: ControllerRequest,
    },
    /// A deadline has passed.
    Tick,
    /// Makes what the turns since the last one appended durable, shows it and releases answers.
    Commit,
    /// Stops leading, after committing what is there.
    Resign,
}

#[derive(Debug, Default)]
pub struct Effects {
    /// To be shown to listeners, in order, before the answers go out.
    pub updates: Vec<MetadataUpdate>,
    pub responses: Vec<(u64, ControllerResponse)>,
}

pub struct Node {
    settings: Settings,
    raft: raft::Node,
    rng: fastrand::Rng,
    /// Records with which an empty log starts.
    bootstrap: Vec<Record>,
    loader: Loader,
    published: Arc<Image>,
    /// Next committed offset to apply.
    next_offset: i64,
    /// Log offset of each broker's registration.
    registered_at: BTreeMap<i32, i64>,
    active: Option<Active>,
    snapshots: SnapshotPolicy,
}

/// When the next snapshot is due.
struct SnapshotPolicy {
    new_bytes: u64,
    last: Instant,
}

impl Node {
    /// Loads the newest snapshot; the log follows with `Event::Start`.
    pub fn open(settings: Settings, raft: raft::Node, bootstrap: Vec<Record>, seed: u64, now: Now) -> Result<Node, NodeError> {
        let mut image = Image::default();
        let mut next_offset = raft.log_start_offset();
        if let Some((id, content)) = raft.latest_snapshot()? {
            let mut records = Vec::with_capacity(content.values.len());
            for value in content.values {
                let (record, _) = Record::decode(value).map_err(|error| NodeError::Record { offset: id.offset - 1, error })?;
                records.push(record);
            }
            image = snapshot::from_records(&records).map_err(NodeError::Snapshot)?;
            let timestamp_ms = content.last_contained_log_timestamp;
            image.provenance = Provenance { offset: id.offset - 1, epoch: id.epoch, timestamp_ms };
            next_offset = id.offset;
        }
        Ok(Node {
            registered_at: image.cluster.brokers.values().map(|broker| (broker.id, broker.epoch)).collect(),
            loader: Loader::new(image),
            published: Arc::new(Image::default()),
            next_offset,
            active: None,
            snapshots: SnapshotPolicy { new_bytes: 0, last: now.mono },
            rng: fastrand::Rng::with_seed(seed),
            settings,
            raft,
            bootstrap,
        })
    }

    pub fn turn(&mut self, now: Now, event: Event) -> Result<Effects, NodeError> {
        let mut effects = Effects::default();
        match event {
            Event::Start => self.start(now, &mut effects)?,
            Event::Request { token, context, request } => self.request(now, token, context, request, &mut effects)?,
            Event::Tick => self.tick(now, &mut effects)?,
            Event::Commit => self.commit(now, &mut effects)?,
            Event::Resign => self.resign(now, &mut effects)?,
        }
        Ok(effects)
    }

    /// Whether a `Commit` is needed before waiting for more.
    pub fn must_commit(&self) -> bool {
        self.raft.must_flush()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let active = self.active.as_ref().and_then(|active| active.next_deadline(&self.settings));
        let snapshot = self.settings.snapshot_max_interval.map(|interval| self.snapshots.last + interval);
        active.into_iter().chain(snapshot).min()
    }

    /// The newest committed image.
    pub fn image(&self) -> &Arc<Image> {
        &self.published
    }

    /// The image that decisions read; ahead of the committed one by what is pending.
    pub fn head(&self) -> Option<&Image> {
        self.active.as_ref().map(|active| &active.head)
    }

    pub fn raft(&self) -> &raft::Node {
        &self.raft
    }

    /// The last thing before the process ends; `Event::Resign` comes before it.
    pub fn close(&mut self, now: Now) -> Result<(), NodeError> {
        Ok(self.raft.close(now)?)
    }

    /// Hands raft back, for tests that restart.
    pub fn into_raft(self) -> raft::Node {
        self.raft
    }

    fn start(&mut self, now: Now, effects: &mut Effects) -> Result<(), NodeError> {
        let outcome = self.raft.step(now, raft::Event::Start)?;
        self.loader.set_kraft_version(self.raft.kraft_version().level());
        let mut delta = Delta::between(&self.published, self.loader.image());
        self.load_committed(&mut delta)?;
        if outcome.leader_changed.is_some()
            && let Some(epoch) = self.raft.leader_epoch()
        {
            self.activate(now, epoch)?;
            self.raft.step(now, raft::Event::Flush)?;
            self.load_committed(&mut delta)?;
        }
        self.publish(delta, effects);
        Ok(self.raft.clean(now)?)
    }

    fn activate(&mut self, now: Now, epoch: i32) -> Result<(), NodeError> {
        tracing::info!(epoch, offset = self.next_offset, "controller is active");
        let mut active = Active::new(self.loader.image().clone(), epoch, &self.settings, now);
        let aborted = self.loader.transaction_start_offset().is_some();
        let records = if active.head.features.metadata_version.is_none() {
            bootstrap::records_for_empty_log(&self.bootstrap, &self.settings, aborted)
        } else if aborted {
            vec![bootstrap::abort_record()]
        } else {
            Vec::new()
        };
        active.append(now, &mut self.raft, &mut self.registered_at, &records, false)?;
        if let Some(registration) = bootstrap::controller_registration(&active.head, &self.settings) {
            active.append(now, &mut self.raft, &mut self.registered_at, &[registration], true)?;
        }
        self.active = Some(active);
        Ok(())
    }

    fn request(
        &mut self,
        now: Now,
        token: u64,
        context: RequestContext,
        request: ControllerRequest,
        effects: &mut Effects,
    ) -> Result<(), NodeError> {
        let listener = self.settings.broker.controller_listener_names.first().map_or("", String::as_str);
        let quorum = Quorum { raft: &self.raft, cluster_id: &self.settings.cluster_id, listener };
        if let Some(response) = quorum.answer(&request, context.api_version, now) {
            effects.responses.push((token, response));
            return Ok(());
        }
        let Some(active) = &mut self.active else {
            effects.responses.push((token, ControllerResponse::Failed(ErrorCode::NotController.into())));
            return Ok(());
        };
        if let ControllerRequest::BrokerHeartbeat(heartbeat) = &request {
            active.heartbeats.on_contact(heartbeat.broker_id, heartbeat.broker_epoch, now);
        }
        if context.deadline.is_some_and(|deadline| deadline < now.mono) {
            effects.responses.push((token, ControllerResponse::Failed(ErrorCode::RequestTimedOut.into())));
            return Ok(());
        }
        let outcome =
            active.handle(now, &self.settings, &mut self.raft, &mut self.registered_at, &mut self.rng, token, &context, &request)?;
        if let Outcome::Answered(response) = outcome {
            effects.responses.push((token, response));
        }
        Ok(())
    }

    fn tick(&mut self, now: Now, effects: &mut Effects) -> Result<(), NodeError> {
        if let Some(active) = &mut self.active {
            active.tick(now, &self.settings, &mut self.raft, &mut self.registered_at)?;
        }
        if self.settings.snapshot_max_interval.is_some_and(|interval| self.snapshots.last + interval <= now.mono) {
            self.commit(now, effects)?;
            self.take_snapshot(now)?;
        }
        Ok(())
    }

    fn commit(&mut self, now: Now, effects: &mut Effects) -> Result<(), NodeError> {
        self.raft.step(now, raft::Event::Flush)?;
        let mut delta = Delta::default();
        self.load_committed(&mut delta)?;
        self.publish(delta, effects);
        if let (Some(active), Some(high_watermark)) = (&mut self.active, self.raft.high_watermark()) {
            active.release(high_watermark, &mut effects.responses);
        }
        if self.snapshots.new_bytes >= self.settings.snapshot_max_new_bytes {
            self.take_snapshot(now)?;
        }
        Ok(())
    }

    fn resign(&mut self, now: Now, effects: &mut Effects) -> Result<(), NodeError> {
        self.commit(now, effects)?;
        if let Some(active) = self.active.take() {
            let failed = || ControllerResponse::Failed(ErrorCode::NotController.into());
            effects.responses.extend(active.into_pending().map(|token| (token, failed())));
        }
        self.raft.step(now, raft::Event::Resign)?;
        Ok(())
    }

    /// Applies what was committed since the last time and adds to `delta` what became visible.
    fn load_committed(&mut self, delta: &mut Delta) -> Result<(), NodeError> {
        for batch in self.raft.read_committed(self.next_offset)? {
            self.snapshots.new_bytes += batch.size as u64;
            self.next_offset = batch.last_offset + 1;
            let values = match batch.content {
                Content::Control(_) => {
                    self.loader.set_kraft_version(self.raft.kraft_version().level());
                    self.loader.advance(batch.last_offset, batch.epoch, batch.timestamp_ms);
                    continue;
                }
                Content::Data(values) => values,
            };
            let mut records = Vec::with_capacity(values.len());
            for (value, offset) in values.into_iter().zip(batch.base_offset..) {
                let (record, _) = Record::decode(value).map_err(|error| NodeError::Record { offset, error })?;
                if let Record::RegisterBroker(r) = &record {
                    self.registered_at.insert(r.broker_id, offset);
                }
                records.push(record);
            }
            self.loader
                .apply(batch.base_offset, batch.epoch, batch.timestamp_ms, &records, delta)
                .map_err(|error| NodeError::Replay { offset: batch.base_offset, error })?;
        }
        Ok(())
    }

    fn publish(&mut self, delta: Delta, effects: &mut Effects) {
        if self.published.provenance != self.loader.image().provenance || !delta.is_empty() {
            let image = Arc::new(self.loader.image().clone());
            let old = std::mem::replace(&mut self.published, image.clone());
            effects.updates.push(MetadataUpdate { old, image, delta });
        }
    }

    /// Never inside a metadata transaction, whose beginning the snapshot would hide from its end.
    fn take_snapshot(&mut self, now: Now) -> Result<(), NodeError> {
        self.snapshots.last = now.mono;
        let provenance = self.published.provenance;
        if self.loader.transaction_start_offset().is_some() || self.snapshots.new_bytes == 0 || provenance.offset < 0 {
            return Ok(());
        }
        let id = OffsetAndEpoch::new(provenance.offset + 1, provenance.epoch);
        let version = self.published.metadata_version();
        let mut values = Vec::new();
        for record in snapshot::to_records(&self.published) {
            values.push(record.encode(version).map_err(|error| NodeError::Record { offset: id.offset, error })?);
        }
        if self.raft.store_snapshot(now, id, provenance.timestamp_ms, &values, snapshot::RECORDS_PER_BATCH)? {
            tracing::info!(offset = id.offset, epoch = id.epoch, records = values.len(), "wrote a metadata snapshot");
            self.snapshots.new_bytes = 0;
            self.raft.clean(now)?;
        }
        Ok(())
    }
}

/// The records of a bootstrap.checkpoint.
pub fn read_bootstrap(content: raft::snapshot::SnapshotContent) -> Result<Vec<Record>, NodeError> {
    content.values.into_iter().map(|value| Record::decode(value).map(|(record, _)| record).map_err(NodeError::Bootstrap)).collect()
}

/// The content of a bootstrap.checkpoint with these records.
pub fn write_bootstrap(records: &[Record], now: Now) -> std::io::Result<bytes::Bytes> {
    let values: Result<Vec<_>, _> = records.iter().map(|record| record.encode(metadata::MetadataVersion::LATEST_PRODUCTION)).collect();
    raft::snapshot::encode_bootstrap(&values.map_err(std::io::Error::other)?, now.wall_ms)
}

pub(crate) fn internal_error(message: impl Into<String>) -> Decision {
    Decision::answer(ControllerResponse::Failed(ControllerError::new(ErrorCode::UnknownServerError, message)))
}

//! Snapshots and bootstrap.checkpoint as bytes: batches with offsets of their own from 0, framed by a header and a footer.
//! Kafka: `RecordsSnapshotWriter`, `Snapshots`, `BatchFileWriter`, `BootstrapDirectory`; KIP-630.

use crate::batch::{self, BatchError, Content, ControlRecord, split};
use crate::log::OffsetAndEpoch;
use crate::voters::{KRaftVersion, VoterSet};
use bytes::{Bytes, BytesMut};
use std::io;
use wire::messages::{SnapshotFooterRecord, SnapshotHeaderRecord};

/// What `format` writes for a quorum whose voters live in the log; it holds voters only and is never sent to anybody.
pub const BOOTSTRAP_ID: OffsetAndEpoch = OffsetAndEpoch::new(0, 0);
pub const BOOTSTRAP_FILE: &str = "bootstrap.checkpoint";
const SUFFIX: &str = ".checkpoint";

/// `<20 digits>-<10 digits>.checkpoint`
pub fn file_name(id: OffsetAndEpoch) -> String {
    format!("{:020}-{:010}{SUFFIX}", id.offset, id.epoch)
}

/// The id of a complete snapshot file; `None` for anything else, partial and deleted ones included.
pub fn parse_file_name(name: &str) -> Option<OffsetAndEpoch> {
    let (offset, epoch) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let digits = |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(offset, 20) || !digits(epoch, 10) {
        return None;
    }
    Some(OffsetAndEpoch::new(offset.parse().ok()?, epoch.parse().ok()?))
}

/// Writes batches one after another, numbering records from 0.
struct Writer {
    bytes: BytesMut,
    next_offset: i64,
    epoch: i32,
    now_ms: i64,
}

impl Writer {
    fn control(&mut self, records: &[ControlRecord]) -> io::Result<()> {
        let batch = batch::encode_control(self.next_offset, self.epoch, self.now_ms, records)?;
        self.bytes.extend_from_slice(&batch);
        self.next_offset += records.len() as i64;
        Ok(())
    }

    fn data(&mut self, values: &[Bytes]) -> io::Result<()> {
        for chunk in split(values, usize::MAX) {
            let batch = batch::encode_data(self.next_offset, self.epoch, self.now_ms, chunk)?;
            self.bytes.extend_from_slice(&batch);
            self.next_offset += chunk.len() as i64;
        }
        Ok(())
    }

    fn header(&mut self, last_contained_log_timestamp: i64, quorum: Option<(KRaftVersion, &VoterSet)>) -> io::Result<()> {
        let header = SnapshotHeaderRecord { version: 0, last_contained_log_timestamp, ..Default::default() };
        let mut records = vec![ControlRecord::SnapshotHeader(header)];
        if let Some((version, voters)) = quorum.filter(|(version, _)| version.supports_reconfiguration()) {
            records.push(ControlRecord::kraft_version(version));
            records.push(ControlRecord::voters(voters));
        }
        self.control(&records)
    }

    fn finish(mut self) -> io::Result<Bytes> {
        self.control(&[ControlRecord::SnapshotFooter(SnapshotFooterRecord { version: 0, ..Default::default() })])?;
        Ok(self.bytes.freeze())
    }
}

/// The content of a snapshot that ends at `id`; `values` are cut into batches of `records_per_batch`.
pub fn encode(
    id: OffsetAndEpoch,
    last_contained_log_timestamp: i64,
    quorum: (KRaftVersion, &VoterSet),
    values: &[Bytes],
    records_per_batch: usize,
    now_ms: i64,
) -> io::Result<Bytes> {
    let mut writer = Writer { bytes: BytesMut::new(), next_offset: 0, epoch: id.epoch, now_ms };
    writer.header(last_contained_log_timestamp, Some(quorum))?;
    for chunk in split(values, records_per_batch) {
        writer.data(chunk)?;
    }
    writer.finish()
}

/// The content of bootstrap.checkpoint: the records with which the first controller starts an empty metadata log.
pub fn encode_bootstrap(values: &[Bytes], now_ms: i64) -> io::Result<Bytes> {
    let mut writer = Writer { bytes: BytesMut::new(), next_offset: 0, epoch: 0, now_ms };
    writer.header(0, None)?;
    writer.data(values)?;
    writer.finish()
}

/// The content of the 0-0 snapshot that `format` writes beside bootstrap.checkpoint when voters live in the log.
pub fn encode_voters(voters: &VoterSet, now_ms: i64) -> io::Result<Bytes> {
    encode(BOOTSTRAP_ID, now_ms, (KRaftVersion::V1, voters), &[], usize::MAX, now_ms)
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct SnapshotContent {
    pub last_contained_log_timestamp: i64,
    pub kraft_version: KRaftVersion,
    pub voters: Option<VoterSet>,
    pub values: Vec<Bytes>,
}

/// Reads a snapshot or bootstrap.checkpoint; header and footer must be there.
pub fn decode(bytes: &Bytes) -> Result<SnapshotContent, BatchError> {
    let mut content = SnapshotContent::default();
    let (mut header, mut footer) = (false, false);
    for batch in batch::decode_all(bytes)? {
        if footer {
            return Err(BatchError::Unexpected(batch.base_offset, "records after the snapshot footer"));
        }
        let records = match batch.content {
            Content::Data(values) => {
                content.values.extend(values);
                continue;
            }
            Content::Control(records) => records,
        };
        for record in records {
            match record {
                ControlRecord::SnapshotHeader(record) => {
                    content.last_contained_log_timestamp = record.last_contained_log_timestamp;
                    header = true;
                }
                ControlRecord::SnapshotFooter(_) => footer = true,
                ControlRecord::KRaftVersion(record) => {
                    content.kraft_version = KRaftVersion::from_level(record.k_raft_version)
                        .ok_or(BatchError::Unexpected(batch.base_offset, "kraft.version of newer software"))?;
                }
                ControlRecord::KRaftVoters(record) => content.voters = Some(VoterSet::from_record(&record)),
                ControlRecord::LeaderChange(_) => return Err(BatchError::Unexpected(batch.base_offset, "leader change in a snapshot")),
            }
        }
    }
    if !header || !footer {
        return Err(BatchError::Record("snapshot without header or footer; it was not written to its end".to_owned()));
    }
    Ok(content)
}

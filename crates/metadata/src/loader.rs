//! Follows the metadata log and shows transactions only as a whole. Kafka: `MetadataBatchLoader`, `MetadataLoader`.

use crate::delta::Delta;
use crate::image::{Image, Provenance};
use crate::record::Record;
use crate::replay::ReplayError;

/// Holds the image that may be shown, and, inside a metadata transaction, the one that may not be shown yet.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    image: Image,
    transaction: Option<Transaction>,
}

#[derive(Clone, Debug)]
struct Transaction {
    start_offset: i64,
    image: Image,
    delta: Delta,
}

impl Loader {
    /// Starts from a snapshot, which never cuts through a transaction.
    pub fn new(image: Image) -> Self {
        Loader { image, transaction: None }
    }

    /// The newest image without anything of an open transaction.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Raft knows kraft.version; images show it among the other levels.
    pub fn set_kraft_version(&mut self, level: i16) {
        self.image.features.kraft_version = level;
        if let Some(transaction) = &mut self.transaction {
            transaction.image.features.kraft_version = level;
        }
    }

    /// Where the open transaction began. Snapshots must wait for its end.
    pub fn transaction_start_offset(&self) -> Option<i64> {
        self.transaction.as_ref().map(|t| t.start_offset)
    }

    /// Applies a batch of records, the first of which has `base_offset`; adds to `delta` what became visible.
    pub fn apply<'a>(
        &mut self,
        base_offset: i64,
        epoch: i32,
        timestamp_ms: i64,
        records: impl IntoIterator<Item = &'a Record>,
        delta: &mut Delta,
    ) -> Result<(), ReplayError> {
        for (record, offset) in records.into_iter().zip(base_offset..) {
            self.apply_record(record, offset, delta)?;
            let at = Provenance { offset, epoch, timestamp_ms };
            match &mut self.transaction {
                // What is visible stays where it was before the transaction.
                Some(transaction) => transaction.image.provenance = at,
                None => self.image.provenance = at,
            }
        }
        Ok(())
    }

    /// Control records of the log change no content, but they move the position.
    pub fn advance(&mut self, offset: i64, epoch: i32, timestamp_ms: i64) {
        let at = Provenance { offset, epoch, timestamp_ms };
        match &mut self.transaction {
            Some(transaction) => transaction.image.provenance = at,
            None => self.image.provenance = at,
        }
    }

    fn apply_record(&mut self, record: &Record, offset: i64, delta: &mut Delta) -> Result<(), ReplayError> {
        match (record, self.transaction.take()) {
            (Record::BeginTransaction(_), None) => {
                self.transaction = Some(Transaction { start_offset: offset, image: self.image.clone(), delta: Delta::default() });
            }
            (Record::BeginTransaction(_), Some(_)) => return Err(ReplayError::TransactionOpen(record.name())),
            (Record::EndTransaction(_), Some(transaction)) => {
                self.image = transaction.image;
                delta.extend(transaction.delta);
            }
            (Record::AbortTransaction(_), Some(_)) => {}
            (Record::EndTransaction(_) | Record::AbortTransaction(_), None) => return Err(ReplayError::NoTransaction(record.name())),
            (record, Some(mut transaction)) => {
                let result = transaction.image.replay(record, &mut transaction.delta);
                self.transaction = Some(transaction);
                result?;
            }
            (record, None) => self.image.replay(record, delta)?,
        }
        Ok(())
    }
}

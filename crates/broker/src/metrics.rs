//! Counters that handlers bump and `/metrics` reads. Names there are Kafka's; here they say what is counted. What requests cost in
//! time and bytes is counted by the network layer, which sees them from end to end.
//! Kafka: `BrokerTopicMetrics` of all topics, `ErrorsPerSec` of `RequestMetrics`.

use crate::Response;
use replica::{Count, PartitionError, Traffic};
use std::sync::OnceLock;
use wire::{ApiKey, ErrorCode};

/// Error codes run from -1 to the newest; those beyond count as the first, `UNKNOWN_SERVER_ERROR`.
const ERRORS: usize = 160;

/// The error codes that answers to requests of one API carried, `NONE` among them.
#[derive(Debug)]
pub struct ApiErrors(Box<[Count]>);

impl ApiErrors {
    fn new() -> Self {
        ApiErrors((0..ERRORS).map(|_| Count::default()).collect())
    }

    fn add(&self, code: i16, n: u64) {
        let count = usize::try_from(code.saturating_add(1)).ok().and_then(|at| self.0.get(at)).or(self.0.first());
        if let Some(count) = count {
            count.add(n);
        }
    }

    /// (error, how often) of those that occurred.
    pub fn counts(&self) -> impl Iterator<Item = (ErrorCode, u64)> {
        self.0.iter().zip(-1i16..).map(|(count, code)| (ErrorCode::from_code(code), count.get())).filter(|(_, n)| *n > 0)
    }
}

#[derive(Debug)]
pub struct Metrics {
    pub traffic: Traffic,
    /// Requests refused before they reached a handler.
    pub malformed: Count,
    errors: Vec<OnceLock<ApiErrors>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let top = ApiKey::ALL.last().map_or(0, |k| k.code() as usize);
        Metrics { traffic: Traffic::default(), malformed: Count::default(), errors: (0..=top).map(|_| OnceLock::new()).collect() }
    }
}

impl Metrics {
    pub(crate) fn count_errors(&self, response: &Response) {
        let Some(slot) = self.errors.get(response.key.code() as usize) else { return };
        let api = slot.get_or_init(ApiErrors::new);
        if response.errors.none > 0 {
            api.add(0, response.errors.none);
        }
        response.errors.others.iter().for_each(|(code, n)| api.add(*code, *n));
    }

    pub fn errors(&self, key: ApiKey) -> Option<&ApiErrors> {
        self.errors.get(key.code() as usize)?.get()
    }

    /// A partition of a Produce was refused. `topic` where it is known.
    pub(crate) fn produce_failed(&self, topic: Option<&Traffic>, error: &PartitionError, bytes: u64) {
        for traffic in [Some(&self.traffic), topic].into_iter().flatten() {
            match error.code {
                ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => traffic.bytes_rejected.add(bytes),
                ErrorCode::CorruptMessage => traffic.invalid_crc.add(1),
                ErrorCode::OutOfOrderSequenceNumber | ErrorCode::InvalidProducerEpoch => traffic.invalid_sequence.add(1),
                ErrorCode::InvalidRecord => traffic.no_key.add(without_key(error)),
                _ => {}
            }
            // As in Kafka, what a client does wrong, or what sends it to another leader, is no failure of the broker.
            let expected = matches!(
                error.code,
                ErrorCode::UnknownTopicOrPartition
                    | ErrorCode::NotLeaderOrFollower
                    | ErrorCode::MessageTooLarge
                    | ErrorCode::RecordListTooLarge
                    | ErrorCode::CorruptMessage
                    | ErrorCode::KafkaStorageError
            );
            traffic.failed_produce.add(u64::from(!expected));
        }
    }
}

fn without_key(error: &PartitionError) -> u64 {
    error.record_errors.iter().filter(|record| record.message.contains("without key")).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::ReplyTo;
    use wire::messages::ProduceResponse;
    use wire::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};

    #[test]
    fn errors_are_counted_by_partition() {
        let partition = |code: ErrorCode| PartitionProduceResponse { error_code: code.code(), ..Default::default() };
        let partitions = [ErrorCode::None, ErrorCode::NotLeaderOrFollower, ErrorCode::None, ErrorCode::NotLeaderOrFollower];
        let topic = TopicProduceResponse { partition_responses: partitions.map(partition).to_vec(), ..Default::default() };
        let body = ProduceResponse { responses: vec![topic], ..Default::default() };
        let reply = ReplyTo { key: ApiKey::Produce, version: 9, correlation_id: 1 };
        let metrics = Metrics::default();
        metrics.count_errors(&reply.encode(&body).unwrap());
        let counts: Vec<_> = metrics.errors(ApiKey::Produce).unwrap().counts().collect();
        assert_eq!(counts, [(ErrorCode::None, 2), (ErrorCode::NotLeaderOrFollower, 2)]);
        assert!(metrics.errors(ApiKey::Fetch).is_none());
    }

    #[test]
    fn every_error_code_has_its_place() {
        let errors = ApiErrors::new();
        ErrorCode::ALL.iter().for_each(|error| errors.add(error.code(), 1));
        assert!(ErrorCode::ALL.iter().all(|error| errors.counts().any(|(known, n)| known == *error && n == 1)));
        errors.add(i16::MAX, 1);
        errors.add(i16::MIN, 1);
        assert_eq!(errors.counts().next(), Some((ErrorCode::UnknownServerError, 3)));
    }
}

//! Requests and answers by themselves.

use super::records::batch;
use super::{Run, frame, size};
use base::{Histogram, Instant, Uuid};
use record::Compression;
use std::hint::black_box;
use std::time::Duration;
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use wire::messages::{FetchRequest, FetchResponse, ProduceRequest, ProduceResponse};
use wire::{ApiKey, Message, Reader, Records};

const PRODUCE: i16 = 13;
const FETCH: i16 = 18;
const TOPIC: Uuid = Uuid::from_u128(77 << 64);

pub fn decode_produce(runs: usize) -> Run {
    let records = Records::from(batch(1, 100, Compression::None));
    let data = PartitionProduceData { index: 0, records: Some(records), ..Default::default() };
    let topic = TopicProduceData { topic_id: TOPIC, partition_data: vec![data], ..Default::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
    decode::<ProduceRequest>(vec![frame(&request, PRODUCE); runs], PRODUCE, |request| request.topic_data[0].partition_data.len())
}

pub fn decode_fetch(runs: usize) -> Run {
    let partitions = (0..100).map(|partition| FetchPartition { partition, partition_max_bytes: 1 << 20, ..Default::default() });
    let topic = FetchTopic { topic_id: TOPIC, partitions: partitions.collect(), ..Default::default() };
    let request = FetchRequest { topics: vec![topic], ..Default::default() };
    decode::<FetchRequest>(vec![frame(&request, FETCH); runs], FETCH, |request| request.topics[0].partitions.len())
}

fn decode<M: Message + 'static>(frames: Vec<bytes::Bytes>, version: i16, size: fn(&M) -> usize) -> Run {
    let mut frames = frames.into_iter();
    Box::new(move || {
        let mut reader = Reader::new(frames.next().expect("a frame a run"));
        black_box(wire::decode_request_header(&mut reader).expect("the header decodes"));
        size(&M::decode(&mut reader, version).expect("the body decodes"))
    })
}

pub fn encode_produce(_: usize) -> Run {
    let partition = PartitionProduceResponse { index: 3, base_offset: 12_345, log_append_time_ms: -1, ..Default::default() };
    let topic = TopicProduceResponse { topic_id: TOPIC, partition_responses: vec![partition], ..Default::default() };
    let answer = ProduceResponse { responses: vec![topic], ..Default::default() };
    Box::new(move || size(&wire::encode_response(ApiKey::Produce, PRODUCE, 7, black_box(&answer)).expect("it encodes")))
}

pub fn encode_fetch(_: usize) -> Run {
    let records = Records::from(batch(64, 1024, Compression::None));
    let partition = PartitionData {
        partition_index: 3,
        high_watermark: 12_345,
        last_stable_offset: 12_345,
        records: Some(records),
        ..Default::default()
    };
    let topic = FetchableTopicResponse { topic_id: TOPIC, partitions: vec![partition], ..Default::default() };
    let answer = FetchResponse { session_id: 99, responses: vec![topic], ..Default::default() };
    Box::new(move || size(&wire::encode_response(ApiKey::Fetch, FETCH, 7, black_box(&answer)).expect("it encodes")))
}

pub fn metrics(_: usize) -> Run {
    let distributions: [Histogram; 5] = Default::default();
    let now = Instant::from_nanos(1_000_000_000);
    Box::new(move || {
        for (histogram, micros) in distributions.iter().zip([12, 0, 3, 15, 180]) {
            black_box(histogram).record_micros(Duration::from_micros(micros), now);
        }
        distributions.len()
    })
}

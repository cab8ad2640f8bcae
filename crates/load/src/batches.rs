//! Produces batches that are compressed beforehand, so that next to no CPU is the client's: some hundreds of different ones, sent again and again
//! to the partitions of a topic in turn, with a few requests unanswered. What is measured is how a broker takes them. One blocking socket.

use crate::Result;
use crate::figures::Figures;
use crate::payload::Payload;
use bytes::Bytes;
use record::{BatchBuilder, BatchFields, Codec, Compression};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{ProduceRequest, ProduceResponse, ResponseHeader};
use wire::{Message, Reader, Records, Request, Segment};

const PATIENCE: Duration = Duration::from_secs(60);
/// The version of Produce.
const PRODUCE: i16 = 9;
/// As many as a Java producer sends ahead.
const UNANSWERED: usize = 5;
/// Uncompressed bytes of all different batches together.
const DIFFERENT: usize = 16 << 20;

pub fn run(args: &[String]) -> Result<Figures> {
    let [bootstrap, topic, partitions, codec, payload, batch_bytes, megabytes] = args else {
        return Err("batches BOOTSTRAP TOPIC PARTITIONS CODEC PAYLOAD BATCH_BYTES MEGABYTES".into());
    };
    let compression = Compression::from_name(codec).ok_or("CODEC: none, gzip, snappy, lz4 or zstd")?;
    let frames = frames(topic, partitions.parse()?, compression, Payload::from_name(payload)?, batch_bytes.parse()?)?;
    let wanted: u64 = megabytes.parse::<u64>()? * 1_000_000;
    let mut stream = TcpStream::connect(bootstrap)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = Vec::new();
    let (mut sent, mut compressed, mut records, mut requests) = (0u64, 0u64, 0u64, 0usize);
    let start = Instant::now();
    while sent < wanted {
        let frame = &frames[requests % frames.len()];
        stream.write_all(&frame.bytes)?;
        sent += frame.uncompressed;
        compressed += frame.bytes.len() as u64;
        records += frame.records;
        requests += 1;
        if requests > UNANSWERED {
            receive(&mut stream, &mut answer)?;
        }
    }
    for _ in 0..requests.min(UNANSWERED) {
        receive(&mut stream, &mut answer)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut figures = Figures::default();
    figures.add("seconds", seconds);
    figures.add("gigabytes", sent as f64 / 1e9);
    figures.add("compressed_ratio", compressed as f64 / sent as f64);
    figures.add("records", records as f64);
    figures.add("requests", requests as f64);
    Ok(figures)
}

/// A Produce request of one batch.
struct Frame {
    bytes: Vec<u8>,
    uncompressed: u64,
    records: u64,
}

fn frames(topic: &str, partitions: i32, compression: Compression, payload: Payload, batch_bytes: usize) -> Result<Vec<Frame>> {
    let mut rng = fastrand::Rng::with_seed(7);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let mut frames = Vec::new();
    let mut total = 0;
    while total < DIFFERENT {
        let mut batch = BatchBuilder::new(BatchFields { codec: Codec::new(compression), ..BatchFields::default() });
        loop {
            let value = payload.record(&mut rng);
            let bound = BatchBuilder::size_upper_bound(None, Some(&value), &[]);
            if !batch.is_empty() && batch.uncompressed_size() + bound > batch_bytes {
                break;
            }
            batch.append(now_ms, None, Some(&value), &[]);
        }
        let (uncompressed, records) = (batch.uncompressed_size(), batch.len() as u64);
        let index = frames.len() as i32 % partitions.max(1);
        frames.push(Frame { bytes: request(topic, index, batch.build()?)?, uncompressed: uncompressed as u64, records });
        total += uncompressed;
    }
    Ok(frames)
}

fn request(topic: &str, index: i32, batch: Bytes) -> Result<Vec<u8>> {
    let records = Some(Records::from_segments(vec![Segment::Bytes(batch)]));
    let partition_data = vec![PartitionProduceData { index, records, ..Default::default() }];
    let topic_data = vec![TopicProduceData { name: topic.to_owned(), partition_data, ..Default::default() }];
    let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data, ..Default::default() };
    let mut bytes = Vec::new();
    for segment in wire::encode_request(&request, PRODUCE, 1, Some("load"))? {
        match segment {
            Segment::Bytes(part) => bytes.extend_from_slice(&part),
            Segment::File(_) => return Err("a request lies in memory".into()),
        }
    }
    Ok(bytes)
}

/// Reads one answer; an error of a partition ends the run.
fn receive(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    answer.resize(u32::from_be_bytes(length) as usize, 0);
    stream.read_exact(answer)?;
    let mut reader = Reader::new(Bytes::copy_from_slice(answer));
    ResponseHeader::decode(&mut reader, ProduceRequest::KEY.response_header_version(PRODUCE))?;
    let response = ProduceResponse::decode(&mut reader, PRODUCE)?;
    for partition in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
        if partition.error_code != 0 {
            return Err(format!("a batch was refused with {}: {:?}", partition.error_code, partition.error_message).into());
        }
    }
    Ok(())
}

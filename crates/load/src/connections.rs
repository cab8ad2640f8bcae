//! Very many connections that are idle: each asks for API versions and metadata, produces or fetches once, and then only stays open, until
//! standard input ends. What they cost the broker is measured from outside meanwhile. Blocking sockets, one after the other: there is no load
//! to speak of.

use crate::Result;
use crate::figures::Figures;
use bytes::Bytes;
use record::{BatchBuilder, BatchFields};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{ApiVersionsRequest, FetchRequest, MetadataRequest, ProduceRequest, ProduceResponse, ResponseHeader};
use wire::{ErrorCode, Message, Reader, Records, Request, Segment};

const PATIENCE: Duration = Duration::from_secs(60);
/// Before another try where a leader is not known yet.
const LEADERLESS: Duration = Duration::from_millis(10);
/// The version of Produce.
const PRODUCE: i16 = 9;

pub fn run(args: &[String]) -> Result<Figures> {
    let [bootstrap, topic, count] = args else {
        return Err("connections BOOTSTRAP TOPIC CONNECTIONS".into());
    };
    let start = Instant::now();
    let mut visitor = Visitor::new(bootstrap, topic)?;
    let count: usize = count.parse()?;
    let mut open = (0..count).map(|_| visitor.visit()).collect::<Result<Vec<_>>>()?;
    println!("open={} seconds={}", open.len(), start.elapsed().as_secs_f64());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    // None of them was closed meanwhile, and each is served.
    for stream in &mut open {
        visitor.ask_again(stream)?;
    }
    let mut figures = Figures::default();
    figures.add("served", open.len() as f64);
    Ok(figures)
}

/// Opens connections that do what a client does at first: half of them produce a record, the others fetch.
pub struct Visitor {
    bootstrap: String,
    frames: Frames,
    visits: u64,
    answer: Vec<u8>,
}

impl Visitor {
    pub fn new(bootstrap: &str, topic: &str) -> Result<Self> {
        Ok(Visitor { bootstrap: bootstrap.to_owned(), frames: Frames::new(topic)?, visits: 0, answer: Vec::new() })
    }

    pub fn visit(&mut self) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.bootstrap)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        ask(&mut stream, &self.frames.versions, &mut self.answer)?;
        ask(&mut stream, &self.frames.metadata, &mut self.answer)?;
        if self.visits.is_multiple_of(2) {
            let patient_until = Instant::now() + PATIENCE;
            while !self.produced(&mut stream)? {
                if Instant::now() > patient_until {
                    return Err("the leader of the topic is not known".into());
                }
                std::thread::sleep(LEADERLESS);
            }
        } else {
            ask(&mut stream, &self.frames.fetch, &mut self.answer)?;
        }
        self.visits += 1;
        Ok(stream)
    }

    /// False: the topic is so new that its leader does not know of it.
    fn produced(&mut self, stream: &mut TcpStream) -> Result<bool> {
        ask(stream, &self.frames.produce, &mut self.answer)?;
        check_produced(&self.answer)
    }

    fn ask_again(&mut self, stream: &mut TcpStream) -> Result<()> {
        ask(stream, &self.frames.versions, &mut self.answer)
    }
}

/// The requests, the same for every connection.
struct Frames {
    versions: Vec<u8>,
    metadata: Vec<u8>,
    produce: Vec<u8>,
    fetch: Vec<u8>,
}

impl Frames {
    fn new(topic: &str) -> Result<Self> {
        let name = || topic.to_owned();
        let versions =
            ApiVersionsRequest { client_software_name: "load".into(), client_software_version: "1".into(), ..Default::default() };
        let asked = MetadataRequestTopic { name: Some(name()), ..Default::default() };
        let metadata = MetadataRequest { topics: Some(vec![asked]), ..Default::default() };
        let mut batch = BatchBuilder::new(BatchFields::default());
        batch.append(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64, None, Some(&[b'x'; 100]), &[]);
        let records = Some(Records::from_segments(vec![Segment::Bytes(batch.build()?)]));
        let partition_data = vec![PartitionProduceData { index: 0, records, ..Default::default() }];
        let topic_data = vec![TopicProduceData { name: name(), partition_data, ..Default::default() }];
        let produce = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data, ..Default::default() };
        let partitions = vec![FetchPartition { partition_max_bytes: 1024, ..Default::default() }];
        // The first of a session, as a consumer's is.
        let fetch = FetchRequest {
            max_bytes: 1024,
            topics: vec![FetchTopic { topic: name(), partitions, ..Default::default() }],
            ..Default::default()
        };
        Ok(Frames {
            versions: frame(&versions, 4)?,
            metadata: frame(&metadata, 12)?,
            produce: frame(&produce, PRODUCE)?,
            fetch: frame(&fetch, 12)?,
        })
    }
}

fn frame<R: Request>(request: &R, version: i16) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for segment in wire::encode_request(request, version, 1, Some("load"))? {
        match segment {
            Segment::Bytes(part) => bytes.extend_from_slice(&part),
            Segment::File(_) => return Err("a request lies in memory".into()),
        }
    }
    Ok(bytes)
}

fn ask(stream: &mut TcpStream, frame: &[u8], answer: &mut Vec<u8>) -> Result<()> {
    stream.write_all(frame)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    answer.resize(u32::from_be_bytes(length) as usize, 0);
    stream.read_exact(answer)?;
    Ok(())
}

/// A connection that was refused its record would be another kind of idle.
fn check_produced(answer: &[u8]) -> Result<bool> {
    let mut reader = Reader::new(Bytes::copy_from_slice(answer));
    ResponseHeader::decode(&mut reader, ProduceRequest::KEY.response_header_version(PRODUCE))?;
    let response = ProduceResponse::decode(&mut reader, PRODUCE)?;
    let errors = response.responses.iter().flat_map(|topic| &topic.partition_responses).map(|partition| partition.error_code);
    match errors.collect::<Vec<_>>()[..] {
        [0] => Ok(true),
        [error] if matches!(ErrorCode::from_code(error), ErrorCode::UnknownTopicOrPartition | ErrorCode::NotLeaderOrFollower) => Ok(false),
        ref errors => Err(format!("a record was not taken: {errors:?}").into()),
    }
}

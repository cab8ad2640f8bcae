//! What the brokers say they speak: ApiVersions in every version compared byte for byte, and what happens outside the advertised ranges.

use std::time::Duration;

use bytes::Bytes;
use e2e::raw::{Answer, RawConnection};
use e2e::repo::Scratch;
use e2e::{Kind, Node};
use wire::messages::{ApiVersionsRequest, ApiVersionsResponse, ResponseHeader};
use wire::{ApiKey, Message, Reader, Segment, Writer};

/// Sends one request on a connection of its own and gives the body of the answer.
pub(crate) fn ask(node: &Node, version: i16) -> Bytes {
    ask_port(node.port, version)
}

/// On whichever listener has this port: clients', or the controller's.
fn ask_port(port: u16, version: i16) -> Bytes {
    let request = ApiVersionsRequest { client_software_name: "e2e".into(), client_software_version: "1.0".into(), ..Default::default() };
    let segments = wire::encode_request(&request, version, 7, Some("e2e")).expect("a valid request");
    let mut connection = RawConnection::open(port).expect("connects");
    for segment in segments {
        let Segment::Bytes(bytes) = segment else { panic!("requests lie in memory") };
        connection.send(&bytes);
    }
    match connection.answer(Duration::from_secs(10)) {
        Answer::Frame(bytes) => bytes.into(),
        other => panic!("ApiVersions v{version}: {other:?}"),
    }
}

pub(crate) fn decode(answer: Bytes, version: i16) -> ApiVersionsResponse {
    let mut r = Reader::new(answer);
    assert_eq!(ResponseHeader::decode(&mut r, 0).expect("header").correlation_id, 7);
    ApiVersionsResponse::decode(&mut r, version).expect("ApiVersions answer")
}

fn encode(body: &ApiVersionsResponse, version: i16) -> Bytes {
    let mut w = Writer::new();
    ResponseHeader { correlation_id: 7, ..Default::default() }.encode(&mut w, 0).expect("header");
    body.encode(&mut w, version).expect("body");
    w.finish_bytes().expect("bytes")
}

pub(crate) fn nodes(scratch: &Scratch) -> (Node, Node) {
    let start = |kind: Kind| Node::start(kind, &scratch.join(&format!("{kind:?}")), &[]);
    (start(Kind::Apache), start(Kind::Gregor))
}

#[test]
fn api_versions() {
    let scratch = Scratch::new("versions");
    let (apache, mut gregor) = nodes(&scratch);
    // The controllers' listeners have the next port.
    for (version, listener) in (0..=4).flat_map(|version| [(version, 0), (version, 1)]) {
        let answer = ask_port(gregor.port + listener, version);
        let mut ours = decode(answer.clone(), version);
        assert_eq!(answer, encode(&ours, version), "ApiVersions v{version} as bytes");
        let mut theirs = decode(ask_port(apache.port + listener, version), version);
        // Apache lists features in the order of a hash map.
        for answer in [&mut ours, &mut theirs] {
            answer.supported_features.sort_by(|a, b| a.name.cmp(&b.name));
            answer.finalized_features.sort_by(|a, b| a.name.cmp(&b.name));
        }
        // What Gregor implements, it advertises as Apache does and in Apache's order; what it does not implement, it does not advertise.
        let implemented: Vec<i16> = ours.api_keys.iter().map(|k| k.api_key).collect();
        theirs.api_keys.retain(|k| implemented.contains(&k.api_key));
        // The epoch counts metadata records, of which each broker writes its own number.
        assert_eq!(theirs.finalized_features_epoch < 0, ours.finalized_features_epoch < 0);
        theirs.finalized_features_epoch = ours.finalized_features_epoch;
        assert_eq!(ours, theirs, "ApiVersions v{version} on listener {listener}");
    }
    for version in [5, 99, i16::MAX, -1] {
        // Answered in version 0, with error 35, so that a newer client learns what to ask.
        let frame = |node: &Node| {
            let mut connection = RawConnection::open(node.port).expect("connects");
            let [a, b] = version.to_be_bytes();
            connection.send_frame(&[0, 18, a, b, 0, 0, 0, 7, 0, 1, b'c', 0]);
            connection.answer(Duration::from_secs(5))
        };
        assert_eq!(frame(&gregor), frame(&apache), "ApiVersions v{version}");
    }
    gregor.assert_serves();
    gregor.stop();
}

/// Versions just outside each advertised range, and keys that are not served to clients: both brokers treat the connection alike.
#[test]
fn outside_the_ranges() {
    let scratch = Scratch::new("ranges");
    let (apache, mut gregor) = nodes(&scratch);
    let advertised = decode(ask(&gregor, 4), 4).api_keys;
    let mut cases = Vec::new();
    for api in &advertised {
        if api.api_key != ApiKey::ApiVersions.code() {
            cases.extend([(api.api_key, api.max_version + 1), (api.api_key, api.min_version - 1)]);
        }
    }
    cases.extend([(4, 0), (5, 0), (6, 0), (7, 0), (52, 0), (62, 0), (63, 0), (58, 0), (70, 0), (93, 0), (999, 0), (-1, 0), (i16::MAX, 0)]);
    let outcome = |node: &Node, (key, version): (i16, i16)| {
        let mut frame = key.to_be_bytes().to_vec();
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 7, 0, 1, b'c', 0]);
        let mut connection = RawConnection::open(node.port).expect("connects");
        connection.send_frame(&frame);
        connection.answer(Duration::from_secs(2))
    };
    let mut different = Vec::new();
    for case in cases {
        let (theirs, ours) = (outcome(&apache, case), outcome(&gregor, case));
        if theirs != ours {
            different.push(format!("key {} version {}: apache {theirs:?}, gregor {ours:?}", case.0, case.1));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    gregor.expect_log("closed a connection");
    gregor.assert_serves();
    gregor.stop();
}

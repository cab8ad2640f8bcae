use crate::codec::MessageInfo;
use crate::messages::{
    self, ApiVersionsRequest, ConsumerGroupMemberMetadataValue, FetchRequest, MetadataRequest, PartitionChangeRecord, TopicRecord,
};
use crate::*;
use bytes::Bytes;

fn all() -> impl Iterator<Item = (&'static MessageInfo, i16)> {
    messages::REGISTRY.iter().flat_map(|m| (m.min_version..=m.max_version).map(move |v| (m, v)))
}

#[test]
fn every_live_schema_is_here() {
    // 281 schemas, of which the four retired APIs (eight messages) have no version.
    assert_eq!(messages::REGISTRY.len(), 273);
    assert_eq!(ApiKey::ALL.len(), 89);
    assert!(ApiKey::ALL.is_sorted());
    assert_eq!(ErrorCode::ALL.len(), 135);
}

#[test]
fn defaults_round_trip_at_every_version() {
    for (info, version) in all() {
        // Some fields may not be null at old versions although null is their default: those refuse, and say so.
        match (info.encode_default)(version) {
            Ok(bytes) => assert_eq!((info.recode)(bytes.clone(), version), Ok(Ok(bytes)), "{} v{version}", info.name),
            Err(error) => assert!(matches!(error, EncodeError::Null { .. }), "{} v{version}: {error}", info.name),
        }
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let mut rng = fastrand::Rng::with_seed(7);
    for (info, version) in all() {
        let Ok(bytes) = (info.encode_default)(version) else { continue };
        for _ in 0..20 {
            let mut damaged = bytes.to_vec();
            for _ in 0..rng.usize(1..4) {
                match rng.u8(..3) {
                    0 if !damaged.is_empty() => damaged.truncate(rng.usize(..damaged.len())),
                    1 if !damaged.is_empty() => {
                        let at = rng.usize(..damaged.len());
                        damaged[at] = rng.u8(..);
                    }
                    _ => damaged.extend([rng.u8(..), rng.u8(..)]),
                }
            }
            let _ = (info.recode)(damaged.into(), version);
        }
    }
}

#[test]
fn announced_counts_are_bounded_by_what_is_there() {
    let huge = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x07]);
    assert!(matches!(from_bytes::<MetadataRequest>(huge, 12), Err(DecodeError::ArrayTooLong { .. })));
    let huge = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0]);
    assert!(matches!(from_bytes::<MetadataRequest>(huge, 1), Err(DecodeError::ArrayTooLong { .. })));
}

#[test]
fn fields_are_refused_where_their_version_lacks_them() {
    let request = FetchRequest { rack_id: "a".into(), ..Default::default() };
    // The rack may be dropped silently, the replica state may not.
    assert!(to_bytes(&request, 4).is_ok());
    let state = messages::fetch_request::ReplicaState { replica_id: 3, ..Default::default() };
    let request = FetchRequest { replica_state: state, ..Default::default() };
    assert_eq!(to_bytes(&request, 14), Err(EncodeError::Unsupported { field: "ReplicaState", version: 14 }));
    assert!(matches!(to_bytes(&request, 99), Err(EncodeError::Version { .. })));
}

#[test]
fn unknown_tags_are_kept() {
    let mut bytes = to_bytes(&ApiVersionsRequest::default(), 3).unwrap().to_vec();
    bytes.pop();
    bytes.extend([1, 42, 2, 7, 8]);
    let bytes = Bytes::from(bytes);
    let request: ApiVersionsRequest = from_bytes(bytes.clone(), 3).unwrap();
    assert_eq!(to_bytes(&request, 3).unwrap(), bytes);
}

#[test]
fn records_print_as_kafka_prints_them() {
    let record = TopicRecord { name: "a\"b".into(), topic_id: base::Uuid::METADATA_TOPIC, ..Default::default() };
    assert_eq!(record.to_json(0), r#"{"name":"a\"b","topicId":"AAAAAAAAAAAAAAAAAAAAAQ"}"#);
    let change = PartitionChangeRecord { partition_id: 2, leader: 1, isr: Some(vec![1, 2]), ..Default::default() };
    assert_eq!(change.to_json(2), r#"{"partitionId":2,"topicId":"AAAAAAAAAAAAAAAAAAAAAA","isr":[1,2],"leader":1}"#);
}

#[test]
fn a_request_frame_round_trips_through_its_header() {
    let segments = encode_request(&MetadataRequest::default(), 12, 5, Some("me")).unwrap();
    let [Segment::Bytes(frame)] = segments.as_slice() else { panic!("one run of bytes") };
    let mut r = Reader::new(frame.slice(4..));
    let head = decode_request_header(&mut r).unwrap();
    assert_eq!(head, RequestHead { api_key: 3, api_version: 12, correlation_id: 5, client_id: Some("me".into()) });
    assert_eq!(MetadataRequest::decode(&mut r, 12).unwrap(), MetadataRequest::default());
    assert_eq!(r.remaining(), 0);
}

#[test]
fn a_tagged_struct_that_may_be_null() {
    // As Kafka 4.3.1 wrote it: a member of a consumer group, whose classic metadata is null.
    let bytes = b"\0\0\x11console-consumer\x0b/127.0.0.1\x02\x03t1\x01\0\x04\x93\xe0\0\x01\0\x01\0";
    let member: ConsumerGroupMemberMetadataValue = from_bytes(Bytes::from_static(bytes), 0).unwrap();
    assert_eq!((member.client_id.as_str(), &member.classic_member_metadata), ("console-consumer", &None));
    assert_eq!(&to_bytes(&member, 0).unwrap()[..], bytes);
    let classic = messages::consumer_group_member_metadata_value::ClassicMemberMetadata { session_timeout_ms: 9, ..Default::default() };
    for classic in [classic, Default::default()] {
        let member = ConsumerGroupMemberMetadataValue { classic_member_metadata: Some(classic), ..member.clone() };
        assert_eq!(from_bytes::<ConsumerGroupMemberMetadataValue>(to_bytes(&member, 0).unwrap(), 0).unwrap(), member);
    }
}

#[test]
fn the_error_codes_of_a_response_are_found_however_deep_they_lie() {
    use crate::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    let codes = |message: &dyn Fn(&mut dyn FnMut(i16))| {
        let mut all = Vec::new();
        message(&mut |code| all.push(code));
        all
    };
    let partitions = vec![PartitionData { error_code: 1, ..Default::default() }, PartitionData { error_code: 0, ..Default::default() }];
    let topic = FetchableTopicResponse { partitions, ..Default::default() };
    let response = messages::FetchResponse { error_code: 70, responses: vec![topic], ..Default::default() };
    assert_eq!(codes(&|each| response.error_codes(each)), [70, 1, 0]);
    let nothing = MetadataRequest::default();
    assert_eq!(codes(&|each| nothing.error_codes(each)), [0i16; 0]);
}

//! The config requests through the dispatcher, with a controller that only takes notes.

use crate::{Broker, BrokerParts, Handled, Loggers, Session};
use base::disk::RealDisk;
use base::{Now, Uuid};
use bytes::Bytes;
use config::{Layers, Props};
use controller::{ControllerClient, ControllerRequest, MetadataUpdate, RequestContext, ResponseSlot};
use metadata::{Delta, Image, Record};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;
use wire::messages::describe_configs_request::DescribeConfigsResource;
use wire::messages::describe_configs_response::DescribeConfigsResult;
use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use wire::messages::*;
use wire::{Message, Reader, Request};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const GROUP: i8 = 32;

#[derive(Default)]
struct Controller {
    asked: Mutex<Vec<(ControllerRequest, ResponseSlot)>>,
}

impl ControllerClient for Controller {
    fn submit(&self, _: RequestContext, request: ControllerRequest, done: ResponseSlot) {
        self.asked.lock().push((request, done));
    }
}

#[derive(Default)]
struct Levels(Mutex<BTreeMap<String, String>>);

impl Loggers for Levels {
    fn levels(&self) -> BTreeMap<String, String> {
        self.0.lock().clone()
    }

    fn set(&self, logger: &str, level: Option<&str>) {
        self.0.lock().insert(logger.to_owned(), level.unwrap_or("INFO").to_owned());
    }
}

fn props(pairs: &[(&str, &str)]) -> Props {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn node() -> (Broker, Arc<Controller>) {
    let layers = Layers::new(props(&[
        ("node.id", "1"),
        ("process.roles", "broker,controller"),
        ("listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        ("controller.quorum.voters", "1@localhost:9093"),
    ]));
    let config = Arc::new(layers.config().unwrap());
    let controller = Arc::new(Controller::default());
    let broker = Broker::new(BrokerParts {
        id: 1,
        cluster_id: "cluster".to_owned(),
        replicas: Arc::new(replica::PartitionSet::new(Arc::new(RealDisk), 1, Vec::new(), config.clone())),
        config,
        static_props: layers.fixed,
        controller: controller.clone(),
        image: Arc::default(),
        metrics: Arc::default(),
        seed: 1,
    });
    (broker, controller)
}

/// Moves the broker to an image with these records more.
fn apply(broker: &Broker, records: &[Record]) {
    let old = broker.image();
    let mut image = Image::clone(&old);
    let mut delta = Delta::default();
    for record in records {
        image.replay(record, &mut delta).unwrap();
    }
    broker.apply(&MetadataUpdate { old, image: Arc::new(image), delta }, Now::default());
}

fn topic(name: &str) -> Record {
    Record::Topic(TopicRecord { name: name.to_owned(), topic_id: Uuid::from_u128(7), ..Default::default() })
}

fn stored(resource_type: i8, resource: &str, name: &str, value: Option<&str>) -> Record {
    Record::Config(ConfigRecord {
        resource_type,
        resource_name: resource.to_owned(),
        name: name.to_owned(),
        value: value.map(str::to_owned),
        ..Default::default()
    })
}

fn send<R: Request>(broker: &Broker, request: &R) -> Handled {
    let frame: Vec<u8> =
        wire::encode_request(request, R::MAX_VERSION, 5, None).unwrap().into_iter().flat_map(|s| bytes_of(s).to_vec()).collect();
    let mut session = Session::new("127.0.0.1:1234".parse().unwrap(), "PLAINTEXT".into());
    broker.handle(Now::default(), &mut session, Bytes::from(frame).slice(4..), Waker::noop())
}

fn bytes_of(segment: wire::Segment) -> Bytes {
    match segment {
        wire::Segment::Bytes(bytes) => bytes,
        wire::Segment::File(_) => panic!("a file in a small answer"),
    }
}

fn decode<R: Request>(response: crate::Response) -> R::Response {
    let frame: Vec<u8> = response.into_iter().flat_map(|s| bytes_of(s).to_vec()).collect();
    let mut reader = Reader::new(Bytes::from(frame).slice(4..));
    ResponseHeader::decode(&mut reader, R::KEY.response_header_version(R::MAX_VERSION)).unwrap();
    R::Response::decode(&mut reader, R::MAX_VERSION).unwrap()
}

fn answer<R: Request>(broker: &Broker, request: &R) -> R::Response {
    match send(broker, request) {
        Handled::Response(response) => decode::<R>(response),
        _ => panic!("no answer at once"),
    }
}

fn describe(broker: &Broker, resource_type: i8, name: &str, keys: &[&str]) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: (!keys.is_empty()).then(|| keys.iter().map(|key| key.to_string()).collect()),
        ..Default::default()
    };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, include_documentation: true, ..Default::default() };
    answer(broker, &request).results.remove(0)
}

fn resource(resource_type: i8, name: &str, configs: &[(&str, i8, Option<&str>)]) -> AlterConfigsResource {
    let config = |(name, op, value): &(&str, i8, Option<&str>)| AlterableConfig {
        name: name.to_string(),
        config_operation: *op,
        value: value.map(str::to_owned),
        ..Default::default()
    };
    AlterConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configs: configs.iter().map(config).collect(),
        ..Default::default()
    }
}

fn alter(broker: &Broker, resources: Vec<AlterConfigsResource>) -> Vec<(i16, String)> {
    let response = answer(broker, &IncrementalAlterConfigsRequest { resources, ..Default::default() });
    response.responses.into_iter().map(|r| (r.error_code, r.error_message.unwrap_or_default())).collect()
}

#[test]
fn a_topic_is_described_with_all_that_has_a_say() {
    let (broker, _) = node();
    apply(&broker, &[topic("t"), stored(TOPIC, "t", "retention.ms", Some("5")), stored(BROKER, "", "log.retention.ms", Some("9"))]);
    let result = describe(&broker, TOPIC, "t", &["retention.ms"]);
    assert_eq!((result.error_code, result.configs.len()), (0, 1));
    let entry = &result.configs[0];
    assert_eq!((entry.value.as_deref(), entry.config_source, entry.config_type), (Some("5"), 1, 5));
    let synonyms: Vec<_> = entry.synonyms.iter().map(|s| (s.name.as_str(), s.value.as_deref().unwrap(), s.source)).collect();
    assert_eq!(synonyms, [("retention.ms", "5", 1), ("log.retention.ms", "9", 3), ("log.retention.hours", "168", 5)]);
    assert!(entry.documentation.as_deref().is_some_and(|doc| !doc.is_empty()));
    assert_eq!(describe(&broker, TOPIC, "t", &[]).configs.len(), 33);
}

#[test]
fn each_resource_fails_for_itself() {
    let (broker, _) = node();
    let say = |type_, name: &str| {
        let result = describe(&broker, type_, name, &[]);
        (result.error_code, result.error_message.unwrap_or_default())
    };
    assert_eq!(say(TOPIC, "missing"), (3, String::new()));
    let text = "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'";
    assert_eq!(say(TOPIC, "a b"), (17, text.to_owned()));
    assert_eq!(say(BROKER, "2"), (42, "Unexpected broker id, expected 1 or empty string, but received 2".to_owned()));
    assert_eq!(say(BROKER, "x"), (42, "Broker id must be an integer, but it is: x".to_owned()));
    assert_eq!(say(LOGGER, ""), (42, "Broker id must not be empty".to_owned()));
    assert_eq!(say(GROUP, ""), (42, "Group name must not be empty".to_owned()));
    assert_eq!(say(77, "x").0, 42);
}

#[test]
fn dynamic_broker_configs_take_effect_and_leave_again() {
    let (broker, _) = node();
    apply(&broker, &[stored(BROKER, "", "message.max.bytes", Some("2000")), stored(BROKER, "1", "log.segment.bytes", Some("1048576"))]);
    let defaults = broker.config().topic_defaults.clone();
    assert_eq!((defaults.max_message_bytes, defaults.segment_bytes), (2000, 1_048_576));
    apply(&broker, &[stored(BROKER, "", "message.max.bytes", Some("x")), stored(BROKER, "2", "log.segment.bytes", Some("2097152"))]);
    assert_eq!(broker.config().topic_defaults.max_message_bytes, 1_048_588, "what is stored but not valid does not count");
    apply(&broker, &[stored(BROKER, "", "message.max.bytes", None), stored(BROKER, "1", "log.segment.bytes", None)]);
    assert_eq!(broker.config(), *broker.static_config());
}

#[test]
fn the_broker_refuses_what_only_it_can_judge() {
    let (broker, controller) = node();
    let one = |resource| alter(&broker, vec![resource]).remove(0);
    let fixed = "Cannot update these configs dynamically: [node.id]";
    assert_eq!(one(resource(BROKER, "1", &[("node.id", 0, Some("2"))])), (42, fixed.to_owned()));
    let other = "Unexpected broker id, expected 1, but received 2";
    assert_eq!(one(resource(BROKER, "2", &[("log.retention.ms", 0, Some("2"))])), (42, other.to_owned()));
    let twice = [("a", 0, Some("1")), ("a", 0, Some("1"))];
    assert_eq!(one(resource(TOPIC, "t", &twice)), (42, "Error due to duplicate config keys".to_owned()));
    assert_eq!(one(resource(TOPIC, "t", &[("a", 0, None)])), (42, "Null value not supported for : a".to_owned()));
    assert_eq!(one(resource(99, "t", &[])), (42, "Unknown resource type 99".to_owned()));
    let once = "Each resource must appear at most once.".to_owned();
    let double = alter(&broker, vec![resource(TOPIC, "t", &[]), resource(TOPIC, "t", &[])]);
    assert_eq!(double, [(42, once.clone()), (42, once)]);
    assert!(controller.asked.lock().is_empty());
}

#[test]
fn the_rest_goes_to_the_controller_and_answers_keep_the_order() {
    let (broker, controller) = node();
    let resources = vec![
        resource(TOPIC, "a", &[("retention.ms", 0, Some("1"))]),
        resource(BROKER, "1", &[("node.id", 0, Some("2"))]),
        resource(TOPIC, "b", &[("retention.ms", 1, None)]),
    ];
    let Handled::Parked(mut parked) = send(&broker, &IncrementalAlterConfigsRequest { resources, ..Default::default() }) else {
        panic!("not parked")
    };
    let (request, slot) = controller.asked.lock().remove(0);
    let ControllerRequest::IncrementalAlterConfigs(request) = request else { panic!("another request") };
    assert_eq!(request.resources.iter().map(|r| r.resource_name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let ok = |name: &str| AlterConfigsResourceResponse {
        resource_type: TOPIC,
        resource_name: name.to_owned(),
        error_message: None,
        ..Default::default()
    };
    slot.fill(IncrementalAlterConfigsResponse { responses: vec![ok("b"), ok("a")], ..Default::default() }.into());
    let response = decode::<IncrementalAlterConfigsRequest>(parked.poll(&broker, Now::default(), Waker::noop()).unwrap());
    let got: Vec<_> = response.responses.iter().map(|r| (r.resource_name.as_str(), r.error_code, r.error_message.is_none())).collect();
    assert_eq!(got, [("a", 0, true), ("1", 42, false), ("b", 0, true)]);
}

#[test]
fn log_levels_are_seen_and_altered() {
    let (broker, _) = node();
    let root = || resource(LOGGER, "1", &[("root", 0, Some("DEBUG"))]);
    assert_eq!(alter(&broker, vec![root()]), [(40, "Logger root does not exist!".to_owned())]);
    let levels = Levels::default();
    levels.set("root", None);
    broker.set_loggers(Arc::new(levels));
    assert_eq!(alter(&broker, vec![root()]), [(0, String::new())]);
    let result = describe(&broker, LOGGER, "1", &[]);
    let entry = &result.configs[0];
    assert_eq!((entry.name.as_str(), entry.value.as_deref(), entry.config_source), ("root", Some("DEBUG"), 6));
    assert_eq!(alter(&broker, vec![resource(LOGGER, "2", &[])]), [(42, "Unexpected node id. Expected 1, but received 2".to_owned())]);
}

#[test]
fn resources_are_listed_by_type() {
    let (broker, _) = node();
    apply(&broker, &[topic("t"), stored(GROUP, "g", "consumer.session.timeout.ms", Some("50000"))]);
    let list = |types: &[i8]| {
        let response = answer(&broker, &ListConfigResourcesRequest { resource_types: types.to_vec(), ..Default::default() });
        let names = response.config_resources.into_iter().map(|r| (r.resource_type, r.resource_name)).collect::<Vec<_>>();
        (response.error_code, names)
    };
    assert_eq!(list(&[]), (0, vec![(GROUP, "g".to_owned()), (TOPIC, "t".to_owned())]));
    assert_eq!(list(&[TOPIC]), (0, vec![(TOPIC, "t".to_owned())]));
    assert_eq!(list(&[3]), (35, vec![]));
}

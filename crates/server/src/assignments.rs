//! Tells the controller in which log directory each replica really is, where it does not know (the broker chose) or knows otherwise (a replica
//! has moved). Stepped by housekeeping; with a single directory there is nothing to tell. Kafka: `AssignmentsManager`; KIP-858.

use base::{Slot, Uuid};
use broker::Broker;
use controller::{ControllerResponse, RequestContext, ResponseSlot};
use std::collections::BTreeMap;
use std::task::Waker;
use wire::messages::AssignReplicasToDirsRequest;
use wire::messages::assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};

/// As many as Kafka puts into one request.
const ASSIGNMENTS_MAX: usize = 2250;

#[derive(Default)]
pub struct Assignments {
    in_flight: Option<ResponseSlot>,
}

/// Directory, topic, partitions.
type Wrong = BTreeMap<Uuid, BTreeMap<Uuid, Vec<i32>>>;

impl Assignments {
    pub fn step(&mut self, broker: &Broker) {
        if broker.replicas().dirs().len() < 2 || broker.broker_epoch() < 0 {
            return;
        }
        if let Some(slot) = &self.in_flight {
            match slot.poll(Waker::noop()) {
                None => return,
                Some(ControllerResponse::Failed(error)) => {
                    tracing::info!(code = error.code.name(), "the controller did not take directories of replicas; trying again");
                }
                Some(_) => {}
            }
            self.in_flight = None;
        }
        let wrong = wrong(broker);
        if wrong.is_empty() {
            return;
        }
        let slot = Slot::new();
        broker.controller().submit(RequestContext::default(), request(broker, wrong).into(), slot.clone());
        self.in_flight = Some(slot);
    }
}

fn wrong(broker: &Broker) -> Wrong {
    let (image, replicas) = (broker.image(), broker.replicas());
    let mut wrong = Wrong::new();
    let mut count = 0;
    for partition in replicas.snapshot().iter() {
        let index = partition.topic_partition.partition;
        let Some(registration) = image.topics.partition_by_id(partition.topic_id, index) else { continue };
        let Some(at) = registration.replicas.iter().position(|id| *id == broker.id()) else { continue };
        // One that has failed is told too: the controller then knows that nobody can lead there.
        let Some(dir) = replicas.directory_of(partition) else { continue };
        if registration.directories.get(at) != Some(&dir) {
            wrong.entry(dir).or_default().entry(partition.topic_id).or_default().push(index);
            count += 1;
        }
        if count == ASSIGNMENTS_MAX {
            break;
        }
    }
    wrong
}

fn request(broker: &Broker, wrong: Wrong) -> AssignReplicasToDirsRequest {
    let partition = |partition_index| PartitionData { partition_index, ..Default::default() };
    let topic = |(topic_id, partitions): (Uuid, Vec<i32>)| TopicData {
        topic_id,
        partitions: partitions.into_iter().map(partition).collect(),
        ..Default::default()
    };
    let directories =
        wrong.into_iter().map(|(id, topics)| DirectoryData { id, topics: topics.into_iter().map(topic).collect(), ..Default::default() });
    AssignReplicasToDirsRequest {
        broker_id: broker.id(),
        broker_epoch: broker.broker_epoch(),
        directories: directories.collect(),
        ..Default::default()
    }
}

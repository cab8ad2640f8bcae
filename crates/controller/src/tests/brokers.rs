//! Registration, restarts, fencing, ISR and directories.

use super::topics::{create, topic};
use super::*;
use metadata::image::partition::{LeaderRecoveryState, NO_LEADER};
use wire::ErrorCode;
use wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};

fn failure(response: ControllerResponse) -> ErrorCode {
    match response {
        ControllerResponse::Failed(error) => error.code,
        other => panic!("{other:?}"),
    }
}

fn partition(sim: &Sim, topic: &str) -> metadata::Partition {
    (**sim.image().topics.partition(topic, 0).unwrap()).clone()
}

#[test]
fn clean_restart_keeps_replicas_eligible() {
    let mut sim = Sim::new();
    let epoch = sim.join(1, 77, -1);
    create(&mut sim, vec![topic("t", 1, 1)]);
    sim.leave(1, epoch);
    let stopped = partition(&sim, "t");
    assert_eq!((stopped.leader, &stopped.isr[..], &stopped.elr[..], &stopped.last_known_elr[..]), (NO_LEADER, &[][..], &[1][..], &[1][..]));
    let broker = sim.image().cluster.broker(1).unwrap().clone();
    assert!(broker.fenced && broker.in_controlled_shutdown);
    sim.restart(true);
    let next = sim.join(1, 78, epoch);
    assert!(next > epoch);
    let back = partition(&sim, "t");
    assert_eq!((back.leader, &back.isr[..], &back.elr[..], &back.last_known_elr[..]), (1, &[1][..], &[][..], &[][..]));
    assert_eq!((back.leader_epoch, back.leader_recovery_state), (2, LeaderRecoveryState::Recovered));
    sim.check();
}

#[test]
fn killed_and_restarted_at_once_the_last_leader_continues() {
    let mut sim = Sim::new();
    let epoch = sim.join(1, 77, -1);
    create(&mut sim, vec![topic("t", 1, 1)]);
    sim.restart(false);
    // No waiting for the session of a process that is known to be dead.
    let next = sim.join(1, 78, -1);
    assert!(next > epoch);
    let back = partition(&sim, "t");
    assert_eq!((back.leader, &back.isr[..], &back.last_known_elr[..]), (1, &[1][..], &[][..]));
    assert_eq!(back.leader_recovery_state, LeaderRecoveryState::Recovering, "records may be missing");
    sim.check();
}

#[test]
fn a_remote_broker_must_wait_for_its_old_session() {
    let mut sim = Sim::new();
    sim.join(1, 77, -1);
    sim.join(2, 77, -1);
    let again = sim.registration(2, 78, -1);
    assert_eq!(failure(sim.ask(again.clone())), ErrorCode::DuplicateBrokerRegistration);
    sim.advance(Duration::from_millis(9001));
    assert!(sim.image().cluster.broker(2).unwrap().fenced, "its session has ended");
    assert!(!sim.image().cluster.broker(1).unwrap().fenced, "the one in this process needs no heartbeats to be alive");
    assert!(matches!(sim.ask(again), ControllerResponse::BrokerRegistration(_)));
}

#[test]
fn failover_between_brokers() {
    let mut sim = Sim::new();
    let epochs: Vec<i64> = (1..=3).map(|id| sim.join(id, 77, -1)).collect();
    create(&mut sim, vec![topic("t", 1, 3)]);
    let before = partition(&sim, "t");
    let leader = before.leader;
    sim.leave(leader, epochs[leader as usize - 1]);
    let after = partition(&sim, "t");
    assert_ne!(after.leader, leader);
    assert_eq!(after.isr.len(), 2);
    assert!(after.elr.is_empty(), "min.insync.replicas is 1");
    assert_eq!((after.leader_epoch, after.partition_epoch), (1, 1));
    // The others stop, the last of them uncleanly.
    for id in after.replicas.iter().filter(|id| **id != leader && **id != after.leader) {
        sim.leave(*id, epochs[*id as usize - 1]);
    }
    let alone = partition(&sim, "t");
    assert_eq!(alone.isr, [after.leader]);
    assert_eq!(alone.leader_epoch, 1, "an ISR shrink moves no leader epoch");
    sim.check();
}

#[test]
fn registration_is_checked() {
    let mut sim = Sim::new();
    let good = sim.registration(1, 77, -1);
    let mut refused = |change: &dyn Fn(&mut BrokerRegistrationRequest)| {
        let mut request = good.clone();
        change(&mut request);
        failure(sim.ask(request))
    };
    assert_eq!(refused(&|r| r.cluster_id = "other".into()), ErrorCode::InconsistentClusterId);
    assert_eq!(refused(&|r| r.log_dirs.clear()), ErrorCode::InvalidRegistration);
    assert_eq!(refused(&|r| r.log_dirs.push(Uuid::from_u128(5))), ErrorCode::InvalidRegistration);
    assert_eq!(refused(&|r| r.log_dirs.push(r.log_dirs[0])), ErrorCode::InvalidRegistration);
    assert_eq!(refused(&|r| r.features.retain(|f| f.name != "share.version")), ErrorCode::UnsupportedVersion);
    assert_eq!(refused(&|r| r.features.retain(|f| f.name != "metadata.version")), ErrorCode::InvalidRegistration);
    assert_eq!(refused(&|r| r.features[3].max_supported_version = 29), ErrorCode::UnsupportedVersion);
    sim.join(1, 77, -1);
    let mut thief = sim.registration(2, 77, -1);
    thief.log_dirs = vec![directory(1)];
    assert_eq!(failure(sim.ask(thief)), ErrorCode::InvalidRegistration);
    // The same incarnation may register again and keeps its epoch.
    let epoch = sim.image().cluster.broker(1).unwrap().epoch;
    let again = sim.registration(1, 77, -1);
    assert_eq!(sim.get::<BrokerRegistrationResponse>(again).broker_epoch, epoch);
    assert!(!sim.image().cluster.broker(1).unwrap().fenced);
    sim.check();
}

#[test]
fn heartbeats_of_strangers_are_refused() {
    let mut sim = Sim::new();
    let request = BrokerHeartbeatRequest { broker_id: 4, broker_epoch: 3, ..Default::default() };
    assert_eq!(failure(sim.ask(request)), ErrorCode::StaleBrokerEpoch);
    let epoch = sim.join(1, 77, -1);
    let request = BrokerHeartbeatRequest { broker_id: 1, broker_epoch: epoch - 1, ..Default::default() };
    assert_eq!(failure(sim.ask(request)), ErrorCode::StaleBrokerEpoch);
    let end = sim.node.raft().log_end();
    sim.heartbeat(1, epoch, false, false);
    assert_eq!(sim.node.raft().log_end(), end, "a heartbeat that changes nothing writes nothing");
}

#[test]
fn a_broker_is_unfenced_only_when_it_has_seen_its_registration() {
    let mut sim = Sim::new();
    let request = sim.registration(1, 77, -1);
    let epoch = sim.get::<BrokerRegistrationResponse>(request).broker_epoch;
    let mut beat = BrokerHeartbeatRequest { broker_id: 1, broker_epoch: epoch, current_metadata_offset: epoch - 1, ..Default::default() };
    let answer: BrokerHeartbeatResponse = sim.get(beat.clone());
    assert!(!answer.is_caught_up && answer.is_fenced);
    beat.current_metadata_offset = epoch;
    let answer: BrokerHeartbeatResponse = sim.get(beat);
    assert!(answer.is_caught_up && !answer.is_fenced);
}

#[test]
fn isr_changes_are_checked() {
    let mut sim = Sim::new();
    let epochs: Vec<i64> = (1..=2).map(|id| sim.join(id, 77, -1)).collect();
    let id = create(&mut sim, vec![topic("t", 1, 2)])[0].topic_id;
    let p = partition(&sim, "t");
    let leader = p.leader;
    let other = 3 - leader;
    let epoch_of = |id: i32| epochs[id as usize - 1];
    let state = |id: i32| BrokerState { broker_id: id, broker_epoch: epoch_of(id), ..Default::default() };
    let mut alter = |from: i32, change: &dyn Fn(&mut PartitionData)| {
        let mut data =
            PartitionData { leader_epoch: 0, partition_epoch: 0, new_isr_with_epochs: vec![state(leader)], ..Default::default() };
        change(&mut data);
        let topics = vec![TopicData { topic_id: id, partitions: vec![data], ..Default::default() }];
        let request = AlterPartitionRequest { broker_id: from, broker_epoch: epoch_of(from), topics, ..Default::default() };
        let response = AlterPartitionResponse::try_from(sim.ask_version(request, 3)).unwrap();
        let result = response.topics[0].partitions[0].clone();
        (ErrorCode::from_code(result.error_code), result.isr, result.partition_epoch)
    };
    assert_eq!(alter(leader, &|d| d.leader_epoch = 1).0, ErrorCode::NotController);
    assert_eq!(alter(leader, &|d| d.partition_epoch = 1).0, ErrorCode::NotController);
    assert_eq!(alter(leader, &|d| d.leader_epoch = -1).0, ErrorCode::FencedLeaderEpoch);
    assert_eq!(alter(leader, &|d| d.partition_epoch = -1).0, ErrorCode::InvalidUpdateVersion);
    assert_eq!(alter(other, &|_| ()).0, ErrorCode::InvalidRequest);
    assert_eq!(alter(leader, &|d| d.new_isr_with_epochs = vec![state(other)]).0, ErrorCode::InvalidRequest);
    assert_eq!(
        alter(leader, &|d| d.new_isr_with_epochs.push(BrokerState { broker_epoch: 1, ..state(other) })).0,
        ErrorCode::IneligibleReplica
    );
    assert_eq!(alter(leader, &|d| d.partition_index = 7).0, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(alter(leader, &|_| ()), (ErrorCode::None, vec![leader], 1));
    let grown = alter(leader, &|d| {
        d.partition_epoch = 1;
        d.new_isr_with_epochs.push(state(other));
    });
    assert_eq!(grown, (ErrorCode::None, vec![leader, other], 2));
    sim.check();
}

#[test]
fn reassignment_adds_then_removes() {
    let mut sim = Sim::new();
    let epochs: Vec<i64> = (1..=3).map(|id| sim.join(id, 77, -1)).collect();
    let id = create(&mut sim, vec![topic("t", 1, 1)])[0].topic_id;
    let old = partition(&sim, "t").leader;
    let new = old % 3 + 1;
    let reassign = |replicas: Option<Vec<i32>>| AlterPartitionReassignmentsRequest {
        topics: vec![ReassignableTopic {
            name: "t".into(),
            partitions: vec![ReassignablePartition { partition_index: 0, replicas, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let code = |sim: &mut Sim, request| {
        let response: AlterPartitionReassignmentsResponse = sim.get(request);
        ErrorCode::from_code(response.responses[0].partitions[0].error_code)
    };
    assert_eq!(code(&mut sim, reassign(None)), ErrorCode::NoReassignmentInProgress);
    assert_eq!(code(&mut sim, reassign(Some(vec![9]))), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(code(&mut sim, reassign(Some(vec![new]))), ErrorCode::None);
    let moving = partition(&sim, "t");
    assert_eq!(
        (&moving.replicas[..], &moving.adding_replicas[..], &moving.removing_replicas[..]),
        (&[new, old][..], &[new][..], &[old][..])
    );
    assert_eq!(moving.directories, [directory(new), directory(old)]);
    let listed: ListPartitionReassignmentsResponse = sim.get(ListPartitionReassignmentsRequest::default());
    assert_eq!(listed.topics[0].partitions[0].replicas, [new, old]);
    assert_eq!(code(&mut sim, reassign(None)), ErrorCode::None);
    assert_eq!(partition(&sim, "t").replicas, [old]);
    assert_eq!(code(&mut sim, reassign(Some(vec![new]))), ErrorCode::None);
    // The new replica comes into sync: the old one goes and the leader with it.
    let p = partition(&sim, "t");
    let state = |id: i32| BrokerState { broker_id: id, broker_epoch: epochs[id as usize - 1], ..Default::default() };
    let data = PartitionData {
        leader_epoch: p.leader_epoch,
        partition_epoch: p.partition_epoch,
        new_isr_with_epochs: vec![state(old), state(new)],
        ..Default::default()
    };
    let topics = vec![TopicData { topic_id: id, partitions: vec![data], ..Default::default() }];
    let request = AlterPartitionRequest { broker_id: old, broker_epoch: epochs[old as usize - 1], topics, ..Default::default() };
    let response = AlterPartitionResponse::try_from(sim.ask_version(request, 3)).unwrap();
    assert_eq!(ErrorCode::from_code(response.topics[0].partitions[0].error_code), ErrorCode::NewLeaderElected);
    let done = partition(&sim, "t");
    assert_eq!((done.leader, &done.replicas[..], &done.isr[..], done.is_reassigning()), (new, &[new][..], &[new][..], false));
    sim.check();
}

#[test]
fn elections_and_unregistering() {
    let mut sim = Sim::new();
    let epochs: Vec<i64> = (1..=2).map(|id| sim.join(id, 77, -1)).collect();
    create(&mut sim, vec![topic("t", 1, 2)]);
    let preferred = partition(&sim, "t").preferred_leader();
    let elect = ElectLeadersRequest { topic_partitions: None, ..Default::default() };
    let idle: ElectLeadersResponse = sim.get(elect.clone());
    assert!(idle.replica_election_results.iter().all(|t| t.partition_result.is_empty()));
    sim.leave(preferred, epochs[preferred as usize - 1]);
    let unavailable: ElectLeadersResponse = sim.get(elect.clone());
    let code = unavailable.replica_election_results[0].partition_result[0].error_code;
    assert_eq!(ErrorCode::from_code(code), ErrorCode::PreferredLeaderNotAvailable);
    let epoch = sim.join(preferred, 78, epochs[preferred as usize - 1]);
    assert_ne!(partition(&sim, "t").leader, preferred);
    assert_eq!(failure(sim.ask(UnregisterBrokerRequest { broker_id: 9, ..Default::default() })), ErrorCode::BrokerIdNotRegistered);
    let leader = partition(&sim, "t").leader;
    sim.get::<UnregisterBrokerResponse>(UnregisterBrokerRequest { broker_id: leader, ..Default::default() });
    assert!(sim.image().cluster.broker(leader).is_none());
    assert!(epoch > 0);
    sim.check();
}

#[test]
fn producer_id_blocks_do_not_overlap() {
    let mut sim = Sim::new();
    let epoch = sim.join(1, 77, -1);
    let request = AllocateProducerIdsRequest { broker_id: 1, broker_epoch: epoch, ..Default::default() };
    let first: AllocateProducerIdsResponse = sim.get(request.clone());
    let second: AllocateProducerIdsResponse = sim.get(request.clone());
    assert_eq!((first.producer_id_start, first.producer_id_len, second.producer_id_start), (0, 1000, 1000));
    sim.restart(false);
    let third: AllocateProducerIdsResponse = sim.get(request);
    assert_eq!(third.producer_id_start, 2000);
}

#[test]
fn offline_directories_take_their_replicas_out_of_sync() {
    let mut sim = Sim::new();
    let spare = Uuid::from_u128(20_000);
    let mut request = sim.registration(1, 77, -1);
    request.log_dirs.push(spare);
    let epoch = sim.get::<BrokerRegistrationResponse>(request).broker_epoch;
    sim.heartbeat(1, epoch, false, false);
    let id = create(&mut sim, vec![topic("t", 1, 1)])[0].topic_id;
    use wire::messages::assign_replicas_to_dirs_request as assign;
    let partitions = vec![assign::PartitionData { partition_index: 0, ..Default::default() }];
    let topics = vec![assign::TopicData { topic_id: id, partitions, ..Default::default() }];
    let directories = vec![assign::DirectoryData { id: spare, topics, ..Default::default() }];
    let request = AssignReplicasToDirsRequest { broker_id: 1, broker_epoch: epoch, directories, ..Default::default() };
    let response: AssignReplicasToDirsResponse = sim.get(request);
    assert_eq!(response.directories[0].topics[0].partitions[0].error_code, 0);
    assert_eq!(partition(&sim, "t").directories, [spare]);
    let beat = BrokerHeartbeatRequest {
        broker_id: 1,
        broker_epoch: epoch,
        current_metadata_offset: sim.node.raft().log_end().offset,
        offline_log_dirs: vec![spare],
        ..Default::default()
    };
    sim.get::<BrokerHeartbeatResponse>(beat);
    assert_eq!(partition(&sim, "t").leader, NO_LEADER);
    assert_eq!(sim.image().cluster.broker(1).unwrap().directories, [directory(1)]);
    sim.check();
}

#[test]
fn quorum_can_be_described() {
    use wire::messages::describe_quorum_request as ask;
    let mut sim = Sim::new();
    let partitions = vec![ask::PartitionData::default()];
    let topics = vec![ask::TopicData { topic_name: "__cluster_metadata".into(), partitions, ..Default::default() }];
    let response: DescribeQuorumResponse = sim.get(DescribeQuorumRequest { topics, ..Default::default() });
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.leader_id, partition.leader_epoch, partition.current_voters.len()), (1, 1, 1));
    assert_eq!(partition.high_watermark, sim.node.raft().log_end().offset);
}

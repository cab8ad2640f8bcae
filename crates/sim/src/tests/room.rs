//! A disk that fills up, and acknowledgements that wait for it, as a client sees them.

use super::*;

const MIB: u64 = 1 << 20;

fn send(client: &mut Client, node: &mut SimNode, acks: i16) -> (produce_response::PartitionProduceResponse, i32, Duration) {
    let records = batch(node.now, &["x".repeat(100_000).as_str()]);
    let before = node.now;
    let mut response = client.call(node, &produce_request("t", 0, records, acks), 12);
    (response.responses.remove(0).partition_responses.remove(0), response.throttle_time_ms, node.now.mono - before.mono)
}

#[test]
fn producers_are_slowed_down_then_refused_then_served_again() {
    let disk = MemDisk::default();
    let mut node = node_on(disk.clone(), &[("log.dir.reserve.bytes", "1048576")], 1);
    let mut client = Client::new("p");
    create(&mut client, &mut node, "t", 1, &[]);
    commit(&mut client, &mut node, "g", 1);
    disk.set_free_space(Some(100 * MIB));
    let measure = |node: &SimNode| node.broker.replicas().measure_space(node.now).len();
    assert_eq!(measure(&node), 0);
    let (done, throttle_ms, took) = send(&mut client, &mut node, 1);
    assert_eq!((done.error_code, throttle_ms, took), (0, 0, Duration::ZERO));

    // Somebody writes four mebibytes a second.
    for second in 1..20 {
        node.advance(Duration::from_secs(1));
        disk.set_free_space(Some((100 - 4 * second) * MIB));
        measure(&node);
    }
    let (done, throttle_ms, took) = send(&mut client, &mut node, 1);
    assert_eq!(done.error_code, 0);
    assert!(throttle_ms > 0 && took >= Duration::from_millis(throttle_ms as u64), "{throttle_ms} ms, answered after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");

    disk.set_free_space(Some(MIB));
    assert_eq!(measure(&node), 1);
    let end = done.base_offset + 1;
    for acks in [1, -1] {
        let (refused, _, _) = send(&mut client, &mut node, acks);
        assert_eq!(refused.error_code, ErrorCode::KafkaStorageError.code());
        assert!(refused.error_message.is_some_and(|text| text.contains("/data")));
    }
    let request = produce_request("t", 0, batch(node.now, &["x"]), 0);
    let acks_none = client.send(&mut node, &request, 12);
    assert!(matches!(acks_none, Sent::Closed(_)), "a client that waits for no answer is told by a closed connection");
    let mut client = Client::new("p");
    commit(&mut client, &mut node, "g", 2);
    assert_eq!(committed(&mut client, &mut node, "g"), 2);
    create(&mut client, &mut node, "while-full", 1, &[]);

    disk.set_free_space(Some(50 * MIB));
    node.advance(Duration::from_secs(1));
    measure(&node);
    let (done, _, _) = send(&mut client, &mut node, -1);
    assert_eq!((done.error_code, done.base_offset), (0, end), "nothing of what was refused is in the log");
}

#[test]
fn groups_and_producers_wait_for_the_disk() {
    let disk = MemDisk::default();
    let mut node = node_on(disk.clone(), &[("log.flush.interval.messages", "1")], 1);
    let mut client = Client::new("p");
    create(&mut client, &mut node, "t", 1, &[]);
    commit(&mut client, &mut node, "g", 7);
    for acks in [1, -1] {
        assert_eq!(send(&mut client, &mut node, acks).0.error_code, 0);
    }
    let mut rng = fastrand::Rng::with_seed(3);
    let mut node = node.restart_after_crash(|_| disk.crash(&mut rng));
    let mut client = Client::new("c");
    assert_eq!(committed(&mut client, &mut node, "g"), 7);
    let (done, _, _) = send(&mut client, &mut node, -1);
    assert_eq!((done.error_code, done.base_offset), (0, 2));
}

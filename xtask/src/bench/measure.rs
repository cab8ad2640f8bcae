//! What the kernel and a socket tell about a broker: CPU time, memory, and since when it serves.

use std::time::{Duration, Instant};

use e2e::Node;
use e2e::raw::{Answer, RawConnection};

/// Seconds of CPU, user and system, that a process has used.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the broker runs");
    // The name in parentheses may hold blanks; fields are counted behind it: utime is the 12th, stime the 13th, in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a stat line").1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    ticks as f64 / 100.0
}

/// Resident memory in MiB.
pub fn resident_mib(pid: u32) -> f64 {
    status_kib(pid, "VmRSS:") / 1024.0
}

/// The most resident memory that the process ever had, in MiB.
pub fn resident_mib_max(pid: u32) -> f64 {
    status_kib(pid, "VmHWM:") / 1024.0
}

fn status_kib(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the broker runs");
    let line = status.lines().find_map(|l| l.strip_prefix(field)).unwrap_or_else(|| panic!("no {field}"));
    line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).expect("a number")
}

/// What the process has read by now, from files and through the page cache, in MiB.
pub fn read_mib(pid: u32) -> f64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).expect("the broker runs");
    let read = io.lines().find_map(|l| l.strip_prefix("rchar: ")).and_then(|n| n.parse::<f64>().ok()).expect("a line rchar");
    read / 1024.0 / 1024.0
}

/// Whether Metadata is answered: version 1, for no topic.
pub fn answers_metadata(port: u16) -> bool {
    let Ok(mut connection) = RawConnection::open(port) else { return false };
    connection.send_frame(&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0]);
    matches!(connection.answer(Duration::from_secs(10)), Answer::Frame(_))
}

/// Starts the node and gives the seconds until `ready` says yes.
pub fn seconds_until(node: &mut Node, ready: impl Fn(u16) -> bool) -> f64 {
    let begin = Instant::now();
    node.spawn();
    while !ready(node.port) {
        assert!(begin.elapsed() < Duration::from_secs(300), "not ready after five minutes:\n{}", node.log());
        std::thread::sleep(Duration::from_millis(1));
    }
    begin.elapsed().as_secs_f64()
}

/// Whether all partitions of a topic have a leader: Metadata version 1, read by hand.
pub fn all_led(port: u16, topic: &str, partitions: usize) -> bool {
    let Ok(mut connection) = RawConnection::open(port) else { return false };
    let mut request = vec![0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 1];
    request.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    request.extend_from_slice(topic.as_bytes());
    connection.send_frame(&request);
    match connection.answer(Duration::from_secs(10)) {
        Answer::Frame(body) => led(&body, partitions).unwrap_or(false),
        _ => false,
    }
}

fn led(body: &[u8], wanted: usize) -> Option<bool> {
    let mut rest = body.get(4..)?; // the correlation id
    for _ in 0..int32(&mut rest)? {
        int32(&mut rest)?; // broker
        string(&mut rest)?;
        int32(&mut rest)?;
        string(&mut rest)?;
    }
    int32(&mut rest)?; // controller
    if int32(&mut rest)? != 1 || int16(&mut rest)? != 0 {
        return Some(false);
    }
    string(&mut rest)?;
    rest = rest.get(1..)?; // internal
    let count = int32(&mut rest)?;
    let mut with_leader = 0;
    for _ in 0..count {
        let error = int16(&mut rest)?;
        int32(&mut rest)?;
        let leader = int32(&mut rest)?;
        with_leader += usize::from(error == 0 && leader >= 0);
        for _ in 0..2 {
            for _ in 0..int32(&mut rest)? {
                int32(&mut rest)?;
            }
        }
    }
    Some(with_leader == wanted)
}

fn int16(rest: &mut &[u8]) -> Option<i16> {
    let (value, tail) = rest.split_first_chunk::<2>()?;
    *rest = tail;
    Some(i16::from_be_bytes(*value))
}

fn int32(rest: &mut &[u8]) -> Option<i32> {
    let (value, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    Some(i32::from_be_bytes(*value))
}

fn string(rest: &mut &[u8]) -> Option<()> {
    let length = int16(rest)?;
    *rest = rest.get(usize::try_from(length).unwrap_or(0)..)?;
    Some(())
}

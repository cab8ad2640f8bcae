//! Bytes that are no requests. Both brokers get the same; what they do with the connection must agree, and Gregor must go on serving.

use std::fmt::Write;
use std::time::{Duration, Instant};

use e2e::compare::assert_same;
use e2e::raw::{Answer, RawConnection, api_versions_v0};
use e2e::repo::Scratch;
use e2e::{Kind, Node};

/// A request header v1 (or v2 with its tags) in front of `body`.
fn request(key: i16, version: i16, flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 9, 0, 1, b'c']);
    if flexible {
        frame.push(0);
    }
    frame.extend_from_slice(body);
    frame
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

/// Name, bytes to send as they are, and whether our side then ends what it sends.
fn cases() -> Vec<(&'static str, Vec<u8>, bool)> {
    let metadata = |version, flexible, body: &[u8]| framed(&request(3, version, flexible, body));
    let mut pipelined = framed(&api_versions_v0());
    pipelined.extend(framed(&api_versions_v0()));
    pipelined.extend(framed(&request(3, 99, false, &[])));
    vec![
        ("nothing at all", vec![], true),
        ("half a length", vec![0, 0], true),
        ("length zero", vec![0, 0, 0, 0], false),
        ("length minus one", vec![0xff, 0xff, 0xff, 0xff], false),
        ("length smallest", vec![0x80, 0, 0, 0], false),
        ("length greatest", vec![0x7f, 0xff, 0xff, 0xff], false),
        ("length one above the limit", (104_857_601_u32).to_be_bytes().to_vec(), false),
        ("length that never comes", [&[0, 0, 1, 0][..], &api_versions_v0()].concat(), true),
        ("key only", framed(&[0, 3]), false),
        ("key and version only", framed(&[0, 3, 0, 1]), false),
        ("no client id", framed(&[0, 3, 0, 1, 0, 0, 0, 9]), false),
        ("client id longer than the frame", framed(&[0, 3, 0, 1, 0, 0, 0, 9, 0x70, 0, b'c']), false),
        ("client id of length -2", framed(&[0, 3, 0, 1, 0, 0, 0, 9, 0xff, 0xfe]), false),
        ("header tags without end", framed(&[0, 3, 0, 12, 0, 0, 0, 9, 0, 1, b'c', 0xff, 0xff, 0xff, 0xff, 0x0f]), false),
        ("header tag longer than the frame", framed(&[0, 3, 0, 12, 0, 0, 0, 9, 0, 1, b'c', 1, 0, 0x7f, 1]), false),
        ("no body", metadata(1, false, &[]), false),
        ("array of two thousand million", metadata(1, false, &[0x7f, 0xff, 0xff, 0xff]), false),
        ("array of length -5", metadata(1, false, &[0xff, 0xff, 0xff, 0xfb]), false),
        ("compact array of four thousand million", metadata(12, true, &[0xff, 0xff, 0xff, 0xff, 0x0f]), false),
        ("varint of eleven bytes", metadata(12, true, &[0xff; 11]), false),
        ("name longer than the frame", metadata(1, false, &[0, 0, 0, 1, 0x7f, 0xff, b'x']), false),
        ("name of length -1", metadata(1, false, &[0, 0, 0, 1, 0xff, 0xff]), false),
        ("name that is not utf-8", metadata(1, false, &[0, 0, 0, 1, 0, 2, 0xc3, 0x28]), false),
        ("body tags without end", metadata(9, true, &[2, 2, b'a', 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]), false),
        ("http", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), false),
        ("tls", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 64]].concat(), false),
        ("produce cut short", framed(&request(0, 9, true, &[0, 0, 1, 0, 0, 0x10, 0, 2])), false),
        ("fetch cut short", framed(&request(1, 12, true, &[0xff, 0xff, 0xff, 0xff, 0])), false),
        ("sasl without sasl", framed(&request(17, 1, false, &[0, 5, b'P', b'L', b'A', b'I', b'N'])), false),
        ("good, good, bad", pipelined, false),
        ("zeros", vec![0; 64], false),
        ("ones", vec![0xff; 64], false),
    ]
}

fn outcome(node: &Node, bytes: &[u8], finish: bool) -> String {
    let mut connection = RawConnection::open(node.port).expect("connects");
    connection.send(bytes);
    if finish {
        connection.finish_sending();
    }
    let mut answers = Vec::new();
    loop {
        match connection.answer(Duration::from_millis(1500)) {
            Answer::Frame(body) if body.len() > 150 => answers.push("a long answer".to_owned()),
            // Where the answer names the broker's port, the two differ.
            Answer::Frame(body) => {
                answers.push(format!("{body:02x?}").replace(&format!("{:02x?}", node.port.to_be_bytes()).replace(['[', ']'], ""), "PORT"))
            }
            Answer::Closed => break answers.push("closed".to_owned()),
            Answer::Silence => break answers.push("open".to_owned()),
        }
    }
    answers.join(", ")
}

fn answers(node: &mut Node) -> String {
    let mut out = String::new();
    for (name, bytes, finish) in cases() {
        let _ = writeln!(out, "{name}: {}", outcome(node, &bytes, finish));
        node.assert_serves();
    }
    out
}

#[test]
fn malformed_frames() {
    let scratch = Scratch::new("malformed");
    let mut apache = Node::start(Kind::Apache, &scratch.join("apache"), &[]);
    let mut gregor = Node::start(Kind::Gregor, &scratch.join("gregor"), &[]);
    gregor.expect_log("closed a connection");
    let (theirs, ours) = std::thread::scope(|s| {
        let theirs = s.spawn(|| answers(&mut apache));
        let ours = s.spawn(|| answers(&mut gregor));
        (theirs.join().expect("Apache's answers"), ours.join().expect("Gregor's answers"))
    });
    assert_same("malformed frames", &theirs, &ours, include_str!("../../known/malformed.txt"));
    gregor.stop();
}

/// Frames of every request with random damage, for a few seconds (E2E_FUZZ_SECONDS): whatever comes, Gregor neither dies nor panics.
#[test]
fn damaged_frames_do_no_harm() {
    let seconds = std::env::var("E2E_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(10);
    let seed = std::env::var("E2E_FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("E2E_FUZZ_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let scratch = Scratch::new("damaged");
    let mut node = Node::start(Kind::Gregor, &scratch.join("gregor"), &["auto.create.topics.enable=false"]);
    node.expect_log(" WARN ");
    let memory_before = resident_kib(&node);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut sent = 0_u64;
    while Instant::now() < deadline {
        let Ok(mut connection) = RawConnection::open(node.port) else { panic!("no connection after {sent} frames, seed {seed}") };
        for _ in 0..8 {
            connection.send_frame(&damaged(&mut rng));
            sent += 1;
        }
        connection.finish_sending();
        // A response, a closed connection or nothing: all are right; only an end of the process is wrong.
        let _ = connection.answer(Duration::from_millis(20));
        if sent.is_multiple_of(256) {
            node.assert_serves();
        }
    }
    node.assert_serves();
    let grown = resident_kib(&node).saturating_sub(memory_before);
    println!("{sent} damaged frames; memory grew by {grown} KiB");
    assert!(grown < 300_000, "memory grew by {grown} KiB");
    node.stop();
}

/// A header of some key and version, then a body of small numbers, lengths and noise, which gets deep into decoders more often than noise alone.
fn damaged(rng: &mut fastrand::Rng) -> Vec<u8> {
    // Stopping the node by a request is not a thing in Kafka, so every key may be tried.
    let key = if rng.u8(..) < 250 { rng.i16(0..93) } else { rng.i16(..) };
    let version = if rng.u8(..) < 250 { rng.i16(0..14) } else { rng.i16(..) };
    let mut body = Vec::new();
    for _ in 0..rng.usize(0..60) {
        match rng.u8(0..8) {
            0 => body.extend_from_slice(&rng.i32(-2..5).to_be_bytes()),
            1 => body.extend_from_slice(&rng.i16(-2..9).to_be_bytes()),
            2 => body.push(rng.u8(0..8)),
            3 => body.extend_from_slice(b"\x00\x04test"),
            4 => body.extend_from_slice(b"\x05test"),
            5 => body.extend_from_slice(&rng.u64(..).to_be_bytes()),
            6 => body.extend_from_slice(&[0; 8]),
            _ => body.push(rng.u8(..)),
        }
    }
    let mut frame = request(key, version, rng.bool(), &body);
    if rng.u8(0..4) == 0 {
        frame.truncate(rng.usize(0..=frame.len()));
    }
    frame
}

fn resident_kib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap_or_default();
    status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

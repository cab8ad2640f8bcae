//! One set of questions, asked of both brokers at the same time.

use e2e::compare::assert_same;
use e2e::{Kind, Node};

/// Compares what `answers` gets of both. The nodes are dropped, and Gregor's log is looked at, only after the comparison, which says more.
#[track_caller]
pub(crate) fn assert_both_same(what: &str, known: &str, answers: impl Fn(Kind) -> (String, Node) + Sync) {
    let ((apache, _apache_node), (gregor, _gregor_node)) = std::thread::scope(|s| {
        let apache = s.spawn(|| answers(Kind::Apache));
        let gregor = s.spawn(|| answers(Kind::Gregor));
        (apache.join().expect("Apache's answers"), gregor.join().expect("Gregor's answers"))
    });
    if let Some(dir) = std::env::var_os("E2E_KEEP_ANSWERS") {
        let dir = std::path::PathBuf::from(dir);
        std::fs::write(dir.join(format!("{what}.apache")), &apache).expect("answers kept");
        std::fs::write(dir.join(format!("{what}.gregor")), &gregor).expect("answers kept");
    }
    assert_same(what, &apache, &gregor, known);
}

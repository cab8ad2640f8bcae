//! Data directories that Apache Kafka 4.3.1 wrote (golden/data-dirs): Gregor opens them and serves what Apache serves from a copy.

use std::path::Path;
use std::process::Command;

use e2e::compare::assert_same;
use e2e::repo::{self, Scratch};
use e2e::{Kind, Node, clients};

#[test]
fn kraft_version_0() {
    serves_the_same("kafka-4.3.1-kraft0", include_str!("../../known/kraft0.txt"));
}

#[test]
fn kraft_version_1() {
    serves_the_same("kafka-4.3.1-kraft1", include_str!("../../known/kraft1.txt"));
}

fn unpack(name: &str, dir: &Path) {
    std::fs::create_dir_all(dir).expect("directory");
    let archive = repo::root().join(format!("golden/data-dirs/{name}.tar.gz"));
    let status = Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(dir).status().expect("tar");
    assert!(status.success(), "{}", archive.display());
}

fn serves_the_same(name: &str, known: &str) {
    let scratch = Scratch::new(name);
    let contents = |kind: Kind| {
        let dir = scratch.join(&format!("{kind:?}"));
        unpack(name, &dir);
        // Records of long ago must survive the test.
        let mut node = Node::prepare(kind, &dir, &["log.retention.ms=-1", "log.cleaner.enable=false"]);
        if name.ends_with("kraft1") {
            // Its quorum is dynamic: the voters stand in its log.
            let file = dir.join("server.properties");
            let properties = std::fs::read_to_string(&file).expect("properties");
            std::fs::write(&file, properties.replace("controller.quorum.voters=1@", "controller.quorum.bootstrap.servers="))
                .expect("properties");
        }
        node.start_again();
        let text = clients::java("Contents", &[&node.bootstrap()]).ok();
        node.assert_serves();
        node.stop();
        // And once more, from what this start and stop left behind.
        node.start_again();
        let again = clients::java("Contents", &[&node.bootstrap()]).ok();
        node.stop();
        assert_eq!(text, again, "{kind:?} serves something else after a restart");
        text
    };
    let (apache, gregor) = std::thread::scope(|s| {
        let apache = s.spawn(|| contents(Kind::Apache));
        let gregor = s.spawn(|| contents(Kind::Gregor));
        (apache.join().expect("Apache's contents"), gregor.join().expect("Gregor's contents"))
    });
    assert_same(name, &apache, &gregor, known);
}

//! Bad weather for our own client: a broker behind a proxy, killed (-9) and started again on its directory while connections are cut in the
//! middle of answers and answers come late or never.

use e2e::proxy::{Proxy, Weather};
use e2e::repo::Scratch;
use e2e::{Kind, Node};
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

/// Groups that notice soon when a member is gone.
const BROKER: &[&str] = &[
    "offsets.topic.num.partitions=4",
    "group.consumer.min.heartbeat.interval.ms=500",
    "group.consumer.heartbeat.interval.ms=500",
    "group.consumer.min.session.timeout.ms=6000",
    "group.consumer.session.timeout.ms=6000",
];
/// What the broker says when it finds its directory as a kill left it, and when clients vanish.
const EXPECTED: &[&str] = &["not closed cleanly", "unclean", "recover"];

pub(crate) struct Storm {
    pub kills: usize,
    kind: Kind,
    proxy: Proxy,
    node: Node,
    rng: fastrand::Rng,
    _scratch: Scratch,
}

impl Storm {
    /// A broker in fine weather. `extra` is for its server.properties.
    pub fn begin(kind: Kind, name: &str, extra: &[&str], seed: u64) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(std::io::stderr)
            .try_init();
        let scratch = Scratch::new(name);
        let (proxy, listener) = Proxy::listen();
        let advertised = format!("advertised.listeners=PLAINTEXT://127.0.0.1:{}", proxy.port);
        let mut node = Node::start(kind, &scratch.join("node"), &[BROKER, extra, &[&advertised]].concat());
        for text in EXPECTED {
            node.expect_log(text);
        }
        proxy.lead_to(listener, node.port);
        Storm { kills: 0, kind, proxy, node, rng: fastrand::Rng::with_seed(seed), _scratch: scratch }
    }

    pub fn bootstrap(&self) -> String {
        self.proxy.bootstrap()
    }

    /// Some seconds of late answers and cut connections, then of answers that never come (so many of a thousand), then a kill; after up to
    /// `away_max` the broker is back and the weather fine.
    pub fn rage(&mut self, swallow: u32, away_max: Duration) {
        self.proxy.set(Weather { cut: 20, delay: 30, delay_max: Duration::from_millis(300), swallow: 0 });
        self.moment();
        self.proxy.cut_all();
        self.proxy.set(Weather { cut: 5, delay: 10, delay_max: Duration::from_millis(100), swallow });
        self.moment();
        self.proxy.set(Weather::default());
        self.node.kill();
        self.proxy.cut_all();
        let away = away_max.as_millis() as u64;
        std::thread::sleep(Duration::from_millis(if away == 0 { 0 } else { self.rng.u64(0..away) }));
        self.node.start_again();
        self.kills += 1;
    }

    pub fn moment(&mut self) {
        std::thread::sleep(Duration::from_millis(self.rng.u64(700..1_500)));
    }

    /// After its clients have ended: what they have found wrong.
    pub fn end(self, problems: &Mutex<Vec<String>>) {
        let problems = problems.lock().expect("problems");
        let shown = problems[..problems.len().min(20)].join("\n");
        assert!(problems.is_empty(), "{:?}, {} problems:\n{shown}", self.kind, problems.len());
    }
}

/// The clients, on a thread of their own.
pub(crate) fn clients(everything: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(everything);
    })
}

/// How long the bad weather lasts: `CLIENT_CHAOS_SECONDS`, or so many.
pub(crate) fn length(otherwise: u64) -> Duration {
    Duration::from_secs(std::env::var("CLIENT_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise))
}

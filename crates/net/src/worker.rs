//! Threads: one current-thread runtime each, with the connections handed to it. Handlers run inline on them.

use crate::cold::ColdReads;
use crate::connection::{Closed, Connection};
use crate::frame::BufferPool;
use crate::limits::Limits;
use crate::listener::{Accepted, Acceptor, BoundListener};
use crate::service::{Service, SessionInfo};
use crate::stats::{ListenerStats, Stats, WorkerStats};
use base::Clock;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};

#[derive(Clone)]
pub struct NetConfig {
    /// Worker threads (`num.network.threads`, at most one per core).
    pub threads: usize,
    /// `socket.request.max.bytes`
    pub request_max_bytes: usize,
    /// `connections.max.idle.ms`; `None` for a negative one.
    pub idle_max: Option<Duration>,
    pub clock: Clock,
}

/// The running network layer. `stop` ends it; dropping it without `stop` leaves the threads running.
pub struct Net {
    stop: watch::Sender<Stage>,
    changes: mpsc::UnboundedSender<Change>,
    threads: Vec<JoinHandle<()>>,
    stats: Arc<Stats>,
}

/// Opens and closes listeners of a node that runs.
#[derive(Clone)]
pub struct ListenerControl(mpsc::UnboundedSender<Change>);

enum Change {
    Open(BoundListener),
    Close(String),
}

impl ListenerControl {
    pub fn open(&self, listener: BoundListener) {
        // Fails only when the node has stopped.
        let _ = self.0.send(Change::Open(listener));
    }

    /// Frees the port; connections that came in by the listener end once what they asked is answered.
    pub fn close(&self, name: &str) {
        let _ = self.0.send(Change::Close(name.to_owned()));
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Running,
    /// No new connections and no new requests; what was read is answered for at most this long.
    Stopping(Duration),
}

/// What the connections of one worker share. Only its thread touches it.
pub(crate) struct Worker {
    pub(crate) clock: Clock,
    pub(crate) pool: BufferPool,
    pub(crate) cold: Arc<ColdReads>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) own: Arc<WorkerStats>,
    pub(crate) request_max_bytes: usize,
    pub(crate) idle_max: Option<Duration>,
    pub(crate) stopping: Cell<bool>,
    connections: RefCell<HashMap<u64, Waker>>,
    /// As many as `connections`, for the acceptor's choice.
    load: Arc<AtomicUsize>,
    empty: tokio::sync::Notify,
}

impl Worker {
    pub(crate) fn register(&self, key: u64, waker: &Waker) {
        self.connections.borrow_mut().insert(key, waker.clone());
    }

    pub(crate) fn deregister(&self, key: u64) {
        let waker = self.connections.borrow_mut().remove(&key);
        drop(waker);
        self.load.fetch_sub(1, SeqCst);
        if self.load.load(SeqCst) == 0 {
            self.empty.notify_one();
        }
    }

    fn begin_stop(&self) {
        self.stopping.set(true);
        self.wake_all();
    }

    fn wake_all(&self) {
        let wakers: Vec<Waker> = self.connections.borrow().values().cloned().collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }
}

/// The acceptor's side of the workers: the next connection goes to the worker with the fewest.
#[derive(Clone)]
pub(crate) struct Handoff {
    workers: Arc<[(mpsc::Sender<Accepted>, Arc<AtomicUsize>)]>,
    stop: watch::Receiver<Stage>,
}

impl Handoff {
    pub(crate) async fn send(&self, accepted: Accepted) {
        let Some((queue, load)) = self.workers.iter().min_by_key(|(_, load)| load.load(SeqCst)) else { return };
        load.fetch_add(1, SeqCst);
        let stats = accepted.admission.stats.clone();
        stats.accepted.fetch_add(1, Relaxed);
        if queue.send(accepted).await.is_err() {
            load.fetch_sub(1, SeqCst);
            stats.closed.fetch_add(1, Relaxed);
        }
    }

    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.clone();
        let _ = stop.wait_for(|stage| *stage != Stage::Running).await;
    }
}

impl Net {
    /// Starts the workers and accepts from `listeners`.
    pub fn start(
        config: &NetConfig,
        listeners: Vec<BoundListener>,
        limits: Arc<Limits>,
        stats: Arc<Stats>,
        service: Arc<dyn Service>,
    ) -> io::Result<Net> {
        let (stop, stopped) = watch::channel(Stage::Running);
        let threads = config.threads.max(1);
        stats.started.store((config.clock.mono)().as_nanos(), Relaxed);
        let mut queues = Vec::new();
        let mut ends = Vec::new();
        for _ in 0..threads {
            let (sender, receiver) = mpsc::channel(1024);
            let load = Arc::new(AtomicUsize::new(0));
            queues.push((sender, load.clone()));
            ends.push((receiver, load));
        }
        let handoff = Handoff { workers: queues.into(), stop: stopped.clone() };
        let keys = Arc::new(AtomicU64::new(0));
        let (changes, receiver) = mpsc::unbounded_channel();
        let control = ListenerControl(changes.clone());
        listeners.into_iter().for_each(|listener| control.open(listener));
        let (look, looked) = watch::channel(());
        let mut acceptor = Some(Accepting { changes: receiver, acceptor: Acceptor::new(limits, stats.clone(), handoff), look });
        let cold = Arc::new(ColdReads::default());
        let mut handles = Vec::new();
        for (i, (queue, load)) in ends.into_iter().enumerate() {
            let config = config.clone();
            let thread = WorkerThread {
                stats: stats.clone(),
                service: service.clone(),
                stop: stopped.clone(),
                accepting: acceptor.take(),
                look: looked.clone(),
                keys: keys.clone(),
                queue,
                load,
                cold: cold.clone(),
            };
            handles.push(std::thread::Builder::new().name(format!("gregor-net-{i}")).spawn(move || thread.run(&config))?);
        }
        Ok(Net { stop, changes, threads: handles, stats })
    }

    pub fn listeners(&self) -> ListenerControl {
        ListenerControl(self.changes.clone())
    }

    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Stops accepting and reading, answers what was read for at most `grace`, closes everything and ends the threads.
    pub fn stop(mut self, grace: Duration) {
        self.begin_stop(grace);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a network thread had panicked");
            }
        }
    }

    /// The first half of `stop`: returns at once.
    pub fn begin_stop(&self, grace: Duration) {
        self.stop.send_replace(Stage::Stopping(grace));
    }
}

struct WorkerThread {
    stats: Arc<Stats>,
    service: Arc<dyn Service>,
    stop: watch::Receiver<Stage>,
    /// The first worker's: it accepts for all.
    accepting: Option<Accepting>,
    /// Changes when connections must see whether their listener has been closed.
    look: watch::Receiver<()>,
    keys: Arc<AtomicU64>,
    queue: mpsc::Receiver<Accepted>,
    load: Arc<AtomicUsize>,
    cold: Arc<ColdReads>,
}

struct Accepting {
    changes: mpsc::UnboundedReceiver<Change>,
    acceptor: Acceptor,
    look: watch::Sender<()>,
}

impl Accepting {
    /// Carries out the next change of listeners.
    async fn change(&mut self) {
        match self.changes.recv().await {
            Some(Change::Open(listener)) => {
                if let Err(e) = self.acceptor.open(listener) {
                    tracing::error!(error = %e, "cannot accept connections");
                }
            }
            Some(Change::Close(name)) => {
                self.acceptor.close(&name);
                self.look.send_replace(());
            }
            None => std::future::pending().await,
        }
    }
}

impl WorkerThread {
    fn run(self, config: &NetConfig) {
        match Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default()) {
            Ok(runtime) => self.run_on(&runtime, config),
            Err(e) => tracing::error!(error = %e, "cannot start a network thread; check the limit of open files (ulimit -n)"),
        }
    }

    fn run_on(mut self, runtime: &LocalRuntime, config: &NetConfig) {
        let worker = Rc::new(Worker {
            clock: config.clock,
            pool: BufferPool::default(),
            cold: self.cold.clone(),
            stats: self.stats.clone(),
            own: self.stats.add_worker(),
            request_max_bytes: config.request_max_bytes,
            idle_max: config.idle_max,
            stopping: Cell::new(false),
            connections: RefCell::default(),
            load: self.load.clone(),
            empty: tokio::sync::Notify::new(),
        });
        runtime.block_on(async {
            let grace = self.serve(&worker).await;
            worker.begin_stop();
            let all_closed = async {
                while worker.load.load(SeqCst) > 0 {
                    worker.empty.notified().await;
                }
            };
            if tokio::time::timeout(grace, all_closed).await.is_err() {
                tracing::info!(connections = worker.load.load(SeqCst), "closing connections whose requests still wait");
            }
        });
    }

    /// Takes connections until the node stops; returns the grace period.
    async fn serve(&mut self, worker: &Rc<Worker>) -> Duration {
        let (mut stop, mut look) = (self.stop.clone(), self.look.clone());
        let mut accepting = self.accepting.take();
        let mut changed = async || match &mut accepting {
            Some(accepting) => accepting.change().await,
            None => std::future::pending().await,
        };
        loop {
            tokio::select! {
                () = changed() => {}
                Ok(()) = look.changed() => worker.wake_all(),
                accepted = self.queue.recv() => match accepted {
                    Some(accepted) => self.open(worker, accepted),
                    None => return Duration::ZERO,
                },
                stage = stop.wait_for(|stage| *stage != Stage::Running) => {
                    self.refuse_queued();
                    return match stage.map(|stage| *stage) {
                        Ok(Stage::Stopping(grace)) => grace,
                        _ => Duration::ZERO,
                    };
                }
            }
        }
    }

    fn open(&self, worker: &Rc<Worker>, accepted: Accepted) {
        let Accepted { stream, peer, listener, admission } = accepted;
        let opened = TcpStream::from_std(stream).and_then(|stream| stream.local_addr().map(|local| (stream, local)));
        let (stream, local) = match opened {
            Ok(opened) => opened,
            Err(e) => {
                tracing::debug!(%peer, error = %e, "dropped a connection");
                self.forget(&admission.stats);
                return;
            }
        };
        let key = self.keys.fetch_add(1, Relaxed);
        let session = self.service.open_session(SessionInfo { peer, local, listener, id: key });
        let connection = Connection::new(stream, peer, session, key, worker.clone(), admission);
        tokio::task::spawn_local(async move {
            match connection.await {
                closed @ Closed::Refused(_) => tracing::warn!(%peer, reason = %closed, "closed a connection"),
                closed => tracing::debug!(%peer, reason = %closed, "closed a connection"),
            }
        });
    }

    fn refuse_queued(&mut self) {
        self.queue.close();
        while let Ok(accepted) = self.queue.try_recv() {
            self.forget(&accepted.admission.stats);
        }
    }

    fn forget(&self, stats: &ListenerStats) {
        self.load.fetch_sub(1, SeqCst);
        stats.closed.fetch_add(1, Relaxed);
    }
}

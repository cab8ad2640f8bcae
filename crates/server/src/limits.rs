//! How many files this process may have open, and how they are shared out between partitions and connections.
//! Kafka has no counterpart: it wants `ulimit -n` to be larger than all files of all partitions.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the hard limit allows is used; shells and service managers often set a low soft one, for programs of another kind.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, soft = limit.current, hard = limit.maximum, "the limit of open files cannot be raised");
    }
}

/// As many files of partitions stay open from one use to the next; the other half is for connections.
pub fn open_files_max() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| (limit / 2) as usize)
}

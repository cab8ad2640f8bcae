//! A model test: transactional producers of both generations of the protocol against one shard, under a virtual clock. A schedule is made from a
//! seed: producers begin, write, commit, abort, go on after errors, die, and are taken over by others of the same id; answers are lost and
//! requests arrive a second time much later; appends fail, the high watermark lags, the coordinator moves and loses what was not replicated,
//! while markers that its predecessor has handed out are still written; producer ids run out, epochs are used up, transactions time out.
//!
//! Held at every moment: all partitions of a transaction get markers of one outcome; an acknowledged commit is never aborted, nor the other way
//! round; what a producer writes after another one took over is never committed; every request is answered exactly once; the state at the high
//! watermark is what the log up to there says. When the chaos stops: every transaction has an end in every partition that it wrote to.
//!
//! Which schedules run is for the environment to say: see `seeds`. A failure prints its seed and the end of its trace.

mod coordinator;
mod ledger;
mod partition;
mod producer;
mod world;

use crate::seeds;

/// Runs one schedule; on failure what went wrong, with the last lines of the trace.
fn run(seed: u64) -> Result<world::Stats, String> {
    let caught = std::panic::catch_unwind(|| world::World::new(seed, false).run());
    if let Ok(Ok(stats)) = caught {
        return Ok(stats);
    }
    let mut world = world::World::new(seed, true);
    let why = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run())) {
        Ok(Ok(_)) => "not again: the model is not deterministic".to_owned(),
        Ok(Err(why)) => why,
        Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned()),
    };
    Err(seeds::report(seed, &why, &world.trace))
}

#[test]
fn random_schedules_keep_every_promise() {
    let mut total = world::Stats::default();
    for seed in seeds::seeds() {
        match run(seed) {
            Ok(stats) => total.add(&stats),
            Err(why) => panic!("{why}"),
        }
    }
    println!("{total:?}");
    assert!(total.commits > 0 && total.aborts > 0 && total.fenced > 0 && total.failovers > 0 && total.rotations > 0, "{total:?}");
}

#[test]
fn a_seed_gives_the_same_schedule_twice() {
    let traces = [(); 2].map(|()| {
        let mut world = world::World::new(7, true);
        world.run().unwrap();
        world.trace
    });
    assert!(traces[0].len() > 100);
    assert!(traces[0] == traces[1]);
}

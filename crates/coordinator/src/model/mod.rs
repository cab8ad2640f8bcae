//! A model test: groups of both protocols, and groups that move from one to the other, under a virtual clock. A schedule is made from a seed:
//! members join, leave, crash, freeze and are cut off; topics come, grow and go; appends fail, replicas lag, the coordinator moves and loses what
//! was not replicated. The clients behave as Java's do (`classic` as AbstractCoordinator and ConsumerCoordinator, `consumer` as
//! ConsumerMembershipManager and its heartbeats).
//!
//! Held at every moment: nobody owns a partition that another member owns whom the coordinator still counts; a commit of a member that was
//! fenced, or is behind, is refused; a committed offset never goes back; every request is answered exactly once. When the chaos stops: the
//! group becomes stable with everybody in it and every partition owned once; a shard replayed from the log equals the live one; and when
//! all have gone nothing is left.
//!
//! Which schedules run is for the environment to say: see `seeds`. A failure prints its seed and the end of its trace.

mod classic;
mod client;
mod consumer;
mod coordinator;
mod ledger;
mod plan;
mod settle;
mod world;

use base::Uuid;

use crate::seeds;

/// Virtual milliseconds since the start.
type Ms = u64;
/// The number of a topic, and a partition of it. A name is never used again for another topic.
type Tp = (u32, i32);

fn topic_name(number: u32) -> String {
    format!("t{number}")
}

fn topic_id(number: u32) -> Uuid {
    Uuid::from_u128(1_000 + u128::from(number))
}

fn topic_number(id: Uuid) -> u32 {
    (id.as_u128() - 1_000) as u32
}

fn number_of(name: &str) -> Option<u32> {
    name.strip_prefix('t')?.parse().ok()
}

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
    let mut failures = Vec::new();
    for seed in seeds::seeds() {
        match run(seed) {
            Ok(stats) => total.add(&stats),
            Err(why) => failures.push(why),
        }
        if failures.len() >= seeds::failures_max() {
            break;
        }
    }
    println!("{total:?}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
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

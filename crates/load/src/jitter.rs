//! No broker at all: threads, one a core, that are due ten thousand times a second and do nothing, or compute for a share of the time. How late
//! they are done is what the machine and its system do to everybody's tail latencies, and no broker is better than that. A virtual machine
//! may lose a processor for milliseconds, and more often the more it uses it.

use crate::Result;
use crate::figures::Figures;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_micros(100);

pub fn run(args: &[String]) -> Result<Figures> {
    let [seconds, busy_percent] = args else { return Err("jitter SECONDS BUSY_PERCENT".into()) };
    let seconds: u32 = seconds.parse()?;
    let busy = PERIOD * busy_percent.parse()? / 100;
    let threads = thread::available_parallelism()?.get();
    let running: Vec<_> = (0..threads).map(|_| thread::spawn(move || late(Duration::from_secs(u64::from(seconds)), busy))).collect();
    let mut micros = Vec::new();
    for thread in running {
        micros.extend(thread.join().map_err(|_| "a thread ended early")?);
    }
    let mut figures = Figures::default();
    figures.add_latencies("late", micros);
    Ok(figures)
}

/// By how many microseconds each piece of work is done later than it could be.
fn late(run: Duration, busy: Duration) -> Vec<u64> {
    crate::tail::step_forward();
    let start = Instant::now();
    let pieces = (run.as_nanos() / PERIOD.as_nanos()) as u32;
    let mut late = Vec::with_capacity(pieces as usize);
    for n in 0..pieces {
        let due = start + PERIOD * n;
        sleep(due.saturating_duration_since(Instant::now()));
        let done = Instant::now() + busy;
        while Instant::now() < done {
            std::hint::spin_loop();
        }
        late.push(due.elapsed().saturating_sub(busy).as_micros() as u64);
    }
    late
}

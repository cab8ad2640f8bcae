//! No broker at all: a thread that is due ten thousand times a second and does nothing. How late it wakes is what the machine and its system do to
//! everybody's tail latencies, and no broker is better than that.

use crate::Result;
use crate::figures::Figures;
use std::thread::sleep;
use std::time::{Duration, Instant};

const PER_SECOND: u32 = 10_000;

pub fn run(args: &[String]) -> Result<Figures> {
    let [seconds] = args else { return Err("jitter SECONDS".into()) };
    let seconds: u32 = seconds.parse()?;
    crate::tail::step_forward();
    let start = Instant::now();
    let mut late = Vec::with_capacity((seconds * PER_SECOND) as usize);
    for n in 0..seconds * PER_SECOND {
        let due = start + Duration::from_secs(1) / PER_SECOND * n;
        sleep(due.saturating_duration_since(Instant::now()));
        late.push(due.elapsed().as_micros() as u64);
    }
    let mut figures = Figures::default();
    figures.add_latencies("late", late);
    Ok(figures)
}

//! Owns: exponential backoff with jitter. Kafka: `ExponentialBackoff` (multiplier 2, jitter 0.2).

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct ExponentialBackoff {
    pub initial: Duration,
    pub max: Duration,
}

impl ExponentialBackoff {
    /// The pause before attempt number `attempts + 1`; `attempts` counts failures so far, starting at 0.
    pub fn delay(&self, attempts: u32, rng: &mut fastrand::Rng) -> Duration {
        let factor = f64::from(2u32.saturating_pow(attempts.min(20)));
        let plain = (self.initial.as_secs_f64() * factor).min(self.max.max(self.initial).as_secs_f64());
        let jitter = 0.8 + 0.4 * rng.f64();
        Duration::from_secs_f64((plain * jitter).min(self.max.max(self.initial).as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_maximum() {
        let backoff = ExponentialBackoff { initial: Duration::from_millis(100), max: Duration::from_secs(1) };
        let mut rng = fastrand::Rng::with_seed(7);
        for (attempts, low, high) in [(0, 80, 120), (1, 160, 240), (3, 640, 960), (30, 800, 1000)] {
            let delay = backoff.delay(attempts, &mut rng).as_millis();
            assert!((low..=high).contains(&delay), "{attempts}: {delay}");
        }
    }
}

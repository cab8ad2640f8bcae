//! What records carry: letters at random, as Apache's perf tool makes them, or events as services write them, in JSON.

use crate::Result;
use crate::figures::Figures;
use std::fmt::Write as _;

/// The bytes of an event of `Payload::Events`, about.
const EVENT: usize = 1024;
/// The bytes of a record of `Payload::Small`.
const SMALL: usize = 100;

const WORDS: [&str; 32] = [
    "checkout", "shipping", "payment", "catalog", "search", "session", "profile", "review", "coupon", "basket", "order", "invoice",
    "refund", "return", "wishlist", "notify", "email", "mobile", "desktop", "tablet", "berlin", "madrid", "london", "paris", "warsaw",
    "vienna", "oslo", "rome", "lisbon", "dublin", "athens", "prague",
];

#[derive(Clone, Copy)]
pub enum Payload {
    /// 1 KiB of random capital letters.
    Letters,
    /// A JSON event of about 1 KiB, no two alike.
    Events,
    /// The first 100 bytes of one.
    Small,
}

impl Payload {
    pub fn from_name(name: &str) -> Result<Payload> {
        Ok(match name {
            "letters" => Payload::Letters,
            "events" => Payload::Events,
            "small" => Payload::Small,
            _ => return Err(format!("payload '{name}': letters, events or small").into()),
        })
    }

    pub fn record(self, rng: &mut fastrand::Rng) -> Vec<u8> {
        match self {
            Payload::Letters => (0..EVENT).map(|_| rng.u8(b'A'..=b'Z')).collect(),
            Payload::Events => event(rng, EVENT).into_bytes(),
            Payload::Small => {
                let mut event = event(rng, 2 * SMALL).into_bytes();
                event.truncate(SMALL);
                event
            }
        }
    }
}

/// Identifiers and numbers that no codec makes smaller, names that repeat within a record and from one to the next.
fn event(rng: &mut fastrand::Rng, bytes: usize) -> String {
    let word = |rng: &mut fastrand::Rng| WORDS[rng.usize(..WORDS.len())];
    let mut text = format!(
        "{{\"id\":\"{:016x}{:016x}\",\"time\":\"2026-03-{:02}T{:02}:{:02}:{:02}.{:03}Z\"",
        rng.u64(..),
        rng.u64(..),
        rng.u8(1..29),
        rng.u8(..24),
        rng.u8(..60),
        rng.u8(..60),
        rng.u16(..1000)
    );
    let _ = write!(text, ",\"type\":\"{}.{}\",\"user\":{},\"items\":[", word(rng), word(rng), rng.u32(..1_000_000));
    while text.len() + 80 < bytes {
        let _ = write!(text, "{{\"sku\":\"{:06}\",\"name\":\"{} {}\"", rng.u32(..1_000_000), word(rng), word(rng));
        let _ = write!(text, ",\"quantity\":{},\"price\":{}.{:02}}},", rng.u8(1..10), rng.u16(..500), rng.u8(..100));
    }
    text.push_str("{}]}");
    text
}

/// Prints records, one a line, for tools that read a payload file.
pub fn run(args: &[String]) -> Result<Figures> {
    let [payload, count, file] = args else {
        return Err("payload letters|events|small RECORDS FILE".into());
    };
    let payload = Payload::from_name(payload)?;
    let mut rng = fastrand::Rng::with_seed(7);
    let mut lines = Vec::new();
    let count: usize = count.parse()?;
    for _ in 0..count {
        lines.extend(payload.record(&mut rng));
        lines.push(b'\n');
    }
    std::fs::write(file, &lines)?;
    let mut figures = Figures::default();
    figures.add("records", count as f64);
    figures.add("bytes", (lines.len() - count) as f64);
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_their_size_and_are_text_of_one_line() {
        let mut rng = fastrand::Rng::with_seed(1);
        for (payload, sizes) in [(Payload::Letters, 1024..=1024), (Payload::Events, 940..=1024), (Payload::Small, 100..=100)] {
            for _ in 0..50 {
                let record = payload.record(&mut rng);
                assert!(sizes.contains(&record.len()), "{}", record.len());
                assert!(record.iter().all(|byte| (b' '..=b'~').contains(byte)));
            }
        }
    }
}

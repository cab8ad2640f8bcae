//! The recorded counts, one line a piece in `ceilings.txt`, and how far a count may be above them. Falling below is for the next
//! recording.

use crate::callgrind::Counted;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A tenth more instructions than recorded: compilers differ by less, a mistake costs more.
const MARGIN: u64 = 10;

pub type Ceilings = BTreeMap<String, Counted>;

const HEAD: &str = "# Instructions and allocations per run of each piece, as recorded with COUNTS_RECORD=1 (CONTRIBUTING.md).\n\
                    # A test fails when a piece needs a tenth more instructions, or more allocations.\n";

/// `runs` repetitions, as one.
pub fn per_run(counted: Counted, runs: usize) -> Counted {
    let runs = runs.max(1) as u64;
    Counted { instructions: counted.instructions / runs, allocations: counted.allocations.div_ceil(runs) }
}

pub fn parse(text: &str) -> Result<Ceilings, String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [name, instructions, allocations] = fields[..] else { return Err(format!("'{line}' is not a name and two numbers")) };
            let number = |text: &str| text.parse().map_err(|_| format!("'{text}' in '{line}' is not a number"));
            Ok((name.to_owned(), Counted { instructions: number(instructions)?, allocations: number(allocations)? }))
        })
        .collect()
}

pub fn format(ceilings: &Ceilings) -> String {
    let mut text = HEAD.to_owned();
    for (name, counted) in ceilings {
        let _ = writeln!(text, "{name:32} {:>10} {:>6}", counted.instructions, counted.allocations);
    }
    text
}

/// Why a count is refused.
pub fn check(name: &str, counted: Counted, recorded: Option<&Counted>) -> Result<(), String> {
    let Some(recorded) = recorded else { return Err(format!("{name} has no recorded counts: {counted:?}")) };
    let most = recorded.instructions + recorded.instructions / MARGIN;
    if counted.instructions > most {
        let more = counted.instructions * 100 / recorded.instructions.max(1) - 100;
        let (now, was) = (counted.instructions, recorded.instructions);
        return Err(format!("{name} takes {now} instructions a run, {more} % more than the recorded {was}; at most {most} are allowed"));
    }
    if counted.allocations > recorded.allocations {
        return Err(format!("{name} allocates {} times a run, recorded are {}", counted.allocations, recorded.allocations));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(instructions: u64, allocations: u64) -> Counted {
        Counted { instructions, allocations }
    }

    #[test]
    fn what_is_written_is_read() {
        let ceilings = Ceilings::from([("a".to_owned(), counted(100, 0)), ("b".to_owned(), counted(7, 3))]);
        assert_eq!(parse(&format(&ceilings)), Ok(ceilings));
        assert!(parse("a 1").is_err());
        assert!(parse("a 1 many").is_err());
    }

    #[test]
    fn a_tenth_more_is_allowed_and_no_allocation_more() {
        let recorded = counted(1000, 5);
        assert_eq!(check("p", counted(1100, 5), Some(&recorded)), Ok(()));
        assert!(check("p", counted(1101, 5), Some(&recorded)).unwrap_err().contains("10 % more than the recorded 1000"));
        assert!(check("p", counted(10, 6), Some(&recorded)).is_err());
        assert!(check("p", counted(10, 6), None).is_err());
    }

    #[test]
    fn the_share_of_an_allocation_counts_as_one() {
        assert_eq!(per_run(counted(1005, 21), 10), counted(100, 3));
    }
}

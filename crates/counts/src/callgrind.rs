//! Counts with valgrind's callgrind: instructions executed, and entries into the allocator, by one function and all that it calls.
//!
//! Valgrind runs the program on a processor of its own making: the best that it knows and the host has (AVX2 on any x86-64 of the last ten
//! years, never AVX-512). CRC-32C is thus counted with the CRC instruction, and compression with the AVX2 ways of its libraries, as on
//! such a host. The C library would choose its way to copy by the model of the host; it is told one for all. System calls count as one
//! instruction: what the kernel does is not seen here.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::process::Command;

/// Matches the one function of the program that is counted.
const COUNTED: &str = "*counted_runs*";
/// Copies by AVX loads and stores, whatever their size: `rep movsb` counts as one instruction a byte, and from which size on the C library
/// uses it depends on the model.
const COPYING: &str = "glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000:\
                       glibc.cpu.x86_non_temporal_threshold=1000000000";
/// What Rust's allocator calls in the C library.
const ALLOCATORS: [&str; 5] = ["malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub instructions: u64,
    pub allocations: u64,
}

pub fn is_installed() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|out| out.status.success())
}

/// Runs the program under valgrind. The profile stays in `out`, for callgrind_annotate.
pub fn count(program: &Path, args: &[&str], out: &Path) -> io::Result<Counted> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet", "--compress-pos=no", "--dump-line=no", "--dump-instr=yes", "--collect-atstart=no"]);
    command.arg(format!("--toggle-collect={COUNTED}")).arg(format!("--callgrind-out-file={}", out.display()));
    // Nothing of the caller's surroundings: their size moves the stack.
    command.arg(program).args(args).env_clear().env("GLIBC_TUNABLES", COPYING);
    for kept in ["PATH", "TMPDIR"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    let run = command.output()?;
    if !run.status.success() {
        return Err(io::Error::other(format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr))));
    }
    parse(&std::fs::read_to_string(out)?).ok_or_else(|| io::Error::other(format!("{} has no totals", out.display())))
}

/// Reads a profile: its total, and how often the allocator's functions were entered, which is the cost of their lowest address. (The calls
/// in a profile are those of the whole run.) Names appear in full once, as `(id) name`, and then as `(id)`.
fn parse(profile: &str) -> Option<Counted> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut entries: HashMap<&str, (u64, u64)> = HashMap::new();
    let (mut totals, mut function, mut inclusive) = (None, "", false);
    for line in profile.lines() {
        match line.split_once(['=', ':']) {
            Some(("fn", value)) => function = name(&mut names, value),
            Some(("cfn", value)) => drop(name(&mut names, value)),
            // The next line says what the called function and all below it cost.
            Some(("calls", _)) => inclusive = true,
            Some(("totals", value)) => totals = value.trim().parse().ok(),
            None if std::mem::take(&mut inclusive) || !ALLOCATORS.contains(&function) => {}
            None => {
                let Some((address, cost)) = line.strip_prefix("0x").and_then(|line| line.split_once(' ')) else { continue };
                let (address, cost) = (u64::from_str_radix(address, 16).ok()?, cost.parse().ok()?);
                let entry = entries.entry(function).or_insert((address, 0));
                match address.cmp(&entry.0) {
                    Ordering::Less => *entry = (address, cost),
                    Ordering::Equal => entry.1 += cost,
                    Ordering::Greater => {}
                }
            }
            Some(_) => {}
        }
    }
    Some(Counted { instructions: totals?, allocations: entries.values().map(|(_, cost)| cost).sum() })
}

fn name<'a>(names: &mut HashMap<&'a str, &'a str>, value: &'a str) -> &'a str {
    match value.split_once(' ') {
        Some((id, name)) => {
            names.insert(id, name);
            name
        }
        None => names.get(value).copied().unwrap_or(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocator_is_entered_at_its_lowest_address() {
        let profile = "events: Ir\nfn=(1) counted_runs\n0x10 10\ncfn=(2) malloc\ncalls=300 0\n0x12 30\ncfn=(3) realloc\ncalls=200 0\n0x14 5\n\
                       fn=(3)\n0x30 2\n0x32 7\ncfn=(2)\ncalls=900 0\n0x2 5\n\nfn=(2)\n0x24 50\n0x20 3\n0x28 9\nfn=(2)\n0x20 1\n\
                       fn=(4) mallocate\n0x1 99\ntotals: 1234\n";
        assert_eq!(parse(profile), Some(Counted { instructions: 1234, allocations: 6 }));
        assert_eq!(parse("events: Ir\n"), None);
    }
}

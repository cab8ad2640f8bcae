//! Every piece runs; built with optimisation, no piece takes more instructions or allocations than recorded.

use counts::pieces::{PIECES, Piece};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const PROGRAM: &str = env!("CARGO_BIN_EXE_counts");

/// Runs something for every piece, as many at once as there are processors: counts do not mind.
fn for_each<T: Send>(work: impl Fn(&Piece) -> T + Sync) -> Vec<(&'static str, T)> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(piece) = PIECES.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(piece);
                    done.lock().unwrap().push((piece.name, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(name, _)| *name);
    done
}

/// However this was built, every piece does the same in each of its runs.
#[test]
fn every_piece_runs() {
    let outcomes = for_each(|piece| Command::new(PROGRAM).args(["run", piece.name]).output().unwrap());
    let failed: Vec<_> = outcomes.iter().filter(|(_, out)| !out.status.success()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// What is recorded holds for the profile `counts` on x86-64: `cargo test --profile counts --package counts`. With COUNTS_RECORD=1 that
/// records what there is now. The profile of each piece stays in the target directory, under `tmp`, for callgrind_annotate.
#[cfg(all(not(debug_assertions), target_arch = "x86_64"))]
mod counted {
    use super::*;
    use counts::callgrind::{self, Counted};
    use counts::ceilings::{self, Ceilings};
    use std::path::Path;

    const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/ceilings.txt");

    #[test]
    fn no_piece_is_above_its_ceiling() {
        assert!(callgrind::is_installed(), "valgrind is missing; install it with this machine's package manager");
        let counted: Ceilings = for_each(count).into_iter().map(|(name, counted)| (name.to_owned(), counted)).collect();
        if std::env::var_os("COUNTS_RECORD").is_some() {
            std::fs::write(RECORDED, ceilings::format(&counted)).unwrap();
        }
        print!("{}", ceilings::format(&counted));
        let recorded = ceilings::parse(&std::fs::read_to_string(RECORDED).unwrap()).unwrap();
        let mut wrong: Vec<_> = counted.iter().filter_map(|(name, now)| ceilings::check(name, *now, recorded.get(name)).err()).collect();
        wrong.extend(recorded.keys().filter(|name| !counted.contains_key(*name)).map(|name| format!("{name} is recorded and no piece")));
        let how = "if it has to be so, COUNTS_RECORD=1 cargo test --profile counts --package counts records it";
        assert!(wrong.is_empty(), "{}\n{how}", wrong.join("\n"));
    }

    fn count(piece: &Piece) -> Counted {
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.callgrind", piece.name));
        let counted = callgrind::count(Path::new(PROGRAM), &["run", piece.name], &profile);
        ceilings::per_run(counted.unwrap_or_else(|e| panic!("{}: {e}", piece.name)), piece.runs)
    }
}

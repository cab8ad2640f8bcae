//! `counts list`, and `counts run NAME`: one piece, warmed up and then repeated in a function that valgrind counts by its name.

use counts::pieces::{PIECES, Piece};
use std::hint::black_box;
use std::process::ExitCode;

/// Runs before the counted ones: what is made once is there then, and buffers have their size.
const WARM_UP: usize = 8;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let piece = |name: &String| PIECES.iter().find(|piece| piece.name == name);
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => PIECES.iter().for_each(|piece| println!("{:32} {}", piece.name, piece.what)),
        ["run", _] => match piece(&args[1]) {
            Some(piece) => run(piece),
            None => return usage(),
        },
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: counts list | run NAME");
    ExitCode::FAILURE
}

fn run(piece: &Piece) {
    let mut repeat = (piece.prepare)(WARM_UP + piece.runs);
    let first: Vec<usize> = (0..WARM_UP).map(|_| repeat()).collect();
    let last = counted_runs(&mut *repeat, piece.runs);
    // What is not the same every time cannot be divided by the number of times.
    assert!(first[0] > 0 && first.iter().all(|size| *size == last), "{} does not do the same every time: {first:?}, {last}", piece.name);
}

/// The only function whose instructions count, with all that it calls; `callgrind::COUNTED` is its name.
#[inline(never)]
fn counted_runs(repeat: &mut dyn FnMut() -> usize, runs: usize) -> usize {
    let mut last = 0;
    for _ in 0..runs {
        last = black_box(repeat());
    }
    last
}

//! What the machine asks for bytes that are produced and consumed, with nothing but the work that cannot be left out: one thread receives frames
//! from a socket, runs their batches through CRC-32C and writes each batch to the end of its file; then it sends the files to another socket,
//! without a copy. No protocol, no offsets, no answers: what a broker takes beyond this is its own.

use crate::Result;
use crate::figures::Figures;
use rustix::time::{ClockId, clock_gettime};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;

const FILES: usize = 6;
/// As much as a broker sends of a file at a time.
const PIECE: usize = 256 * 1024;

/// `DIRECTORY BATCH_BYTES MEGABYTES`; a frame has a batch for each of six files in the directory.
pub fn run(args: &[String]) -> Result<Figures> {
    let [dir, batch_bytes, megabytes] = args else {
        return Err("limit DIRECTORY BATCH_BYTES MEGABYTES".into());
    };
    let (dir, batch_bytes): (&Path, usize) = (dir.as_ref(), batch_bytes.parse()?);
    let frames = megabytes.parse::<usize>()? * 1_000_000 / (batch_bytes * FILES).max(1);
    fs::create_dir_all(dir)?;
    let paths: Vec<_> = (0..FILES).map(|n| dir.join(format!("limit-{n}"))).collect();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // What sends by timers, as BBR does, costs more; between two programs of one machine nobody needs that.
    rustix::net::sockopt::set_tcp_congestion(&listener, "reno")?;
    let address = listener.local_addr()?;
    let sender = std::thread::spawn(move || send(TcpStream::connect(address)?, batch_bytes, frames));
    let seconds = receive(listener.accept()?.0, &paths, batch_bytes, frames);
    let reader = std::thread::spawn(move || read_all(TcpStream::connect(address)?));
    let sending = send_files(listener.accept()?.0, &paths);
    for path in &paths {
        // Dropped before the kernel writes it back.
        let _ = fs::remove_file(path);
    }
    sender.join().map_err(|_| "the sender panicked")??;
    reader.join().map_err(|_| "the reader panicked")??;
    let gigabytes = (frames * FILES * batch_bytes) as f64 / 1e9;
    let mut figures = Figures::default();
    for (name, seconds) in ["receive", "checksum", "write"].iter().zip(seconds?) {
        figures.add(format!("{name}_s_per_gb"), seconds / gigabytes);
    }
    figures.add("send_s_per_gb", sending? / gigabytes);
    Ok(figures)
}

fn send(mut stream: TcpStream, batch_bytes: usize, frames: usize) -> std::io::Result<()> {
    let frame = vec![b'x'; batch_bytes * FILES];
    (0..frames).try_for_each(|_| stream.write_all(&frame))
}

/// CPU seconds of this thread for receiving, for checksums and for writing.
fn receive(mut stream: TcpStream, paths: &[impl AsRef<Path>], batch_bytes: usize, frames: usize) -> Result<[f64; 3]> {
    let files = paths.iter().map(File::create).collect::<std::io::Result<Vec<_>>>()?;
    let mut frame = vec![0; batch_bytes * FILES];
    let mut seconds = [0.0; 3];
    let mut checksum = 0;
    for n in 0..frames {
        let begin = cpu_seconds();
        stream.read_exact(&mut frame)?;
        let received = cpu_seconds();
        checksum = frame.chunks(batch_bytes).fold(checksum, |all, batch| all ^ record::crc32c(batch));
        let checked = cpu_seconds();
        for (file, batch) in files.iter().zip(frame.chunks(batch_bytes)) {
            file.write_all_at(batch, (n * batch_bytes) as u64)?;
        }
        let written = cpu_seconds();
        for (sum, spent) in seconds.iter_mut().zip([received - begin, checked - received, written - checked]) {
            *sum += spent;
        }
    }
    std::hint::black_box(checksum);
    Ok(seconds)
}

/// CPU seconds of this thread for sending all files, which lie in the page cache.
fn send_files(stream: TcpStream, paths: &[impl AsRef<Path>]) -> Result<f64> {
    let files = paths.iter().map(File::open).collect::<std::io::Result<Vec<_>>>()?;
    let begin = cpu_seconds();
    for file in &files {
        while rustix::fs::sendfile(&stream, file, None, PIECE)? > 0 {}
    }
    Ok(cpu_seconds() - begin)
}

/// Takes what comes and forgets it.
fn read_all(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 1024 * 1024];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

//! The process as the operating system sees it, under the names of Prometheus' own client libraries; and the space on the disks.

use super::page::{Kind, Label, Page};
use std::path::PathBuf;

pub fn write(page: &mut Page, started_wall_ms: i64) {
    page.gauge("process_start_time_seconds", "When the process started, in Unix time", started_wall_ms as f64 / 1000.0);
    let Some(process) = ProcessInfo::read() else { return };
    page.family(Kind::Counter, "process_cpu_seconds", "User and system time").sample(&[], process.cpu_seconds);
    page.gauge("process_resident_memory_bytes", "Resident memory", process.resident_bytes);
    page.gauge("process_virtual_memory_bytes", "Address space", process.virtual_bytes);
    page.gauge("process_open_fds", "Open file descriptors", process.open_fds);
    page.gauge("process_max_fds", "Limit of open file descriptors", process.max_fds);
    page.gauge("process_threads", "Threads", process.threads);
}

/// Free and total space of each log directory's file system.
pub fn disks(page: &mut Page, dirs: &[PathBuf]) {
    let space: Vec<(std::borrow::Cow<str>, u64, u64)> = dirs
        .iter()
        .filter_map(|dir| {
            let stat = rustix::fs::statvfs(dir).ok()?;
            Some((dir.to_string_lossy(), stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
        })
        .collect();
    let mut family = page.family(Kind::Gauge, "gregor_log_directory_free_bytes", "Free space on the disk of a log directory");
    space.iter().for_each(|(dir, free, _)| family.sample(&[("directory", Label::Text(dir))], free));
    let mut family = page.family(Kind::Gauge, "gregor_log_directory_total_bytes", "Size of the disk of a log directory");
    space.iter().for_each(|(dir, _, total)| family.sample(&[("directory", Label::Text(dir))], total));
}

struct ProcessInfo {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_fds: usize,
    max_fds: u64,
    threads: u64,
}

impl ProcessInfo {
    /// From /proc; `None` where there is none.
    fn read() -> Option<ProcessInfo> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The command's name, in parentheses, may hold blanks; fields are counted from behind it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(ProcessInfo {
            // In ticks of 10 ms on every Linux that Rust supports.
            cpu_seconds: (number(11)? + number(12)?) as f64 / 100.0,
            resident_bytes: resident.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024,
            virtual_bytes: number(20)?,
            open_fds: open_fds().ok()?,
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX),
            threads: number(17)?,
        })
    }
}

/// Since Linux 6.2 the directory's size is their number; listing tens of thousands takes a while.
fn open_fds() -> std::io::Result<usize> {
    match std::fs::metadata("/proc/self/fd")?.len() {
        0 => Ok(std::fs::read_dir("/proc/self/fd")?.count()),
        count => Ok(count as usize),
    }
}

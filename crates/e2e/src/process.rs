//! Child processes: output captured into files or strings, signals, killed on drop.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::wait::until;

/// What a program that ended left behind.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// The standard output; panics with everything there is when the exit code is not 0.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "exit code; stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs to the end, `input` on its standard input; killed after `limit`.
pub fn run(command: &mut Command, input: &str, limit: Duration) -> Finished {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let pid = pid_of(&child);
    let mut stdin = child.stdin.take();
    let input = input.to_owned();
    let feeder = std::thread::spawn(move || {
        if let Some(pipe) = stdin.as_mut() {
            let _ = pipe.write_all(input.as_bytes()); // a program may end before it read everything
        }
    });
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if ended.recv_timeout(limit).is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().expect("output of a child");
    drop(done);
    let _ = (feeder.join(), watchdog.join());
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// A program that runs until it is told to stop. Its output goes to files. Killed (-9) when dropped.
pub struct Running {
    child: Child,
    pub stdin: Option<ChildStdin>,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Standard output is appended to `out`, standard error to `err` (they may be the same file).
    pub fn spawn(command: &mut Command, out: &Path, err: &Path) -> Self {
        let open = |path: &Path| File::options().create(true).append(true).open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut child =
            command.stdin(Stdio::piped()).stdout(open(out)).stderr(open(err)).spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdin = child.stdin.take();
        Self { child, stdin, out: out.to_owned(), err: err.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stdout(&self) -> String {
        read(&self.out)
    }

    pub fn stderr(&self) -> String {
        read(&self.err)
    }

    /// The exit status when it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("state of a child")
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(pid_of(&self.child), signal); // it may have ended already
    }

    /// SIGTERM, then waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        until("the process ends after SIGTERM", || self.ended())
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Closes its standard input and waits for the end.
    pub fn finish(&mut self) -> ExitStatus {
        self.stdin = None;
        until("the process ends by itself", || self.ended())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

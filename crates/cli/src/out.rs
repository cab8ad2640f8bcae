//! Owns: printing. A reader that went away (`| head`) is no error, as in Java: what cannot be written is dropped.

/// A line on stdout.
macro_rules! say {
    () => {{ use std::io::Write; let _ = writeln!(std::io::stdout()); }};
    ($($arg:tt)*) => {{ use std::io::Write; let _ = writeln!(std::io::stdout(), $($arg)*); }};
}

/// Part of a line on stdout, shown at once.
macro_rules! say_part {
    ($($arg:tt)*) => {{ use std::io::Write; let mut out = std::io::stdout(); let _ = write!(out, $($arg)*); let _ = out.flush(); }};
}

/// A line on stderr.
macro_rules! complain {
    ($($arg:tt)*) => {{ use std::io::Write; let _ = writeln!(std::io::stderr(), $($arg)*); }};
}

/// Part of a line on stderr.
macro_rules! complain_part {
    ($($arg:tt)*) => {{ use std::io::Write; let _ = write!(std::io::stderr(), $($arg)*); }};
}

pub(crate) use {complain, complain_part, say, say_part};

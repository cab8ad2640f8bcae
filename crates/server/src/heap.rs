//! Free memory goes back to the system now and then. glibc keeps an arena for every few threads and gives back only what is free at an arena's
//! end, so that a node at the same load for hours would grow by what lies free between long-lived pieces.

use std::time::Duration;

/// How often: rare enough that nobody meets it (0.5 to 0.8 ms with 5 MB of heap, watched by strace), often enough that a peak does not stay.
pub const INTERVAL: Duration = Duration::from_secs(30);

/// Gives free pages of all arenas back.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there is no safe binding of this function of glibc")]
pub fn trim() {
    // SAFETY: takes an integer and may be called from any thread at any time (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators see to it themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn trim() {}

//! What only the start needed of the program leaves memory. For every page of it that is touched the kernel maps the 64 KiB around it, so that a node
//! that has started holds most of its code, and a node at rest runs little of it.

/// Unmaps the program's code; what still runs is mapped again as it is touched, from the page cache where it stays.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "there is no safe binding of madvise")]
pub fn let_go_of_code() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let Some(code) = maps.lines().find_map(|line| mapping_with(line, let_go_of_code as *const () as usize)) else { return };
    // SAFETY: nobody writes to a mapping that can be executed and not written, so that each page of it is what the file has there: the kernel reads it
    // from there when it is touched next (madvise(2), MADV_DONTNEED).
    unsafe { libc::madvise(code.start as *mut libc::c_void, code.len(), libc::MADV_DONTNEED) };
}

/// Other systems see to it themselves.
#[cfg(not(target_os = "linux"))]
pub fn let_go_of_code() {}

/// The addresses of a line of /proc/self/maps, if `address` is among them, in a file of which nothing can be written there.
#[cfg(target_os = "linux")]
fn mapping_with(line: &str, address: usize) -> Option<std::ops::Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    (range.contains(&address) && words.next()? == "r-xp" && words.nth(3).is_some()).then_some(range)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_a_file_is_let_go_of() {
        let code = "55d0c1a00000-55d0c2900000 r-xp 00416000 fe:00 1234                       /usr/bin/gregor";
        assert_eq!(mapping_with(code, 0x55d0_c1a0_0000), Some(0x55d0_c1a0_0000..0x55d0_c290_0000));
        assert_eq!(mapping_with(code, 0x55d0_c290_0000), None);
        for other in
            [code.replace("r-xp", "rwxp"), code.replace("r-xp", "r-xs"), code.replace("r-xp", "r--p"), code.replace("/usr/bin/gregor", "")]
        {
            assert_eq!(mapping_with(&other, 0x55d0_c1a0_0000), None, "{other}");
        }
        for other in ["", "vsyscall", "zz-yy r-xp 0 0 0 /x", "1-ffffffffffffffffff r-xp 0 0 0 /x"] {
            assert_eq!(mapping_with(other, 1), None);
        }
    }

    /// Resident KiB of this program's code.
    fn resident() -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines().skip_while(|line| mapping_with(line, resident as *const () as usize).is_none());
        let rss = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        rss.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn code_leaves_memory_and_comes_back() {
        let before = resident();
        let_go_of_code();
        assert!(resident() < before, "{} of {before} KiB are left", resident());
        assert_eq!((1..=10).map(|n| n.to_string()).collect::<Vec<_>>().join(","), "1,2,3,4,5,6,7,8,9,10");
    }
}

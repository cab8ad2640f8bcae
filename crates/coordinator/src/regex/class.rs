//! Owns: sets of ASCII characters, and which of them the classes of RE2 stand for. Never does: remember any other character.

use std::fmt::Write;

/// Bit n is the character n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Class(pub(super) u128);

const LOWER: u128 = ((1 << 26) - 1) << b'a';
const UPPER: u128 = ((1 << 26) - 1) << b'A';
const DIGIT: u128 = ((1 << 10) - 1) << b'0';
const WORD: u128 = LOWER | UPPER | DIGIT | 1 << b'_';

/// The two characters beyond ASCII that are another case of ASCII ones, and those.
const FOLDS: [(u32, u128); 2] = [(0x17f, 1 << b'S' | 1 << b's'), (0x212a, 1 << b'K' | 1 << b'k')];

impl Class {
    pub(super) const ALL: Class = Class(u128::MAX);

    /// Both ends are code points of any value.
    pub(super) fn range(first: u32, last: u32, fold_case: bool) -> Self {
        let mut set = 0;
        if first < 128 {
            let last = last.min(127);
            set = (u128::MAX >> (127 - last)) & (u128::MAX << first);
        }
        if fold_case {
            set |= (set & LOWER) >> 32 | (set & UPPER) << 32;
            set |= FOLDS.iter().filter(|(other, _)| (first..=last).contains(other)).fold(0, |all, (_, folds)| all | folds);
        }
        Class(set)
    }

    /// `\d`, `\S` and such, by their letter.
    pub(super) fn perl(letter: char) -> Option<Self> {
        let space = 1 << b'\t' | 1 << b'\n' | 1 << 0x0c | 1 << b'\r' | 1 << b' ';
        Some(match letter {
            'd' => Class(DIGIT),
            'D' => Class(!DIGIT),
            's' => Class(space),
            'S' => Class(!space),
            'w' => Class(WORD),
            'W' => Class(!WORD),
            _ => return None,
        })
    }

    /// `[:alpha:]` and such, by what stands between the colons.
    pub(super) fn posix(name: &str, fold_case: bool) -> Option<Self> {
        let (name, negated) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let mut set = match name {
            "alnum" => LOWER | UPPER | DIGIT,
            "alpha" => LOWER | UPPER,
            "ascii" => u128::MAX,
            "blank" => 1 << b'\t' | 1 << b' ',
            "cntrl" => ((1 << 32) - 1) | 1 << 127,
            "digit" => DIGIT,
            "graph" => Class::range(0x21, 0x7e, false).0,
            "lower" => LOWER,
            "print" => Class::range(0x20, 0x7e, false).0,
            "punct" => Class::range(0x21, 0x7e, false).0 & !(LOWER | UPPER | DIGIT),
            "space" => Class::range(0x9, 0xd, false).0 | 1 << b' ',
            "upper" => UPPER,
            "word" => WORD,
            "xdigit" => DIGIT | (0x3f << b'A') | (0x3f << b'a'),
            _ => return None,
        };
        if fold_case {
            set |= (set & LOWER) >> 32 | (set & UPPER) << 32;
        }
        Some(Class(if negated { !set } else { set }))
    }

    pub(super) fn union(self, other: Class) -> Self {
        Class(self.0 | other.0)
    }

    pub(super) fn negated(self) -> Self {
        Class(!self.0)
    }

    /// In the notation of the `regex` crate.
    pub(super) fn write(self, to: &mut String) {
        if self.0 == 0 {
            to.push_str("[a&&b]");
            return;
        }
        to.push('[');
        let mut next = 0;
        while next < 128 {
            let rest = self.0 >> next;
            if rest & 1 == 0 {
                next += 1;
                continue;
            }
            let last = next + rest.trailing_ones() - 1;
            // Writing to a string cannot fail.
            let _ = if last == next { write!(to, "\\x{next:02x}") } else { write!(to, "\\x{next:02x}-\\x{last:02x}") };
            next = last + 1;
        }
        to.push(']');
    }
}

//! Owns: how argparse4j breaks lines, and which names it takes for a slip of the hand. Kafka counterpart: argparse4j's TextHelper.

/// The width of every line that is not a usage line.
pub const WIDTH: usize = 75;

/// Where a line may be broken: behind blanks, and behind a hyphen between letters.
fn pieces(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut start = 0;
    for at in 1..bytes.len() {
        let (before, here) = (bytes[at - 1], bytes[at]);
        let behind_blank = before == b' ' && here != b' ';
        let behind_hyphen = before == b'-' && here.is_ascii_alphabetic();
        let behind_newline = before == b'\n';
        if behind_blank || behind_hyphen || behind_newline {
            found.extend(text.get(start..at));
            start = at;
        }
    }
    found.extend(text.get(start..).filter(|rest| !rest.is_empty()));
    found
}

/// Lines of at most `width`; every line but the last of a paragraph is stretched to it.
pub fn wrap(text: &str, width: usize) -> String {
    let (mut done, mut line) = (String::new(), String::new());
    let mut used = 0;
    for piece in pieces(text) {
        used += piece.len();
        if used > width {
            done.push_str(&stretch(&line, width));
            done.push('\n');
            line.clear();
            used = piece.len();
        }
        line.push_str(piece);
        if piece.ends_with('\n') {
            done.push_str(&line);
            line.clear();
            used = 0;
        }
    }
    done + &line
}

/// Spreads blanks over the gaps of a line; what does not divide evenly goes to the gaps in the middle.
fn stretch(line: &str, width: usize) -> String {
    let line = line.trim_matches(' ');
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let gaps = words.len().saturating_sub(1);
    let missing = width.saturating_sub(line.len());
    if gaps == 0 {
        return line.to_owned();
    }
    let (each, rest) = (missing / gaps, missing % gaps);
    let first = (gaps - rest).div_ceil(2);
    let mut out = String::new();
    let mut gap = 0;
    let mut previous = 'x';
    for letter in line.chars() {
        if letter == ' ' && previous != ' ' {
            let extra = each + usize::from((first..first + rest).contains(&gap));
            out.push_str(&" ".repeat(extra));
            gap += 1;
        }
        out.push(letter);
        previous = letter;
    }
    out
}

/// The nearest of some names: all that are equally near, when they are near enough.
pub fn candidates<'a>(typed: &str, names: impl Iterator<Item = (String, &'a str)>) -> Vec<String> {
    let distance = |body: &str| if body.starts_with(typed) { 0 } else { levenshtein(typed, body) };
    let mut found: Vec<(usize, String)> = names.map(|(shown, body)| (distance(body), shown)).collect();
    found.sort();
    let nearest = found.first().map_or(0, |(distance, _)| *distance);
    // 7 is git's idea of too far.
    found.into_iter().filter(|(distance, _)| *distance == nearest && nearest < 7).map(|(_, name)| name).collect()
}

/// With the costs 0 to swap neighbours, 2 to substitute, 1 to add and 4 to delete.
fn levenshtein(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let mut best = last[j - 1] + if a[i - 1] == b[j - 1] { 0 } else { 2 };
            if i >= 2 && j >= 2 && a[i - 1] != b[j - 1] && a[i - 2] == b[j - 1] && a[i - 1] == b[j - 2] {
                best = best.min(before[j - 2]);
            }
            row[j] = best.min(last[j] + 4).min(row[j - 1] + 1);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_stretched() {
        let text = "kafka-storage: error: invalid choice: 'x' (choose from 'info', 'format', 'version-mapping', 'feature-dependencies')";
        let wrapped = wrap(text, WIDTH);
        let lines: Vec<&str> = wrapped.lines().collect();
        assert!(lines[0].len() <= WIDTH && lines.len() == 2, "{wrapped}");
        assert_eq!(stretch("a b c ", 8), "a  b   c");
        assert_eq!(stretch("a b c d", 8), "a b  c d");
    }

    #[test]
    fn slips_of_the_hand() {
        let names = |typed: &str| candidates(typed, ["format", "info", "random-uuid"].into_iter().map(|name| (name.to_owned(), name)));
        assert_eq!(names("fromat"), ["format"]);
        assert_eq!(names("xxxxxxxxxxxxx"), Vec::<String>::new());
    }
}

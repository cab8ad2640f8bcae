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

pub(crate) use {complain, say, say_part};

/// `ToolsUtils.prettyPrintTable`: left-aligned columns, each followed by a tab.
pub fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headers.iter().map(|h| h.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        for (cell, width) in cells.zip(&widths) {
            text.push_str(&format!("{cell:width$}\t"));
        }
        text.push('\n');
    };
    line(&mut headers.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_fit_the_longest_cell() {
        let rows = [vec!["a".to_owned(), "long cell".to_owned()]];
        assert_eq!(super::table(&["name", "x"], &rows), "name\tx        \t\na   \tlong cell\t\n");
    }
}

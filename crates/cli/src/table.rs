//! Owns: tables as some tools print them: columns as wide as their widest value, each followed by a tab. Kafka counterpart:
//! ToolsUtils.prettyPrintTable.

use crate::out::say;

pub fn print<const N: usize>(header: [&str; N], rows: &[[String; N]]) {
    let widths: [usize; N] =
        std::array::from_fn(|i| rows.iter().map(|row| row[i].chars().count()).chain([header[i].len()]).max().unwrap_or(0));
    let line = |cells: [&str; N]| {
        let cells: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}\t")).collect();
        say!("{}", cells.concat());
    };
    line(header);
    rows.iter().for_each(|row| line(std::array::from_fn(|i| row[i].as_str())));
}

//! Owns: the text of the metrics page, in the format of Prometheus or of OpenMetrics: names, types, labels, escaping.
//! Used by: the sections of the page. Never does: looking anything up. A page of a hundred thousand lines leaves in pieces while it is
//! written, so that it costs no more memory than a short one; a line allocates nothing.

use std::fmt::{self, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What Prometheus asks for.
    OpenMetrics,
    /// What everything else understands.
    Text,
}

impl Format {
    /// By the Accept header, as Prometheus and its client libraries choose.
    pub fn accepted(accept: &str) -> Format {
        if accept.contains("application/openmetrics-text") { Format::OpenMetrics } else { Format::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Summary,
    /// A gauge of 1 whose labels are the information; its name ends with `_info`.
    Info,
}

pub enum Label<'a> {
    Text(&'a str),
    Number(i64),
}

impl<'a> From<&'a str> for Label<'a> {
    fn from(text: &'a str) -> Self {
        Label::Text(text)
    }
}

impl From<i32> for Label<'_> {
    fn from(number: i32) -> Self {
        Label::Number(number.into())
    }
}

/// How long a piece of the page becomes before it leaves.
const PIECE: usize = 64 * 1024;
/// Room for the line that fills a piece.
const LINE: usize = 1024;

pub struct Page<'a> {
    text: String,
    format: Format,
    take: &'a mut dyn FnMut(String),
}

impl<'a> Page<'a> {
    /// The page goes to `take`, piece by piece, in order.
    pub fn new(format: Format, take: &'a mut dyn FnMut(String)) -> Self {
        Page { text: String::with_capacity(PIECE + LINE), format, take }
    }

    pub fn finish(mut self) {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        (self.take)(self.text);
    }

    fn end_line(&mut self) {
        self.text.push('\n');
        if self.text.len() >= PIECE {
            (self.take)(std::mem::replace(&mut self.text, String::with_capacity(PIECE + LINE)));
        }
    }

    /// Opens a family; all its samples follow before the next one. A counter's name comes without `_total`, an info's without `_info`.
    pub fn family<'b>(&'b mut self, kind: Kind, name: &'b str, help: &str) -> Family<'b, 'a> {
        let (suffix, kind_name) = match (kind, self.format) {
            (Kind::Counter, Format::OpenMetrics) => ("", "counter"),
            (Kind::Counter, Format::Text) => ("_total", "counter"),
            (Kind::Info, Format::OpenMetrics) => ("", "info"),
            (Kind::Info, Format::Text) => ("_info", "gauge"),
            (Kind::Gauge, _) => ("", "gauge"),
            (Kind::Summary, _) => ("", "summary"),
        };
        let text = &mut self.text;
        write(text, format_args!("# HELP {name}{suffix} {help}\n"));
        write(text, format_args!("# TYPE {name}{suffix} {kind_name}\n"));
        if self.format == Format::OpenMetrics
            && let Some(unit) =
                ["seconds", "bytes"].into_iter().find(|unit| name.strip_suffix(*unit).is_some_and(|rest| rest.ends_with('_')))
        {
            write(text, format_args!("# UNIT {name} {unit}\n"));
        }
        Family { page: self, name, kind }
    }

    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(Kind::Counter, name, help).sample(&[], value);
    }

    pub fn gauge(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.family(Kind::Gauge, name, help).sample(&[], value);
    }
}

pub struct Family<'b, 'a> {
    page: &'b mut Page<'a>,
    name: &'b str,
    kind: Kind,
}

impl Family<'_, '_> {
    pub fn sample(&mut self, labels: &[(&str, Label)], value: impl fmt::Display) {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Summary => "",
        };
        self.write(suffix, labels, value);
    }

    /// A gauge's sample of many: `labels` end with the opening quote of the last one's value, which is a number.
    pub fn sample_numbered(&mut self, labels: &str, last: i32, value: i64) {
        let (text, mut digits) = (&mut self.page.text, itoa::Buffer::new());
        text.push_str(self.name);
        text.push_str(labels);
        text.push_str(digits.format(last));
        text.push_str("\"} ");
        text.push_str(digits.format(value));
        self.page.end_line();
    }

    pub fn sum_and_count(&mut self, labels: &[(&str, Label)], sum: f64, count: u64) {
        self.write("_sum", labels, sum);
        self.write("_count", labels, count);
    }

    fn write(&mut self, suffix: &str, labels: &[(&str, Label)], value: impl fmt::Display) {
        let text = &mut self.page.text;
        text.push_str(self.name);
        text.push_str(suffix);
        write_labels(text, labels);
        write(text, format_args!(" {value}"));
        self.page.end_line();
    }
}

/// Appends `{a="b",…}`, or nothing when there are no labels.
fn write_labels(text: &mut String, labels: &[(&str, Label)]) {
    let mut separator = '{';
    for (name, value) in labels {
        text.push(separator);
        separator = ',';
        text.push_str(name);
        text.push_str("=\"");
        match value {
            Label::Text(value) => escape(text, value),
            Label::Number(number) => text.push_str(itoa::Buffer::new().format(*number)),
        }
        text.push('"');
    }
    if !labels.is_empty() {
        text.push('}');
    }
}

/// Appends the value of a label.
pub fn escape(text: &mut String, value: &str) {
    if !value.contains(['\\', '"', '\n']) {
        return text.push_str(value);
    }
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

fn write(text: &mut String, args: fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(args);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(format: Format) -> String {
        let mut whole = String::new();
        let mut take = |piece: String| whole.push_str(&piece);
        let mut page = Page::new(format, &mut take);
        page.counter("a_b", "Things", 7);
        page.family(Kind::Gauge, "c_seconds", "Age").sample(&[("topic", "x\"\\\ny".into()), ("partition", 3.into())], 1.5);
        let mut summary = page.family(Kind::Summary, "d", "Times");
        summary.sample(&[("quantile", "0.50".into())], 2);
        summary.sum_and_count(&[], 0.25, 9);
        page.family(Kind::Info, "e", "Version").sample(&[("version", "1".into())], 1);
        page.finish();
        whole
    }

    #[test]
    fn a_long_page_leaves_in_pieces_of_whole_lines() {
        let mut pieces = Vec::new();
        let mut take = |piece: String| pieces.push(piece);
        let mut page = Page::new(Format::Text, &mut take);
        let mut family = page.family(Kind::Gauge, "a_gauge", "Many");
        (0..10_000).for_each(|partition| family.sample_numbered("{topic=\"x\",partition=\"", partition, i64::from(partition) - 1));
        page.finish();
        assert!(pieces.len() > 3, "{} pieces", pieces.len());
        assert!(pieces.iter().all(|piece| piece.ends_with('\n') && piece.len() <= PIECE + LINE));
        let whole = pieces.concat();
        assert_eq!(whole.lines().count(), 2 + 10_000);
        assert!(whole.contains("\na_gauge{topic=\"x\",partition=\"0\"} -1\n") && whole.ends_with("partition=\"9999\"} 9998\n"));
    }

    #[test]
    fn both_formats() {
        let open = "# HELP a_b Things\n# TYPE a_b counter\na_b_total 7\n\
            # HELP c_seconds Age\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds{topic=\"x\\\"\\\\\\ny\",partition=\"3\"} 1.5\n\
            # HELP d Times\n# TYPE d summary\nd{quantile=\"0.50\"} 2\nd_sum 0.25\nd_count 9\n\
            # HELP e Version\n# TYPE e info\ne_info{version=\"1\"} 1\n# EOF\n";
        assert_eq!(page(Format::OpenMetrics), open);
        let text = open.replace("# HELP a_b ", "# HELP a_b_total ").replace("# TYPE a_b ", "# TYPE a_b_total ");
        let text = text.replace("# UNIT c_seconds seconds\n", "").replace("# EOF\n", "");
        let text = text.replace("# HELP e ", "# HELP e_info ").replace("# TYPE e info", "# TYPE e_info gauge");
        assert_eq!(page(Format::Text), text);
    }

    #[test]
    fn the_format_is_what_the_scraper_asks_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Text);
        assert_eq!(Format::accepted(""), Format::Text);
    }
}

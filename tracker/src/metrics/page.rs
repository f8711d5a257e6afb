//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};

/// The media type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Grows, until the process starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A page of metrics that is being written.
#[derive(Debug, Default)]
pub struct Page(String);

/// One metric of it: samples of one name.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut String,
    name: &'static str,
}

impl Page {
    /// Begins a metric.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: &mut self.0, name }
    }

    /// A metric with one sample.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Adds a sample with these labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.page.push_str(self.name);
        for (index, (name, value)) in labels.iter().enumerate() {
            let _ = write!(self.page, "{}{name}=\"", if index == 0 { '{' } else { ',' });
            for c in value.chars() {
                match c {
                    '\\' => self.page.push_str("\\\\"),
                    '"' => self.page.push_str("\\\""),
                    '\n' => self.page.push_str("\\n"),
                    other => self.page.push(other),
                }
            }
            self.page.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.page, "{end} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_as_prometheus_reads_it() {
        let mut page = Page::default();
        page.single("up", Kind::Gauge, "Whether.", 1);
        let mut family = page.family("n_total", Kind::Counter, "How often.");
        family.sample(&[("a", "x\"\\\n"), ("b", "y")], 0.5);
        family.sample(&[("a", "z"), ("b", "")], 7);
        let expected = "# HELP up Whether.\n# TYPE up gauge\nup 1\n# HELP n_total How often.\n# TYPE n_total counter\n\
                        n_total{a=\"x\\\"\\\\\\n\",b=\"y\"} 0.5\nn_total{a=\"z\",b=\"\"} 7\n";
        assert_eq!(page.finish(), expected);
    }
}

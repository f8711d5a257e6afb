//! The pictures themselves, from plain numbers.
#![expect(
    clippy::cast_precision_loss,
    reason = "numbers of viewers and milliseconds, drawn a few hundred pixels wide"
)]

use super::Point;
use super::axis::{Axis, Scale};
use super::chart::{Chart, Line, Style};

/// Continuity below this is drawn at the edge: what happens near 1 is what matters.
const CONTINUITY_SHOWN: f64 = 0.8;
/// Points of a distribution at most: one for each thousandth.
const STEPS: usize = 1000;

/// What each viewer gets against the number of viewers: a server alone, and the swarm with the same server.
pub(super) fn rate(subtitle: &str, stream_rate: u64, budget: Option<u64>, points: &[Point]) -> Chart {
    let mbit = |rate: f64| rate / 1e6;
    let stream = stream_rate as f64;
    let alone = |n: f64| budget.map_or(stream, |budget| (budget as f64 / n).min(stream));
    let (first, last) = ends(points);
    // A curve on a logarithmic axis needs points between those that were run.
    let between = (0..=100).map(|step| first * (last / first).powf(f64::from(step) / 100.0));
    let lines = vec![
        line("client-server, the budget divided", Style::Dashed, between.map(|n| (n, mbit(alone(n))))),
        line("Cardume, the same budget", Style::Marked, points.iter().map(|p| (p.n(), mbit(p.rate)))),
    ];
    let rates = lines.iter().flat_map(|line: &Line| line.points.iter().map(|point| point.1));
    Chart {
        title: "What each viewer gets as the audience grows".into(),
        subtitle: subtitle.into(),
        x: audience(points),
        y: Axis::around("on time at a viewer, Mbit/s, mean", Scale::Linear, rates.collect::<Vec<_>>()),
        lines,
    }
}

/// What the server sends against the number of viewers.
pub(super) fn egress(subtitle: &str, budget_copies: Option<f64>, points: &[Point]) -> Chart {
    let (first, last) = ends(points);
    let mut lines = vec![
        line("mean", Style::Marked, points.iter().map(|p| (p.n(), p.server_copies))),
        line("busiest second", Style::Marked, points.iter().map(|p| (p.n(), p.server_copies_peak))),
    ];
    let budget = budget_copies.map(|copies| line("budget", Style::Dashed, [(first, copies), (last, copies)]));
    lines.extend(budget);
    let copies = lines.iter().flat_map(|line: &Line| line.points.iter().map(|point| point.1));
    Chart {
        title: "What the server sends as the audience grows".into(),
        subtitle: subtitle.into(),
        x: audience(points),
        y: Axis::around("copies of the stream", Scale::Linear, copies.collect::<Vec<_>>()),
        lines,
    }
}

/// Share of the samples below each value, one line for each set of them, milliseconds.
pub(super) fn distribution(subtitle: &str, sets: &[(&'static str, Vec<u64>)]) -> Chart {
    let lines: Vec<Line> = sets.iter().map(|(name, samples)| cumulated(name, samples)).collect();
    let values = lines.iter().flat_map(|line| line.points.iter().map(|point| point.0));
    Chart {
        title: "Latency".into(),
        subtitle: subtitle.into(),
        x: Axis::around("milliseconds", Scale::Linear, values.collect::<Vec<_>>()),
        y: Axis::between("share at most as late", 0.0, 1.0),
        lines,
    }
}

/// Share of the blocks on time second by second, where any were due.
pub(super) fn continuity(subtitle: &str, by_second: &[Option<f64>]) -> Chart {
    let told = by_second.iter().enumerate().filter_map(|(second, share)| Some((second, (*share)?)));
    let points = told.map(|(second, share)| (second as f64, share));
    let line = line("blocks on time, all viewers", Style::Plain, points);
    let end = line.points.last().map_or(1.0, |point| point.0);
    let lowest = line.points.iter().map(|point| point.1).fold(1.0, f64::min);
    let from = if lowest < CONTINUITY_SHOWN { 0.0 } else { CONTINUITY_SHOWN };
    Chart {
        title: "Continuity through the run".into(),
        subtitle: subtitle.into(),
        x: Axis::around("seconds since the run began", Scale::Linear, [end]),
        y: Axis::between("share of blocks on time", from, 1.0),
        lines: vec![line],
    }
}

fn audience(points: &[Point]) -> Axis {
    Axis::around("viewers", Scale::Logarithmic, points.iter().map(Point::n))
}

/// The smallest and the largest audience.
fn ends(points: &[Point]) -> (f64, f64) {
    let first = points.iter().map(Point::n).fold(f64::INFINITY, f64::min);
    let last = points.iter().map(Point::n).fold(1.0, f64::max);
    (first.min(last), last)
}

fn line(name: &str, style: Style, points: impl IntoIterator<Item = (f64, f64)>) -> Line {
    Line { name: name.into(), style, points: points.into_iter().collect() }
}

fn cumulated(name: &str, samples: &[u64]) -> Line {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let n = sorted.len();
    let n_steps = STEPS.min(n.saturating_sub(1)).max(1);
    let steps = (0..=n_steps).filter(|_| n > 0);
    let point = |step: usize| (sorted[step * (n - 1) / n_steps] as f64, step as f64 / n_steps as f64);
    line(name, Style::Plain, steps.map(point))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(n_viewers: usize, rate: f64) -> Point {
        Point { n_viewers, rate, server_copies: 9.0, server_copies_peak: 10.0 }
    }

    /// An SVG without any number that is none, which shows all these texts.
    #[track_caller]
    fn check(chart: &Chart, texts: &[&str]) {
        let svg = chart.svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        for text in texts {
            assert!(svg.contains(text), "{text:?} is not in {svg}");
        }
    }

    /// How high the marks of a chart stand, from left to right; those of the legend come first and are the highest.
    fn marks(chart: &Chart) -> Vec<f64> {
        let svg = chart.svg();
        let heights = svg.lines().filter(|line| line.starts_with("<circle")).filter_map(|line| {
            line.split("cy=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .and_then(|y| y.parse::<f64>().ok())
        });
        heights.map(|y| -y).collect()
    }

    #[test]
    fn a_server_alone_gives_each_viewer_its_share_of_the_budget() {
        let chart = rate("s", 1_000_000, Some(10_000_000), &[point(10, 1e6), point(1_000, 0.9e6)]);
        check(&chart, &["client-server", "Cardume", "100", "1,000", "Mbit/s"]);
        let alone = &chart.lines[0].points;
        let at = |n: f64| alone.iter().find(|point| (point.0 - n).abs() < n / 1e6).map(|point| point.1);
        assert!((at(10.0).unwrap_or_default() - 1.0).abs() < 1e-6);
        assert!((at(100.0).unwrap_or_default() - 0.1).abs() < 1e-6);
        assert!((at(1_000.0).unwrap_or_default() - 0.01).abs() < 1e-6);
        let marks = marks(&chart);
        assert!(marks.len() == 4 && marks[2] > marks[3], "{marks:?}");
    }

    #[test]
    fn the_servers_egress_is_shown_with_its_budget() {
        check(
            &egress("s", Some(10.0), &[point(10, 1e6), point(100, 1e6)]),
            &["budget", "busiest second", "copies"],
        );
        assert_eq!(egress("s", None, &[point(10, 1e6)]).lines.len(), 2, "no budget, no line");
    }

    #[test]
    fn a_distribution_rises_from_its_smallest_to_its_largest_sample() {
        let chart = distribution("s", &[("one", vec![30, 10, 20]), ("none", vec![])]);
        check(&chart, &["one", "none", "milliseconds"]);
        let points = &chart.lines[0].points;
        assert_eq!((points[0], points[2]), ((10.0, 0.0), (30.0, 1.0)));
        assert!(points.windows(2).all(|two| two[0].0 <= two[1].0));
    }

    #[test]
    fn continuity_near_one_is_shown_near() {
        check(&continuity("s", &[None, Some(1.0), Some(0.97)]), &["0.80", "0.95"]);
        check(&continuity("s", &[Some(1.0), Some(0.2)]), &["0.2", "0.8"]);
    }

    #[test]
    fn nothing_measured_is_an_empty_picture() {
        for chart in
            [rate("s", 1, None, &[]), egress("s", None, &[]), distribution("s", &[]), continuity("s", &[])]
        {
            check(&chart, &[]);
        }
    }

    #[test]
    fn text_is_escaped() {
        check(&continuity("a < b & c", &[]), &["a &lt; b &amp; c"]);
    }
}

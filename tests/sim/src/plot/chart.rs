//! A chart of lines as SVG: two axes, a grid, a legend.

use core::fmt::Write;

use super::axis::Axis;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
/// The plot's edges.
const LEFT: f64 = 78.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 96.0;
const BOTTOM: f64 = 58.0;
/// Width of a letter at 13 px, about; fonts differ by a tenth.
const LETTER: f64 = 6.9;
/// Length of a line's sample in the legend, and what follows a name.
const SAMPLE: f64 = 24.0;
/// Lines that stay apart for most colour-blind people and on paper (from the palette of Okabe and Ito, 2008).
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"];
const INK: &str = "#1f2937";
const PALE_INK: &str = "#6b7280";
const GRID: &str = "#e5e7eb";

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Through many points.
    Plain,
    /// Each point is marked, since there are few.
    Marked,
    /// Computed or wanted rather than measured.
    Dashed,
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) style: Style,
    /// In the order in which they are joined.
    pub(super) points: Vec<(f64, f64)>,
}

/// A picture.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    /// What was run: under the title.
    pub(super) subtitle: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
}

impl Chart {
    /// The picture as an SVG document.
    pub(super) fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" font-family=\"system-ui, sans-serif\" font-size=\"13\" font-weight=\"300\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        self.write_titles(&mut svg);
        self.write_axes(&mut svg);
        for (index, line) in self.lines.iter().enumerate() {
            self.write_line(&mut svg, line, COLOURS[index % COLOURS.len()]);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn write_titles(&self, svg: &mut String) {
        let title = Text { x: LEFT, y: 28.0, anchor: "start", colour: INK, words: &self.title };
        let _ = write!(svg, "<g font-size=\"17\" font-weight=\"400\">\n{title}</g>\n");
        let _ = write!(svg, "{}", Text { y: 48.0, colour: PALE_INK, words: &self.subtitle, ..title });
        let mut x = LEFT;
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let sample = Line { points: Vec::new(), ..line.clone() };
            let _ =
                write!(svg, "{}", Path { line: &sample, colour, points: &[(x, 70.0), (x + SAMPLE, 70.0)] });
            let _ = write!(
                svg,
                "{}",
                Text { x: x + SAMPLE + 8.0, y: 74.0, anchor: "start", colour: INK, words: &line.name }
            );
            x += SAMPLE + 32.0 + LETTER * f64::from(u16::try_from(line.name.chars().count()).unwrap_or(0));
        }
    }

    fn write_axes(&self, svg: &mut String) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (value, text) in self.y.ticks() {
            let y = self.y_of(value);
            let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"{GRID}\"/>");
            let text = Text { x: LEFT - 8.0, y: y + 4.5, anchor: "end", colour: INK, words: &text };
            let _ = write!(svg, "{text}");
        }
        for (value, text) in self.x.ticks() {
            let x = self.x_of(value);
            let _ = writeln!(svg, "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"{GRID}\"/>");
            let text = Text { x, y: bottom + 19.0, anchor: "middle", colour: INK, words: &text };
            let _ = write!(svg, "{text}");
        }
        let _ =
            writeln!(svg, "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"{PALE_INK}\"/>");
        let middle = f64::midpoint(LEFT, right);
        let label = Text { x: middle, y: HEIGHT - 16.0, anchor: "middle", colour: INK, words: &self.x.label };
        let _ = write!(svg, "{label}");
        let up = f64::midpoint(TOP, bottom);
        let _ = writeln!(svg, "<g transform=\"translate(20 {up}) rotate(-90)\">");
        let _ = writeln!(svg, "{}</g>", Text { x: 0.0, y: 0.0, words: &self.y.label, ..label });
    }

    fn write_line(&self, svg: &mut String, line: &Line, colour: &str) {
        let is_drawn = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
        let place = |&(x, y): &(f64, f64)| (self.x_of(x), self.y_of(y));
        let points: Vec<(f64, f64)> = line.points.iter().filter(is_drawn).map(place).collect();
        let _ = write!(svg, "{}", Path { line, colour, points: &points });
    }

    fn x_of(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y_of(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)
    }
}

/// A line of text.
#[derive(Clone, Copy)]
struct Text<'a> {
    x: f64,
    y: f64,
    anchor: &'a str,
    colour: &'a str,
    words: &'a str,
}

impl core::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { x, y, anchor, colour, words } = self;
        let text = words.replace('&', "&amp;").replace('<', "&lt;");
        writeln!(
            f,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>"
        )
    }
}

/// Joined points in a line's style.
struct Path<'a> {
    line: &'a Line,
    colour: &'a str,
    points: &'a [(f64, f64)],
}

impl core::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { line, colour, points } = self;
        if points.is_empty() {
            return Ok(());
        }
        let dashes = if line.style == Style::Dashed { " stroke-dasharray=\"6 5\"" } else { "" };
        write!(f, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes} points=\"")?;
        for (x, y) in *points {
            write!(f, "{x:.1},{y:.1} ")?;
        }
        writeln!(f, "\"/>")?;
        let marked = points.iter().filter(|_| line.style == Style::Marked);
        marked.into_iter().try_for_each(|(x, y)| {
            writeln!(f, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>")
        })
    }
}

//! Axes: where a value lies, and which values are written beside it.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of ticks and decades are small"
)]

/// Ticks on a linear axis, about.
const TICKS: f64 = 6.0;

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Equal differences are equally far apart; begins at 0.
    Linear,
    /// Equal ratios are equally far apart.
    Logarithmic,
}

/// An axis of a chart.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// What it shows, with its unit.
    pub(super) label: String,
    scale: Scale,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis that has room for all these values; without any it goes to 1.
    pub(super) fn around(label: &str, scale: Scale, values: impl IntoIterator<Item = f64>) -> Self {
        let is_shown = |value: &f64| value.is_finite() && (scale == Scale::Linear || *value > 0.0);
        let (low, high) = values
            .into_iter()
            .filter(is_shown)
            .fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let high = if high > 0.0 { high } else { 1.0 };
        let (from, to) = match scale {
            Scale::Linear => (0.0, (high / step(high)).ceil() * step(high)),
            Scale::Logarithmic => (low.min(high), if low < high { high } else { 10.0 * high }),
        };
        Self { label: label.to_owned(), scale, from, to }
    }

    /// A linear axis from one value to another.
    pub(super) fn between(label: &str, from: f64, to: f64) -> Self {
        Self { label: label.to_owned(), scale: Scale::Linear, from, to }
    }

    /// Where a value lies: 0 at the axis's begin, 1 at its end. What lies beyond is drawn at the edge.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Logarithmic => (value.max(self.from) / self.from).ln() / (self.to / self.from).ln(),
        };
        place.clamp(0.0, 1.0)
    }

    /// Values that are written beside the axis, rising, with their text.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = step(self.to - self.from);
                let n = ((self.to - self.from) / step + 1e-6) as u32;
                let value = |index: u32| self.from + f64::from(index) * step;
                (0..=n).map(value).map(|value| (value, text(value, step))).collect()
            }
            Scale::Logarithmic => {
                let decades = self.from.log10().floor() as i32..=(self.to.log10() + 1e-9).floor() as i32;
                let values = decades.flat_map(|decade| [1.0, 3.0].map(|times| times * 10f64.powi(decade)));
                let is_on_axis = |value: &f64| (self.from * 0.999..=self.to * 1.001).contains(value);
                values.filter(is_on_axis).map(|value| (value, text(value, value))).collect()
            }
        }
    }
}

/// Distance between ticks: 1, 2 or 5 times a power of ten.
fn step(range: f64) -> f64 {
    let least = range / TICKS;
    let decade = 10f64.powf(least.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * decade).find(|step| *step >= least * 0.999);
    step.unwrap_or(least)
}

/// As many digits as tell it from its neighbour, and commas between thousands.
fn text(value: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.digits$}");
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let with_commas = |(index, digit): (usize, char)| {
        let left = whole.len() - index;
        let comma = (index > 0 && left % 3 == 0).then_some(',');
        comma.into_iter().chain([digit])
    };
    let whole: String = whole.chars().enumerate().flat_map(with_commas).collect();
    rest.map_or_else(|| whole.clone(), |rest| format!("{whole}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_ends_on_a_tick() {
        let axis = Axis::around("x", Scale::Linear, [0.3, 4.3]);
        assert_eq!(texts(&axis), ["0", "1", "2", "3", "4", "5"]);
        assert!((axis.place(2.5) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_logarithmic_axis_is_marked_twice_in_each_power_of_ten() {
        let axis = Axis::around("x", Scale::Logarithmic, [10.0, 1_000.0]);
        assert_eq!(texts(&axis), ["10", "30", "100", "300", "1,000"]);
        assert!((axis.place(100.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn small_steps_are_written_with_enough_digits() {
        assert_eq!(texts(&Axis::between("x", 0.9, 1.0)), ["0.90", "0.92", "0.94", "0.96", "0.98", "1.00"]);
    }

    #[test]
    fn what_lies_beyond_is_at_the_edge() {
        let axis = Axis::between("x", 0.9, 1.0);
        assert!(axis.place(0.5).abs() < 1e-9);
        assert!((axis.place(2.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_or_one_value_still_gives_an_axis() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            for values in [vec![], vec![0.0], vec![f64::NAN], vec![7.0]] {
                let axis = Axis::around("x", scale, values.clone());
                assert!(!axis.ticks().is_empty(), "{scale:?} {values:?}");
                assert!(axis.place(1.0).is_finite(), "{scale:?} {values:?}");
            }
        }
    }
}

//! One goal: which run shows it, what is measured there, and what is wanted.

use super::runs::{Key, Run, Runs};
use super::{Order, Row, Size, Standing};

/// A figure of one run; `None` when it does not tell it.
pub(super) type Measure = fn(&Run) -> Option<f64>;

/// A goal, or one side of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    /// The name under which it is recorded.
    pub(super) id: &'static str,
    /// The goal's number.
    pub(super) goal: u8,
    what: &'static str,
    pub(super) scenario: &'static str,
    /// Viewers in short, usual and full runs.
    n_viewers: [usize; 3],
    /// The figure is divided by that of so many viewers.
    against: Option<[usize; 3]>,
    measure: Measure,
    wanted: Wanted,
    reference: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Check {
    /// A check that wants a figure of 1 at least, with 200, 1,000 and 10,000 viewers.
    pub(super) const fn new(id: &'static str, goal: u8, what: &'static str, scenario: &'static str) -> Self {
        Self {
            id,
            goal,
            what,
            scenario,
            n_viewers: [200, 1_000, 10_000],
            against: None,
            measure: |_| None,
            wanted: Wanted::AtLeast(1.0),
            reference: "",
        }
    }

    /// With so many viewers in short, usual and full runs.
    pub(super) const fn viewers(self, n_viewers: [usize; 3]) -> Self {
        Self { n_viewers, ..self }
    }

    /// The figure over the one that the same scenario has with so many viewers.
    pub(super) const fn against(self, n_viewers: [usize; 3]) -> Self {
        Self { against: Some(n_viewers), ..self }
    }

    pub(super) const fn at_least(self, measure: Measure, wanted: f64) -> Self {
        Self { measure, wanted: Wanted::AtLeast(wanted), ..self }
    }

    pub(super) const fn at_most(self, measure: Measure, wanted: f64) -> Self {
        Self { measure, wanted: Wanted::AtMost(wanted), ..self }
    }

    /// What others reach.
    pub(super) const fn beside(self, reference: &'static str) -> Self {
        Self { reference, ..self }
    }

    /// The runs it needs.
    pub(super) fn keys(&self, order: &Order) -> impl Iterator<Item = Key> {
        let sizes = [Some(self.n_viewers), self.against].into_iter().flatten();
        let n_viewers: Vec<usize> = sizes.map(|sizes| of_size(sizes, order.size)).collect();
        let scenario = self.scenario;
        let seeds = order.seeds.clone();
        n_viewers.into_iter().flat_map(move |n_viewers| {
            seeds.clone().into_iter().map(move |seed| Key { scenario, n_viewers, seed })
        })
    }

    /// How it stands after these runs.
    pub(super) fn row(&self, order: &Order, runs: &Runs, recorded: Option<f64>) -> Row {
        let values: Option<Vec<f64>> =
            order.seeds.iter().map(|seed| self.figure(order, runs, *seed)).collect();
        let value = values.and_then(|values| values.into_iter().reduce(|a, b| self.wanted.worse(a, b)));
        Row {
            id: self.id,
            goal: self.goal,
            what: self.what,
            scenario: self.scenario,
            n_viewers: of_size(self.n_viewers, order.size),
            value,
            wanted: self.wanted.text(),
            wanted_figure: self.wanted.figure(),
            ratio: value.map(|value| value / self.wanted.figure()).filter(|ratio| ratio.is_finite()),
            reference: self.reference,
            standing: self.wanted.standing(value, recorded),
            recorded,
        }
    }

    fn figure(&self, order: &Order, runs: &Runs, seed: u64) -> Option<f64> {
        let of = |sizes| {
            let key = Key { scenario: self.scenario, n_viewers: of_size(sizes, order.size), seed };
            runs.run(&key).and_then(self.measure)
        };
        let value = of(self.n_viewers)?;
        let Some(against) = self.against else { return Some(value) };
        of(against).filter(|base| *base > 0.0).map(|base| value / base)
    }
}

impl Wanted {
    fn figure(self) -> f64 {
        match self {
            Self::AtLeast(figure) | Self::AtMost(figure) => figure,
        }
    }

    /// The same direction with another figure.
    fn with(self, figure: f64) -> Self {
        match self {
            Self::AtLeast(_) => Self::AtLeast(figure),
            Self::AtMost(_) => Self::AtMost(figure),
        }
    }

    /// How a figure stands that was recorded as reached, or not.
    fn standing(self, value: Option<f64>, recorded: Option<f64>) -> Standing {
        let is_met = |wanted: Self| value.is_some_and(|value| wanted.is_met(value));
        match recorded {
            Some(recorded) if !is_met(self.with(recorded)) => Standing::Lost,
            _ if is_met(self) => Standing::Reached,
            _ => Standing::Missed,
        }
    }

    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(figure) => value >= figure,
            Self::AtMost(figure) => value <= figure,
        }
    }

    fn worse(self, a: f64, b: f64) -> f64 {
        match self {
            Self::AtLeast(_) => a.min(b),
            Self::AtMost(_) => a.max(b),
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(figure) => format!(">= {figure}"),
            Self::AtMost(figure) => format!("<= {figure}"),
        }
    }
}

fn of_size(sizes: [usize; 3], size: Size) -> usize {
    match size {
        Size::Short => sizes[0],
        Size::Usual => sizes[1],
        Size::Full => sizes[2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_reached_when_its_figure_is_on_the_right_side() {
        assert_eq!(Wanted::AtLeast(0.99).standing(Some(0.99), None), Standing::Reached);
        assert_eq!(Wanted::AtLeast(0.99).standing(Some(0.98), None), Standing::Missed);
        assert_eq!(Wanted::AtMost(500.0).standing(Some(500.0), None), Standing::Reached);
        assert_eq!(Wanted::AtMost(500.0).standing(Some(501.0), None), Standing::Missed);
        assert_eq!(Wanted::AtMost(500.0).standing(None, None), Standing::Missed);
    }

    #[test]
    fn what_was_recorded_may_get_better_but_not_worse() {
        let wanted = Wanted::AtLeast(0.99);
        assert_eq!(wanted.standing(Some(0.995), Some(0.99)), Standing::Reached);
        assert_eq!(wanted.standing(Some(0.992), Some(0.995)), Standing::Lost);
        assert_eq!(wanted.standing(None, Some(0.99)), Standing::Lost);
        assert_eq!(Wanted::AtMost(2.0).standing(Some(1.6), Some(1.5)), Standing::Lost);
        assert_eq!(Wanted::AtMost(2.0).standing(Some(2.5), Some(2.6)), Standing::Missed, "a step on the way");
    }

    #[test]
    fn of_some_seeds_the_worst_counts() {
        assert!((Wanted::AtLeast(1.0).worse(0.3, 0.4) - 0.3).abs() < 1e-9);
        assert!((Wanted::AtMost(1.0).worse(0.3, 0.4) - 0.4).abs() < 1e-9);
    }
}

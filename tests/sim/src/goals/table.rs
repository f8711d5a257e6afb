//! The goals as a table for people.

use core::fmt::Write;

use super::{Outcome, Row, Standing};

/// What stands above the columns.
const HEAD: [&str; 8] = ["goal", "what", "scenario", "viewers", "figure", "wanted", "standing", "reference"];
/// Columns that are numbers and end at the same place.
const IS_NUMBER: [bool; 8] = [false, false, false, true, true, false, false, false];

pub(super) fn of(outcome: &Outcome) -> String {
    let rows: Vec<[String; 8]> =
        [HEAD.map(str::to_owned)].into_iter().chain(outcome.rows.iter().map(cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = core::array::from_fn(width);
    let seeds: Vec<String> = outcome.seeds.iter().map(u64::to_string).collect();
    let mut text = format!("goals of the swarm, {:?} runs, seeds {}\n", outcome.size, seeds.join(" "));
    for row in &rows {
        let padded = (0..row.len()).map(|column| {
            let (cell, width) = (&row[column], widths[column]);
            if IS_NUMBER[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let _ = writeln!(text, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    for violation in &outcome.violations {
        let _ = writeln!(text, "VIOLATION {violation}");
    }
    let n = |standing| outcome.rows.iter().filter(|row| row.standing == standing).count();
    let (reached, missed, lost) = (n(Standing::Reached), n(Standing::Missed), n(Standing::Lost));
    let _ = writeln!(text, "{reached} reached, {missed} missed, {lost} lost");
    text + &tried(outcome) + &unrecorded(outcome)
}

/// What bounds the goals of which a side is missed, and what was tried.
fn tried(outcome: &Outcome) -> String {
    let line = |(goal, tried): (&u8, &String)| format!("missed, goal {goal}: {tried}\n");
    outcome.tried.iter().map(line).collect()
}

/// What can be added to the record: lines of goals.toml.
fn unrecorded(outcome: &Outcome) -> String {
    let is_new = |row: &&Row| row.standing == Standing::Reached && row.recorded.is_none();
    let line = |row: &Row| format!("{} = {:?}\n", row.id, row.wanted_figure);
    let lines: String = outcome.rows.iter().filter(is_new).map(line).collect();
    if lines.is_empty() { lines } else { format!("reached, and not in goals.toml yet:\n{lines}") }
}

fn cells(row: &Row) -> [String; 8] {
    [
        row.goal.to_string(),
        row.what.to_owned(),
        row.scenario.to_owned(),
        row.n_viewers.to_string(),
        row.value.map_or_else(|| "untold".into(), figure),
        row.wanted.clone(),
        standing(row),
        row.reference.to_owned(),
    ]
}

/// Four digits, and none after the point for large ones.
fn figure(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.4}") }
}

fn standing(row: &Row) -> String {
    let times = row.ratio.map(|ratio| format!(" ({ratio:.3} times the wanted)")).unwrap_or_default();
    match row.standing {
        Standing::Reached => "reached".into(),
        Standing::Missed => format!("MISSED{times}"),
        Standing::Lost => {
            let recorded = row.recorded.map(figure).unwrap_or_default();
            format!("LOST: was {recorded}{times}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Size;
    use super::*;

    fn row(id: &'static str, value: Option<f64>, standing: Standing, recorded: Option<f64>) -> Row {
        Row {
            id,
            goal: 3,
            what: "viewers with 99 % on time",
            scenario: "e1-churn",
            n_viewers: 100,
            value,
            wanted: ">= 0.999".into(),
            wanted_figure: 0.999,
            ratio: value.map(|value| value / 0.999),
            reference: "GLive 100 %",
            standing,
            recorded,
        }
    }

    #[test]
    fn the_table_says_how_each_goal_stands_and_what_to_record() {
        let rows = vec![
            row("kept", Some(1.0), Standing::Reached, Some(1.0)),
            row("new", Some(0.9995), Standing::Reached, None),
            row("missed", Some(0.5), Standing::Missed, None),
            row("untold", None, Standing::Missed, None),
            row("lost", Some(0.98), Standing::Lost, Some(0.999)),
        ];
        let table = of(&Outcome {
            size: Size::Short,
            seeds: vec![1, 2],
            rows,
            tried: [(3, "Tried: hope".into())].into(),
            violations: vec!["bad".into()],
        });
        for words in [
            "seeds 1 2",
            "MISSED (0.501 times the wanted)",
            "untold",
            "LOST: was 0.9990",
            "missed, goal 3: Tried: hope",
        ] {
            assert!(table.contains(words), "{words:?} is not in {table}");
        }
        assert!(table.contains("VIOLATION bad\n2 reached, 2 missed, 1 lost\n"), "{table}");
        assert!(table.ends_with("not in goals.toml yet:\nnew = 0.999\n"), "{table}");
    }
}

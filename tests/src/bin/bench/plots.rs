//! Pictures of the results: `target/bench/*.svg`. Bars for what was compared with each other, and lines for what grows
//! with something.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::coord::combinators::IntoLogRange;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{Circle, PathElement, Rectangle, Text};
use plotters::prelude::SVGBackend;
use plotters::series::LineSeries;
use plotters::style::{BLACK, Color, IntoFont, Palette, Palette99, WHITE};

use crate::results::{Point, Results, Row};

type Outcome = Result<(), Box<dyn Error>>;

const FONT: &str = "sans-serif";
const LINES: (u32, u32) = (900, 560);

/// Draws everything into a directory.
pub fn draw(results: &Results, directory: &Path) -> Outcome {
    for rows in results.rows.chunk_by(|one, next| (&one.part, &one.of) == (&next.part, &next.of)) {
        bars(rows, &directory.join(file_name(&format!("{}-{}", rows[0].part, rows[0].of))))?;
    }
    let mut rest: Vec<&Point> = results.points.iter().collect();
    while let Some(plot) = rest.first().map(|point| point.plot.clone()) {
        let (points, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|point| point.plot == plot);
        lines(&points, &directory.join(file_name(&plot)))?;
        rest = others;
    }
    Ok(())
}

/// Where a logarithmic scale begins: noise may make nothing of a small cost, or less, and such a scale never gets there.
fn least_positive(values: impl Iterator<Item = f64>) -> f64 {
    let least = values.filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 1.0 }
}

fn file_name(title: &str) -> String {
    let words = title.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    format!("{}.svg", words.collect::<Vec<_>>().join("-").to_lowercase())
}

/// A bar for each row, from the least value's tenth on, in a logarithmic scale.
fn bars(rows: &[Row], path: &Path) -> Outcome {
    const WIDTH: i32 = 900;
    const HEIGHT: i32 = 24;
    const LEFT: i32 = 400;
    const RIGHT: i32 = 110;
    let Row { part, of, unit, .. } = &rows[0];
    let values = || rows.iter().map(|row| row.value.median);
    let least = least_positive(values());
    let values: Vec<f64> = values().map(|value| value.max(least)).collect();
    let from = least / 10.0;
    let to = values.iter().copied().fold(from, f64::max);
    let length =
        |value: f64| ((value / from).ln() / (to / from).ln() * f64::from(WIDTH - LEFT - RIGHT)) as i32;
    let size = (WIDTH as u32, (HEIGHT * (rows.len() as i32 + 2)) as u32);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!("{part}: {of} ({}, logarithmic)", unit.symbol());
    area.draw(&Text::new(title, (10, 8), (FONT, 15).into_font()))?;
    for (at, (row, value)) in rows.iter().zip(&values).enumerate() {
        let top = HEIGHT * (at as i32 + 1) + 6;
        let own = row.what.starts_with("enforcer")
            || !matches!(&**part, "forward" | "outside" | "flood" | "judges" | "tcp");
        let color = Palette99::pick(usize::from(own));
        let bar = [(LEFT, top), (LEFT + length(*value).max(1), top + HEIGHT - 6)];
        area.draw(&Rectangle::new(bar, color.filled()))?;
        area.draw(&Text::new(row.what.clone(), (10, top + 2), (FONT, 12).into_font()))?;
        let figure = format!("{value:.*}", unit.digits());
        area.draw(&Text::new(figure, (bar[1].0 + 6, top + 2), (FONT, 12).into_font()))?;
    }
    Ok(area.present()?)
}

/// A line for each series, both scales logarithmic.
fn lines(points: &[&Point], path: &Path) -> Outcome {
    let Point { plot, against, unit, .. } = points[0];
    let least = least_positive(points.iter().map(|point| point.y.median));
    let at = |point: &Point| (point.x, point.y.median.max(least));
    let extent = |values: &[f64]| {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        least..values.iter().copied().fold(least, f64::max) * 1.5
    };
    let (right, up): (Vec<f64>, Vec<f64>) = points.iter().map(|point| at(point)).unzip();
    let area = SVGBackend::new(path, LINES).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(plot, (FONT, 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(70)
        .build_cartesian_2d(extent(&right).log_scale(), extent(&up).log_scale())?;
    chart.configure_mesh().x_desc(&**against).y_desc(unit.symbol()).draw()?;
    let names: BTreeSet<&str> = points.iter().map(|point| &*point.series).collect();
    for (number, name) in names.into_iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        let own = points.iter().filter(|point| point.series == name);
        let mut line: Vec<(f64, f64)> = own.map(|point| at(point)).collect();
        line.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        chart
            .draw_series(LineSeries::new(line.iter().copied(), color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        chart.draw_series(line.into_iter().map(|at| Circle::new(at, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    Ok(area.present()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Unit;
    use crate::statistics::Estimate;

    fn draw_points(medians: [f64; 3]) {
        let point = |(number, median): (u32, f64)| Point {
            part: "forward".into(),
            plot: "cost".to_owned(),
            series: "enforcer".to_owned(),
            against: "flows".into(),
            x: f64::from(1 << number),
            unit: Unit::Nanoseconds,
            y: Estimate::of([median]),
        };
        let points: Vec<Point> = (0..).zip(medians).map(point).collect();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cost.svg");
        lines(&points.iter().collect::<Vec<_>>(), &path).unwrap();
        assert!(std::fs::read_to_string(path).unwrap().contains("</svg>"));
    }

    #[test]
    fn what_noise_makes_less_than_nothing_is_drawn() {
        draw_points([-5.0, 0.0, 250.0]);
        draw_points([-5.0, -1.0, 0.0]);
    }
}

//! The picture: how many hijacks succeed, by kind, for each defence.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Failure;
use crate::replay::Tally;
use crate::table::percent;
use crate::world::Kind;

/// Told apart also by those who don't see all colours (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(90, 90, 90),
    RGBColor(230, 159, 0),
    RGBColor(240, 228, 66),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
];

/// How much room the legend has, in groups of bars.
const BESIDE: f64 = 1.75;

pub(crate) fn draw(file: &Path, tallies: &[Tally]) -> Result<(), Failure> {
    let kinds = Kind::ALL.len() as f64;
    let root = SVGBackend::new(file, (960, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Hijacks that succeed, by how the domain came into other hands", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(34)
        .y_label_area_size(54)
        .build_cartesian_2d(0.0..kinds + BESIDE, 0.0..105.0)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(0)
        .y_labels(6)
        .y_label_formatter(&|share| format!("{share:.0} %"))
        .label_style(("sans-serif", 14))
        .draw()?;
    let width = 0.9 / tallies.len() as f64;
    for (place, (tally, colour)) in tallies.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let bars = Kind::ALL.into_iter().enumerate().map(|(number, kind)| {
            let (asked, got) = tally.taken.get(&kind).copied().unwrap_or_default();
            let left = number as f64 + 0.05 + place as f64 * width;
            Rectangle::new([(left, 0.0), (left + width * 0.9, percent(got, asked))], colour.filled())
        });
        chart.draw_series(bars)?.label(tally.name).legend(move |(x, y)| Rectangle::new([(x, y - 6), (x + 14, y + 6)], colour.filled()));
    }
    let labels = Kind::ALL.into_iter().enumerate().map(|(number, kind)| {
        let style = TextStyle::from(("sans-serif", 15)).pos(Pos::new(HPos::Center, VPos::Top));
        Text::new(kind.as_str(), (number as f64 + 0.5, -2.0), style)
    });
    let area = chart.plotting_area().clone();
    for label in labels {
        area.draw(&label)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(TRANSPARENT)
        .label_font(("sans-serif", 13))
        .draw()?;
    root.present()?;
    Ok(())
}

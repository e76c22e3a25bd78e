//! The learning curve as an SVG: the loss on the left, the accuracies on the right.

use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::Epoch;

const BLUE: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const ORANGE: RGBColor = RGBColor(0xe6, 0x6f, 0x00);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Line<'a> = (&'a str, RGBColor, Vec<f64>);

pub fn draw(path: &Path, epochs: &[Epoch]) -> Result<()> {
    let root = SVGBackend::new(path, (1000, 440)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root
        .titled("Reading handwritten digits: 64-128-64-10 network, AdamW", ("sans-serif", 22))?
        .split_horizontally(500);
    let series = |of: fn(&Epoch) -> f64| epochs.iter().map(of).collect::<Vec<_>>();
    let loss = series(|epoch| epoch.loss);
    let accuracies = [series(|epoch| 100.0 * epoch.train), series(|epoch| 100.0 * epoch.test)];
    // A loss that overflowed has no place on the axis.
    let top = loss.iter().copied().filter(|loss| loss.is_finite()).fold(0.1, f64::max) * 1.05;
    let bottom = accuracies.iter().flatten().copied().fold(90.0, f64::min).div_euclid(10.0) * 10.0;
    let [train, test] = accuracies;
    panel(&left, "cross-entropy loss (nats)", 0.0..top, &[("training digits", BLUE, loss)])?;
    panel(
        &right,
        "accuracy (%)",
        bottom..100.5,
        &[("training digits", BLUE, train), ("test digits", ORANGE, test)],
    )?;
    root.present()?;
    Ok(())
}

fn panel(area: &Area, label: &str, range: Range<f64>, lines: &[Line]) -> Result<()> {
    let epochs = lines.iter().map(|(.., values)| values.len()).max().unwrap_or(0);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(24)
        .x_label_area_size(46)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..epochs as f64, range)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .axis_style(BLACK.mix(0.5))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 16))
        .x_desc("epochs")
        .y_desc(label)
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .draw()?;
    for (name, colour, values) in lines {
        let points = (1..).map(f64::from).zip(values.iter().copied()).filter(|(_, value)| value.is_finite());
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2).filled()).point_size(3))?
            .label(*name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .label_font(("sans-serif", 14))
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .position(SeriesLabelPosition::MiddleRight)
        .draw()?;
    Ok(())
}

//! The libraries side by side as an SVG: how many times ours as fast each is, on a logarithmic axis.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use crate::report::Report;

pub fn draw(report: &Report, path: &Path) -> Result<()> {
    let (libraries, workloads) = (report.libraries(), report.compared());
    let peers = &libraries[1..];
    let width = peers.len() as f64 + 1.0; // of a workload's bars and the gap after them
    let area = SVGBackend::new(path, (1000, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("Speed in times of {}'s ({})", libraries[0], report.adapter()), ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..width * workloads.len() as f64, (0.02..20.0).log_scale())?;
    chart.configure_mesh().disable_x_mesh().disable_x_axis().draw()?;
    for (place, library) in peers.iter().enumerate() {
        let color = Palette99::pick(place).to_rgba();
        let bars = workloads.iter().enumerate().filter_map(|(group, workload)| {
            let left = group as f64 * width + place as f64 + 0.5;
            Some(Rectangle::new(
                [(left, 1.0), (left + 0.9, report.speed(library, workload)?)],
                color.filled(),
            ))
        });
        let sample = move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], color.filled());
        chart.draw_series(bars)?.label(*library).legend(sample);
    }
    let names = workloads.iter().enumerate().map(|(group, workload)| {
        Text::new(workload.to_string(), ((group as f64 + 0.3) * width, 0.025), ("sans-serif", 14))
    });
    chart.draw_series(names)?;
    chart.draw_series([PathElement::new([(0.0, 1.0), (width * workloads.len() as f64, 1.0)], BLACK)])?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .draw()?;
    area.present()?;
    Ok(())
}

//! Charts as SVG: lines and points in panels that stand side by side.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use plotters::coord::Shift;
use plotters::prelude::*;

pub const BLUE: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
pub const ORANGE: RGBColor = RGBColor(0xe6, 0x6f, 0x00);
pub const GREY: RGBColor = RGBColor(0x90, 0x90, 0x90);

pub struct Panel<'a> {
    /// What the axes mean.
    pub x: &'a str,
    pub y: &'a str,
    pub series: Vec<Series<'a>>,
}

pub struct Series<'a> {
    pub name: &'a str,
    pub colour: RGBColor,
    pub points: Vec<(f64, f64)>,
    /// A line, or points alone.
    pub line: bool,
}

impl<'a> Series<'a> {
    pub fn line(name: &'a str, colour: RGBColor, points: Vec<(f64, f64)>) -> Series<'a> {
        Series { name, colour, points, line: true }
    }

    pub fn points(name: &'a str, colour: RGBColor, points: Vec<(f64, f64)>) -> Series<'a> {
        Series { name, colour, points, line: false }
    }
}

/// Values at 1, 2, 3 and so on.
pub fn numbered(values: impl IntoIterator<Item = f64>) -> Vec<(f64, f64)> {
    (1..).map(f64::from).zip(values).collect()
}

pub fn draw(path: &Path, title: &str, panels: &[Panel]) -> Result<()> {
    let root = SVGBackend::new(path, (500 * panels.len().max(2) as u32, 440)).into_drawing_area();
    root.fill(&WHITE)?;
    let areas = root.titled(title, ("sans-serif", 22))?.split_evenly((1, panels.len()));
    for (area, panel) in areas.iter().zip(panels) {
        panel.draw(area)?;
    }
    root.present().with_context(|| format!("{} cannot be written", path.display()))
}

impl Panel<'_> {
    fn draw(&self, area: &DrawingArea<SVGBackend, Shift>) -> Result<()> {
        // A loss that overflowed has no place on the axis.
        let points = || self.series.iter().flat_map(|series| &series.points).filter(|(_, y)| y.is_finite());
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_right(24)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(
                range(points().map(|(x, _)| *x), 0.0),
                range(points().map(|(_, y)| *y), 0.05),
            )?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .axis_style(BLACK.mix(0.5))
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 16))
            .x_desc(self.x)
            .y_desc(self.y)
            .draw()?;
        for Series { name, colour, points, line } in &self.series {
            let points = points.iter().copied().filter(|(_, y)| y.is_finite());
            let key = |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(3));
            match line {
                true => chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?,
                false => chart.draw_series(points.map(|point| Circle::new(point, 2, colour.filled())))?,
            }
            .label(*name)
            .legend(key);
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
}

/// From the least to the largest, with a margin of this share at either end.
fn range(values: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    let room = if high > low { margin * (high - low) } else { 0.5 };
    if low > high { 0.0..1.0 } else { low - room..high + room }
}

/// Grey levels from 0 (paper) to 1 (ink), as pictures of `size` x `size` in rows of `columns`.
pub fn pictures(path: &Path, levels: &[f32], size: usize, columns: usize) -> Result<()> {
    const PIXEL: usize = 6;
    let count = levels.len() / (size * size);
    let side = (size + 1) * PIXEL;
    let (width, height) = (columns * side, count.div_ceil(columns) * side);
    let root = SVGBackend::new(path, (width as u32, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    for (i, &level) in levels.iter().enumerate().filter(|(_, level)| **level > 0.02) {
        let (picture, pixel) = (i / (size * size), i % (size * size));
        let x = picture % columns * side + pixel % size * PIXEL;
        let y = picture / columns * side + pixel / size * PIXEL;
        let corners = [(x as i32, y as i32), ((x + PIXEL) as i32, (y + PIXEL) as i32)];
        root.draw(&Rectangle::new(corners, BLACK.mix(level.into()).filled()))?;
    }
    root.present().with_context(|| format!("{} cannot be written", path.display()))
}

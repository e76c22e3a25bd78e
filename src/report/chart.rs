//! Charts as SVG: panels with lines and points, and grids of grey-level images.

use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::core::error::Error;
use crate::core::files::file_error;
use crate::core::shape::refuse;

/// The colors of the series, in order and repeated after the last. They are distinguishable with color blindness (Okabe
/// and Ito, 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
];

/// A pair of axes with lines and points.
///
/// ```
/// # fn main() -> Result<(), wgrad::Error> {
/// use wgrad::report::{Panel, draw};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("curve.svg");
/// let loss = Panel::new("epochs", "loss")
///     .line("training", [(1.0, 2.3), (2.0, 1.1), (3.0, 0.7)])
///     .line("validation", [(1.0, 2.1), (2.0, 1.3), (3.0, 1.0)]);
/// draw(&path, "A small network", &[loss])?;
/// # assert!(std::fs::read_to_string(&path).unwrap().contains("validation"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Panel {
    x: String,
    y: String,
    series: Vec<Series>,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    line: bool,
}

impl Panel {
    /// Creates a panel with these axis labels.
    pub fn new(x: &str, y: &str) -> Panel {
        Panel { x: x.to_owned(), y: y.to_owned(), series: Vec::new() }
    }

    /// Adds a line through points. Points that are not finite are left out.
    pub fn line(self, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Panel {
        self.with(name, points, true)
    }

    /// Adds points without a line.
    pub fn points(self, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Panel {
        self.with(name, points, false)
    }

    fn with(mut self, name: &str, points: impl IntoIterator<Item = (f64, f64)>, line: bool) -> Panel {
        let points = points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        self.series.push(Series { name: name.to_owned(), points, line });
        self
    }

    fn draw(&self, area: &DrawingArea<SVGBackend, Shift>) -> Drawn {
        let points = || self.series.iter().flat_map(|series| &series.points);
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
            .x_desc(&self.x)
            .y_desc(&self.y)
            .draw()?;
        for (Series { name, points, line }, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let points = points.iter().copied();
            let key = |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(3));
            match line {
                true => chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?,
                false => chart.draw_series(points.map(|point| Circle::new(point, 2, colour.filled())))?,
            }
            .label(name)
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

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws panels side by side under a title.
///
/// # Errors
///
/// Returns [`Error::File`] if the file cannot be written.
pub fn draw(path: impl AsRef<Path>, title: &str, panels: &[Panel]) -> Result<(), Error> {
    let size = (500 * panels.len().max(2) as u32, 440);
    on_paper(path.as_ref(), size, |paper| {
        let areas = paper.titled(title, ("sans-serif", 22))?.split_evenly((1, panels.len()));
        areas.iter().zip(panels).try_for_each(|(area, panel)| panel.draw(area))
    })
}

/// Draws grey-level images `[height, width]`, with values from 0 (white) to 1 (black), in a grid of `columns` columns.
///
/// # Errors
///
/// Returns [`Error::File`] if the file cannot be written.
///
/// # Panics
///
/// Panics if a size or `columns` is 0, or if `levels.len()` is not a multiple of `height * width`.
#[track_caller]
pub fn draw_pictures(
    path: impl AsRef<Path>,
    levels: &[f32],
    [height, width]: [usize; 2],
    columns: usize,
) -> Result<(), Error> {
    const PIXEL: usize = 6;
    if height * width * columns == 0 || !levels.len().is_multiple_of(height * width) {
        refuse!(
            "draw_pictures",
            "{} levels do not fill a grid with {columns} columns of {height} x {width} images",
            levels.len()
        );
    }
    let rows = (levels.len() / (height * width)).div_ceil(columns);
    let size = ((columns * (width + 1) * PIXEL) as u32, (rows * (height + 1) * PIXEL) as u32);
    on_paper(path.as_ref(), size, |paper| {
        for (i, &level) in levels.iter().enumerate().filter(|(_, level)| **level > 0.02) {
            let (picture, pixel) = (i / (height * width), i % (height * width));
            let x = (picture % columns * (width + 1) + pixel % width) * PIXEL;
            let y = (picture / columns * (height + 1) + pixel / width) * PIXEL;
            let corners = [(x as i32, y as i32), ((x + PIXEL) as i32, (y + PIXEL) as i32)];
            paper.draw(&Rectangle::new(corners, BLACK.mix(level.into()).filled()))?;
        }
        Ok(())
    })
}

fn on_paper(
    path: &Path,
    size: (u32, u32),
    draw: impl FnOnce(&DrawingArea<SVGBackend, Shift>) -> Drawn,
) -> Result<(), Error> {
    let paper = SVGBackend::new(path, size).into_drawing_area();
    let drawn = paper.fill(&WHITE).map_err(Into::into).and_then(|()| draw(&paper));
    drawn.and_then(|()| Ok(paper.present()?)).map_err(|error| file_error(path, error))
}

/// The range from the minimum to the maximum, with a margin of this fraction at both ends.
fn range(values: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    let room = if high > low { margin * (high - low) } else { 0.5 };
    if low > high { 0.0..1.0 } else { low - room..high + room }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_has_no_place_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chart.svg");
        let points = [(0.0, 1.0), (1.0, f64::NAN), (2.0, f64::INFINITY), (3.0, 2.0)];
        let panel = Panel::new("x", "y").points("some", points);
        draw(&path, "Two of four", &[panel, Panel::new("x", "y").line("none", [])]).unwrap();
        let svg = fs::read_to_string(&path).unwrap();
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(matches!(draw(folder.path(), "", &[]), Err(Error::File { .. })));
    }

    #[test]
    fn pictures_stand_in_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pictures.svg");
        // Images of 1 x 2: three images in two columns. The right pixel of the last one is black.
        draw_pictures(&path, &[0.0, 0.0, 0.0, 0.0, 0.0, 1.0], [1, 2], 2).unwrap();
        let svg = fs::read_to_string(&path).unwrap();
        assert!(svg.contains(r#"width="36" height="24""#), "{svg}");
        assert!(svg.contains(r##"<rect x="6" y="12" width="6" height="6""##), "{svg}");
    }
}

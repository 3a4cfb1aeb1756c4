//! Loss and accuracy of all networks over the epochs, as SVG.

use std::ops::Range;

use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{Curve, data::CLASSES, train::Epoch};

const SIZE: (u32, u32) = (1280, 520);
/// The height of the title, above the panels.
const TITLE: u32 = 52;
/// Okabe and Ito's colours, which colour-blind people can tell apart.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];
const INK: RGBColor = RGBColor(51, 51, 51);
const FAINT: RGBColor = RGBColor(222, 222, 222);
const GREY: RGBColor = RGBColor(128, 128, 128);

/// A chart of one number over the epochs.
struct Panel {
    title: &'static str,
    y: &'static str,
    range: Range<f64>,
    /// The maximum number of labels on the vertical axis.
    y_labels: usize,
    format: fn(&f64) -> String,
    value: fn(&Epoch) -> f64,
    marks: Vec<Mark>,
    legend: bool,
}

/// A reference height.
struct Mark {
    height: f64,
    text: &'static str,
    /// Whether the text is at the left end above the line, or at the right end below it. No curve is there.
    left: bool,
}

/// The loss in decades. They tell a network that has learned all there is from one that goes on.
fn loss(curves: &[Curve]) -> Panel {
    let value = |epoch: &Epoch| f64::from(epoch.loss).max(1e-6).log10();
    let losses = curves.iter().flat_map(|curve| &curve.epochs).map(value);
    let decades = losses.fold(-1.0, f64::min).floor();
    Panel {
        title: "Loss",
        y: "mean cross-entropy (logarithmic)",
        range: decades..0.7,
        y_labels: (2.0 - decades) as usize,
        format: |decade| format!("{}", 10.0_f32.powi(decade.round() as i32)),
        value,
        marks: vec![Mark { height: (CLASSES as f64).ln().log10(), text: "guessing: ln 10", left: true }],
        legend: false,
    }
}

fn accuracy() -> Panel {
    Panel {
        title: "Accuracy on held-out digits",
        y: "digits recognized, %",
        range: 0.0..105.0,
        y_labels: 6,
        format: f64::to_string,
        value: |epoch| f64::from(epoch.percent()),
        marks: vec![
            Mark { height: 100.0 / CLASSES as f64, text: "guessing: 10 %", left: true },
            Mark { height: 95.0, text: "95 %", left: false },
        ],
        legend: true,
    }
}

pub(crate) fn draw(curves: &[Curve]) -> Result<String, String> {
    let mut svg = String::new();
    draw_on(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area(), curves)
        .map_err(|e| e.to_string())?;
    Ok(svg)
}

type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

fn draw_on<DB: DrawingBackend>(root: &DrawingArea<DB, Shift>, curves: &[Curve]) -> Drawn<DB> {
    root.fill(&WHITE)?;
    let (title, panels) = root.split_vertically(TITLE);
    let style = font(24).color(&INK).pos(Pos::new(HPos::Center, VPos::Center));
    let text = "Handwritten digits: two layers with spiky, or a variant, between them";
    title.draw(&Text::new(text, (SIZE.0 as i32 / 2, TITLE as i32 / 2 + 4), style))?;
    for (area, panel) in panels.split_evenly((1, 2)).iter().zip([loss(curves), accuracy()]) {
        panel.draw(area, curves)?;
    }
    root.present()
}

impl Panel {
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, curves: &[Curve]) -> Drawn<DB> {
        let epochs = curves.iter().map(|curve| curve.epochs.len()).max().unwrap_or(1) as f64;
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .margin_right(24)
            .set_label_area_size(LabelAreaPosition::Left, 68)
            .set_label_area_size(LabelAreaPosition::Bottom, 44)
            .caption(self.title, font(18).color(&INK))
            .build_cartesian_2d(0.0..epochs, self.range.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .x_labels(10)
            .x_label_formatter(&f64::to_string)
            .y_labels(self.y_labels)
            .y_label_formatter(&self.format)
            .x_desc("epoch")
            .y_desc(self.y)
            .label_style(font(14).color(&INK))
            .axis_desc_style(font(15).color(&INK))
            .draw()?;
        for mark in &self.marks {
            mark.draw(&mut chart, epochs)?;
        }
        for (curve, colour) in curves.iter().zip(COLOURS) {
            let points = (1..).map(f64::from).zip(curve.epochs.iter().map(self.value));
            let series = chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
            let sample = move |(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(3));
            series.label(curve.caption()).legend(sample);
        }
        if self.legend { draw_legend(&mut chart) } else { Ok(()) }
    }
}

type Chart<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

impl Mark {
    fn draw<DB: DrawingBackend>(&self, chart: &mut Chart<DB>, epochs: f64) -> Drawn<DB> {
        let ends = [(0.0, self.height), (epochs, self.height)];
        chart.draw_series(DashedLineSeries::new(ends, 6, 5, GREY.into()))?;
        let (end, pos, gap) = if self.left {
            (ends[0], Pos::new(HPos::Left, VPos::Bottom), (6, -4))
        } else {
            (ends[1], Pos::new(HPos::Right, VPos::Top), (-6, 6))
        };
        let text = Text::new(self.text, gap, font(13).color(&GREY).pos(pos));
        chart.draw_series([EmptyElement::at(end) + text])?;
        Ok(())
    }
}

/// Draws the legend in the middle, below the networks that learn and next to the one that collapses.
fn draw_legend<'a, DB: DrawingBackend + 'a>(chart: &mut Chart<'a, DB>) -> Drawn<DB> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::Coordinate(130, 150))
        .legend_area_size(30)
        .margin(12)
        .background_style(WHITE)
        .border_style(FAINT)
        .label_font(font(15).color(&INK))
        .draw()
}

impl Curve {
    /// The name of the network, and its final accuracy.
    fn caption(&self) -> String {
        let last = self.epochs.last().map_or(0.0, Epoch::percent);
        format!("{}: {last:.1} %", self.name)
    }
}

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().into()
}

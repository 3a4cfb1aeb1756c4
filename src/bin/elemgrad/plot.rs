//! `elemgrad plot`: an op's output and gradients over each of its inputs, as SVG.
//!
//! A column for each input, a row for each output. A jump is drawn as one: the curve ends there, with a full dot where it
//! takes the value and an empty one where it does not.

use std::{
    fs,
    io::{self, Write as _},
    ops::RangeInclusive,
    path::Path,
};

use elemgrad::{Args, Choice, DType, Error, Op, Runner};
use plotters::{
    coord::types::RangedCoordf64,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{cli, failure::Failure, outputs};

/// One panel of the picture.
const PANEL: (u32, u32) = (640, 250);
/// Above the panels.
const TITLE: u32 = 56;
/// Points of a curve, jumps not counted.
const POINTS: u32 = 450;
/// Neighbouring points that are further apart have a jump between them: no slope is as steep.
const JUMP: f32 = 0.2;
/// Okabe and Ito's colours, which the colour-blind can tell apart: `z`, then the gradients.
const COLOURS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];
const INK: RGBColor = RGBColor(51, 51, 51);
const FAINT: RGBColor = RGBColor(222, 222, 222);

/// What one column shows: an op's input, its range, and the others' values. The upstream gradient is 1.
struct Column {
    op: &'static str,
    input: usize,
    range: RangeInclusive<f32>,
    /// Every input; that of the column's own does not count.
    at: &'static [f32],
}

/// Ranges whose jumps lie at short binary fractions, so that a dot can be put on them.
const COLUMNS: [Column; 3] = [
    Column { op: "spiky", input: 0, range: -2.0..=2.5, at: &[0.0] },
    Column { op: "mod", input: 0, range: -2.5..=2.5, at: &[0.0, 1.0] },
    Column { op: "mod", input: 1, range: 1.3..=7.0, at: &[6.0, 0.0] },
];

pub(crate) fn execute(args: &cli::Plot, device: &Choice) -> Result<(), Failure> {
    let runner = Runner::open(device)?;
    let svg = draw(args.op.0, &runner)?;
    let cannot = |e: io::Error| {
        Failure::Usage(format!("{}: cannot be written: {e}; choose another --out", args.out.display()))
    };
    if args.out.symlink_metadata().is_ok_and(|there| !there.is_file()) {
        // A terminal, a pipe, a link to one.
        return fs::write(&args.out, svg).map_err(cannot);
    }
    let directory = args.out.parent().filter(|path| !path.as_os_str().is_empty());
    let mut file = outputs::temporary(directory.unwrap_or(Path::new("."))).map_err(cannot)?;
    file.write_all(svg.as_bytes()).map_err(|e| Failure::on_file(&args.out, e))?;
    file.persist(&args.out).map(drop).map_err(|e| cannot(e.error))
}

fn draw(op: &dyn Op, runner: &Runner) -> Result<String, Failure> {
    let definition = op.definition();
    let columns: Vec<_> = COLUMNS.iter().filter(|column| column.op == definition.name).collect();
    let rows = drawn(op);
    let size = (PANEL.0 * columns.len() as u32, TITLE + PANEL.1 * rows as u32);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(Failure::on_the_way)?;
        let (title, panels) = root.split_vertically(TITLE);
        let style = font(24).color(&INK).pos(Pos::new(HPos::Center, VPos::Center));
        let text = format!("{}({}) and gradients for dz = 1", definition.name, definition.inputs.join(", "));
        title
            .draw(&Text::new(text, (size.0 as i32 / 2, TITLE as i32 / 2 + 4), style))
            .map_err(Failure::on_the_way)?;
        let panels = panels.split_evenly((rows, columns.len()));
        for (i, column) in columns.iter().enumerate() {
            let curves = column.curves(op, runner)?;
            for (write, pieces) in curves.iter().enumerate() {
                let panel = &panels[write * columns.len() + i];
                draw_panel(panel, op, column, write, pieces).map_err(Failure::on_the_way)?;
            }
        }
        root.present().map_err(Failure::on_the_way)?;
    }
    Ok(svg)
}

/// How many outputs are drawn: `z` and the gradients, which are the first.
fn drawn(op: &dyn Op) -> usize {
    1 + op.definition().inputs.len()
}

/// A curve between two jumps.
type Piece = Vec<(f32, f32)>;

impl Column {
    /// Each output's curve, in pieces.
    fn curves(&self, op: &dyn Op, runner: &Runner) -> Result<Vec<Vec<Piece>>, Error> {
        let at = self.abscissae(op);
        let mut reads: Vec<_> = self.at.iter().map(|value| vec![*value; at.len()]).collect();
        reads[self.input].clone_from(&at);
        reads.push(vec![1.0; at.len()]);
        let mut writes: Vec<Vec<f32>> = vec![Vec::new(); drawn(op)];
        runner.run(Args::new(op, reads.iter().map(Some).collect(), writes.iter_mut().map(Some).collect()))?;
        let pieces = |values: &Vec<f32>| {
            let points: Piece = at.iter().copied().zip(values.iter().copied()).collect();
            points.chunk_by(|a, b| (a.1 - b.1).abs() < JUMP).map(straighten).collect()
        };
        Ok(writes.iter().map(pieces).collect())
    }

    /// Evenly spaced, and both sides of every jump.
    fn abscissae(&self, op: &dyn Op) -> Vec<f32> {
        let (start, end) = (*self.range.start(), *self.range.end());
        let even = (0..=POINTS).map(|i| start + (end - start) * i as f32 / POINTS as f32);
        let mut all: Vec<f32> = even.collect();
        let jumps: Vec<_> =
            all.windows(2).filter_map(|pair| self.jump(op, pair[0], pair[1])).flatten().collect();
        all.extend(jumps);
        all.sort_by(f32::total_cmp);
        all
    }

    /// The neighbouring numbers between which an output jumps, where one does.
    fn jump(&self, op: &dyn Op, mut left: f32, mut right: f32) -> Option<[f32; 2]> {
        let jumps = |a: f32, b: f32| {
            let (a, b) = (self.reference(op, a), self.reference(op, b));
            a.iter().zip(b).any(|(a, b)| (a - b).abs() >= JUMP)
        };
        if !jumps(left, right) {
            return None;
        }
        loop {
            let middle = f32::midpoint(left, right);
            if middle <= left || middle >= right {
                return Some([left, right]);
            }
            if jumps(left, middle) { right = middle } else { left = middle }
        }
    }

    fn reference(&self, op: &dyn Op, at: f32) -> Vec<f32> {
        let mut reads = [self.at, &[1.0]].concat();
        reads[self.input] = at;
        let mut writes = vec![0.0; op.definition().write_count()];
        op.reference(DType::F32, &reads, &mut writes);
        writes.truncate(drawn(op));
        writes
    }

    /// `x, y = 1`: what varies, and what does not.
    fn caption(&self, op: &dyn Op) -> String {
        let fixed = op.definition().inputs.iter().zip(self.at).enumerate().filter(|(i, _)| *i != self.input);
        fixed.fold(op.definition().inputs[self.input].to_string(), |text, (_, (name, value))| {
            format!("{text}   ({name} = {value})")
        })
    }
}

/// Leaves out points on a straight line: coordinates are rounded to pixels, which would show.
fn straighten(points: &[(f32, f32)]) -> Piece {
    let mut kept = Piece::new();
    for (i, point) in points.iter().enumerate() {
        let straight = match (kept.last(), points.get(i + 1)) {
            (Some(before), Some(after)) => {
                let along = (point.0 - before.0) / (after.0 - before.0);
                (before.1 + along * (after.1 - before.1) - point.1).abs() < 1e-4
            }
            _ => false,
        };
        if !straight {
            kept.push(*point);
        }
    }
    kept
}

fn draw_panel<DB: DrawingBackend>(
    area: &DrawingArea<DB, plotters::coord::Shift>,
    op: &dyn Op,
    column: &Column,
    write: usize,
    pieces: &[Piece],
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let colour = COLOURS[write % COLOURS.len()];
    let values = || pieces.iter().flatten().map(|(_, value)| *value);
    let (low, high) = values().fold((0.0_f32, 1.0_f32), |(low, high), v| (low.min(v), high.max(v)));
    let margin = (high - low) * 0.1;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(24)
        .set_label_area_size(LabelAreaPosition::Left, 56)
        .set_label_area_size(LabelAreaPosition::Bottom, 44)
        .caption(formula(op, write), font(17).color(&colour))
        .build_cartesian_2d(
            f64::from(*column.range.start())..f64::from(*column.range.end()),
            f64::from(low - margin)..f64::from(high + margin),
        )?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .x_labels(10)
        .y_labels(6)
        .x_label_formatter(&|x| (*x as f32).to_string())
        .y_label_formatter(&|y| (*y as f32).to_string())
        .x_desc(column.caption(op))
        .label_style(font(14).color(&INK))
        .axis_desc_style(font(15).color(&INK))
        .draw()?;
    for piece in pieces {
        let points = piece.iter().map(|(x, y)| (f64::from(*x), f64::from(*y)));
        chart.draw_series(LineSeries::new(points, colour.stroke_width(3)))?;
    }
    draw_dots(&mut chart, pieces, colour)
}

type Chart<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The ends at each jump.
fn draw_dots<DB: DrawingBackend>(
    chart: &mut Chart<DB>,
    pieces: &[Piece],
    colour: RGBColor,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let at = |point: &(f32, f32)| (f64::from(point.0), f64::from(point.1));
    for pair in pieces.windows(2) {
        let (Some(left), Some(right)) = (pair[0].last(), pair[1].first()) else { continue };
        // The jump is at a short binary fraction, or for the tie just above -0.5 one step beside it.
        let roundness = |a: f32, b: f32| a.to_bits().trailing_zeros().max(b.to_bits().trailing_zeros());
        let left_takes = roundness(left.0, left.0.next_down()) > roundness(right.0, right.0.next_up());
        let (full, empty) = if left_takes { (left, right) } else { (right, left) };
        chart.draw_series([Circle::new(at(full), 5, colour.filled())])?;
        chart.draw_series([Circle::new(at(empty), 5, WHITE.filled())])?;
        chart.draw_series([Circle::new(at(empty), 5, colour.stroke_width(2))])?;
    }
    Ok(())
}

/// `z = x - y * floor(x / y)`.
fn formula(op: &dyn Op, write: usize) -> String {
    let output = &op.definition().outputs[write];
    format!("{} = {}", output.name, output.formula)
}

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().into()
}

//! `elemgrad plot`: an op's output and gradients over each of its inputs, as SVG.
//!
//! The picture has a column for each input and a row for each output. At a jump the curve ends, with a full dot where
//! it takes the value and an empty dot where it does not. Near a pole the curve leaves the picture.

use std::{
    fs,
    io::{self, Write as _},
    ops::RangeInclusive,
    path::Path,
};

use elemgrad::{Args, Choice, DType, Error, Op, Runner, signature::Signature};
use plotters::{
    coord::types::RangedCoordf64,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{cli, failure::Failure, op::Given, outputs};

/// The size of one panel.
const PANEL: (u32, u32) = (640, 250);
/// The height of the title above the panels.
const TITLE: u32 = 56;
/// The number of points at which a curve is computed, not counting jumps: several for each pixel.
const POINTS: u32 = 2400;
/// If the values at neighbouring floats differ by more than this fraction of the picture's height, there is a jump
/// between them.
const JUMP: f64 = 0.02;
/// Values next to a jump that are more than this many picture heights away are on their way to infinity.
const POLE: f64 = 8.0;
/// A height is too large if it is more than this many times the height of most values.
const SPARSE: f64 = 4.0;
/// If a jump is at a short binary fraction, a float next to it has at least this many trailing zero bits.
const SHORT: u32 = 8;
/// The approximate size of a curve in pixels, and the largest distance of a point from a line through others.
const CURVE: (f64, f64) = (550.0, 150.0);
const NEARLY: f64 = 0.1;
/// The width of a curve's line. No other line has it.
const STROKE: u32 = 3;
/// With more jumps than this, no dots are drawn.
const MAX_DOTS: usize = 40;
/// The most characters of a formula. A formula is as wide as a panel.
const MAX_FORMULA: usize = 66;
/// For ops that are not built in: the range of an input, and its value while another input varies.
const USUAL: (RangeInclusive<f32>, f32) = (-3.0..=3.0, 1.0);
/// Colours by Okabe and Ito that colour-blind people can tell apart: `z`, then the gradients.
const COLOURS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];
const INK: RGBColor = RGBColor(51, 51, 51);
const FAINT: RGBColor = RGBColor(222, 222, 222);

/// The content of one column: one input of an op over a range, the others at fixed values. The upstream gradient is
/// 1.
struct Column<'a> {
    op: &'a Op,
    input: usize,
    range: RangeInclusive<f32>,
    /// The value of every input. The value of the column's own input is not used.
    at: Vec<f32>,
}

/// Columns of the built-in ops: op, input, range, and the inputs' values. The jumps in these ranges are at short
/// binary fractions, so dots can be drawn on them.
const COLUMNS: [(&str, usize, RangeInclusive<f32>, &[f32]); 3] = [
    ("spiky", 0, -2.0..=2.5, &[0.0]),
    ("mod", 0, -2.5..=2.5, &[0.0, 1.0]),
    ("mod", 1, 1.3..=7.0, &[6.0, 0.0]),
];

pub(crate) fn execute(args: &cli::Plot, device: &Choice) -> Result<(), Failure> {
    let given = args.op.one()?;
    let columns = columns(args, &given)?;
    let runner = Runner::open(device)?;
    let svg = draw(given.op(), &columns, &runner)?;
    let cannot = |e: io::Error| {
        Failure::Usage(format!("{}: cannot be written: {e}; choose another --out", args.out.display()))
    };
    if args.out.symlink_metadata().is_ok_and(|there| !there.is_file()) {
        // The target is a terminal, a pipe, or a link to one.
        return fs::write(&args.out, svg).map_err(cannot);
    }
    let directory = args.out.parent().filter(|path| !path.as_os_str().is_empty());
    let mut file = outputs::temporary(directory.unwrap_or(Path::new("."))).map_err(cannot)?;
    file.write_all(svg.as_bytes()).map_err(|e| Failure::on_file(&args.out, e))?;
    file.persist(&args.out).map(drop).map_err(|e| cannot(e.error))
}

/// A column for each input.
fn columns<'a>(args: &cli::Plot, given: &'a Given) -> Result<Vec<Column<'a>>, Failure> {
    let signature = given.op().signature();
    let (ranges, told) =
        (by_name(signature, "--range", &args.ranges)?, by_name(signature, "--at", &args.at)?);
    let column = |input: usize| {
        let mut listed = COLUMNS.iter().filter(|(op, own, ..)| *op == signature.name() && *own == input);
        let (range, at) = match listed.next().filter(|_| given.is_built_in) {
            Some((_, _, range, at)) => (range.clone(), at.to_vec()),
            None => (USUAL.0, vec![USUAL.1; signature.inputs().len()]),
        };
        Column {
            op: given.op(),
            input,
            range: ranges[input].cloned().unwrap_or(range),
            at: at.iter().zip(&told).map(|(usual, told)| *told.unwrap_or(usual)).collect(),
        }
    };
    Ok((0..signature.inputs().len()).map(column).collect())
}

/// The value that an option gives for each input.
fn by_name<'a, T>(
    signature: &Signature,
    option: &str,
    told: &'a [(String, T)],
) -> Result<Vec<Option<&'a T>>, Failure> {
    let mut all: Vec<Option<&T>> = vec![None; signature.inputs().len()];
    for (name, value) in told {
        let input = signature.inputs().iter().position(|input| input == name).ok_or_else(|| {
            let inputs = signature.inputs().join(", ");
            Failure::Usage(format!("{option} {name}: {} has the inputs {inputs}", signature.name()))
        })?;
        if all[input].replace(value).is_some() {
            return Err(Failure::Usage(format!("{option} {name} is given twice: leave out one of them")));
        }
    }
    Ok(all)
}

fn draw(op: &Op, columns: &[Column], runner: &Runner) -> Result<String, Failure> {
    let signature = op.signature();
    let rows = drawn(op);
    let size = (PANEL.0 * columns.len() as u32, TITLE + PANEL.1 * rows as u32);
    let (mut svg, mut lines) = (String::new(), Vec::new());
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(Failure::on_the_way)?;
        let (title, panels) = root.split_vertically(TITLE);
        let style = font(24).color(&INK).pos(Pos::new(HPos::Center, VPos::Center));
        let text =
            format!("{}({}) and gradients for dz = 1", signature.name(), signature.inputs().join(", "));
        title
            .draw(&Text::new(text, (size.0 as i32 / 2, TITLE as i32 / 2 + 4), style))
            .map_err(Failure::on_the_way)?;
        let panels = panels.split_evenly((rows, columns.len()));
        for (i, column) in columns.iter().enumerate() {
            for (write, curve) in column.curves(runner)?.iter().enumerate() {
                let panel = &panels[write * columns.len() + i];
                lines.extend(draw_panel(panel, column, write, curve).map_err(Failure::on_the_way)?);
            }
        }
        root.present().map_err(Failure::on_the_way)?;
    }
    Ok(with_lines(&svg, &lines))
}

/// The picture with these points for its curves. plotters rounds coordinates to pixels, which would show.
fn with_lines(svg: &str, lines: &[String]) -> String {
    let start = format!("stroke-width=\"{STROKE}\" points=\"");
    let mut parts = svg.split(&start);
    let mut exact = parts.next().unwrap_or_default().to_owned();
    for (part, points) in parts.zip(lines) {
        let rest = part.find('"').map_or("", |end| &part[end..]);
        exact.extend([&start, points, rest]);
    }
    exact
}

/// The number of outputs to draw: `z` and the gradients, which come first.
fn drawn(op: &Op) -> usize {
    1 + op.signature().inputs().len()
}

/// A value of the input and the value of the output.
type Point = (f32, f32);
/// Points connected by a line.
type Piece = Vec<Point>;

/// The curve of an output over an input.
struct Curve {
    /// The pieces between jumps and places without a finite value.
    pieces: Vec<Piece>,
    frame: Frame,
}

/// The range of values that a picture shows.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Frame {
    low: f64,
    high: f64,
}

impl Frame {
    const UNIT: Self = Self { low: 0.0, high: 1.0 };

    /// A frame around all finite values; `None` if there are none.
    fn around(values: &[f32]) -> Option<Self> {
        let finite = values.iter().filter(|value| value.is_finite()).map(|value| f64::from(*value));
        finite.map(|value| Self { low: value, high: value }).reduce(Self::and)
    }

    /// A frame around most values, with a margin: the interesting part of a curve with a pole.
    fn around_most(values: &[f32]) -> Option<Self> {
        let mut finite: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
        finite.sort_by(f32::total_cmp);
        let tenth = finite.len() / 10;
        let (all, most) = (Self::around(&finite)?, Self::around(&finite[tenth..finite.len() - tenth])?);
        let wider = most.widened(0.5);
        let wide = Self { low: wider.low.max(all.low), high: wider.high.min(all.high) };
        Some(if all.height() > SPARSE * most.height() { wide } else { all })
    }

    fn and(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// Includes 0 and 1 if they are not far, or if all values are equal: an axis needs a length.
    fn with_unit(self) -> Self {
        let both = self.and(Self::UNIT);
        if self.height() == 0.0 || both.height() <= SPARSE * self.height() { both } else { self }
    }

    /// The frame with a margin of `part` times its height.
    fn widened(self, part: f64) -> Self {
        let margin = self.height() * part;
        Self { low: self.low - margin, high: self.high + margin }
    }

    fn height(self) -> f64 {
        self.high - self.low
    }

    fn contains(self, value: f32) -> bool {
        (self.low..=self.high).contains(&f64::from(value))
    }

    /// The distance between two values in frame heights; infinite if only one of them is finite.
    fn gap(self, a: f32, b: f32) -> f64 {
        match (a.is_finite(), b.is_finite()) {
            (true, true) => (f64::from(a) - f64::from(b)).abs() / self.height(),
            (false, false) => 0.0,
            _ => f64::INFINITY,
        }
    }
}

impl Column<'_> {
    /// The curve of each output.
    fn curves(&self, runner: &Runner) -> Result<Vec<Curve>, Error> {
        let even = self.even();
        let seen: Vec<_> = self.values(runner, &even)?.iter().map(|v| Frames::around(v)).collect();
        let outputs = || seen.iter().map(|seen| seen.all).enumerate();
        let jumps = |pair: &[f32]| {
            outputs().filter_map(|(w, all)| self.jump(pair[0], pair[1], w, all)).collect::<Vec<_>>()
        };
        let jumps = even.windows(2).flat_map(jumps).flatten();
        let mut at: Vec<f32> = even.iter().copied().chain(jumps).collect();
        at.sort_by(f32::total_cmp);
        let values = self.values(runner, &at)?;
        Ok(values.iter().zip(seen).map(|(values, seen)| seen.curve(&at, values)).collect())
    }

    /// `z` and the gradients, computed on the device.
    fn values(&self, runner: &Runner, at: &[f32]) -> Result<Vec<Vec<f32>>, Error> {
        let mut reads: Vec<_> = self.at.iter().map(|value| vec![*value; at.len()]).collect();
        reads[self.input] = at.to_vec();
        reads.push(vec![1.0; at.len()]);
        let mut writes: Vec<Vec<f32>> = vec![Vec::new(); drawn(self.op)];
        let args =
            Args::new(self.op, reads.iter().map(Some).collect(), writes.iter_mut().map(Some).collect());
        runner.run(args)?;
        Ok(writes)
    }

    /// Evenly spaced values of the input.
    fn even(&self) -> Vec<f32> {
        let (start, end) = (f64::from(*self.range.start()), f64::from(*self.range.end()));
        (0..=POINTS).map(|i| (start + (end - start) * f64::from(i) / f64::from(POINTS)) as f32).collect()
    }

    /// The neighbouring floats between which an output jumps, if it does.
    fn jump(&self, mut left: f32, mut right: f32, write: usize, frame: Frame) -> Option<[f32; 2]> {
        let gap = |a: f32, b: f32| frame.gap(self.reference(a)[write], self.reference(b)[write]);
        if gap(left, right) < JUMP {
            return None;
        }
        loop {
            let middle = f32::midpoint(left, right);
            if middle <= left || middle >= right {
                // If the curve is only steep, the gap has become small by now.
                return (gap(left, right) >= JUMP).then_some([left, right]);
            }
            if gap(left, middle) >= gap(middle, right) { right = middle } else { left = middle }
        }
    }

    fn reference(&self, at: f32) -> Vec<f32> {
        let mut reads = [&self.at[..], &[1.0]].concat();
        reads[self.input] = at;
        let mut writes = vec![0.0; self.op.signature().write_count()];
        self.op.reference(DType::F32, &reads, &mut writes);
        writes.truncate(drawn(self.op));
        writes
    }

    /// The input that varies, and the fixed values of the others, such as `x   (y = 1)`.
    fn caption(&self) -> String {
        let inputs = &self.op.signature().inputs();
        let fixed = inputs.iter().zip(&self.at).enumerate().filter(|(i, _)| *i != self.input);
        fixed.fold(inputs[self.input].to_string(), |text, (_, (name, value))| {
            format!("{text}   ({name} = {value})")
        })
    }
}

/// The frames that follow from an output's values at evenly spaced inputs.
struct Frames {
    /// Around all values. Jumps are measured in its height.
    all: Frame,
    /// Around most values.
    most: Frame,
}

impl Frames {
    fn around(values: &[f32]) -> Self {
        let of = |frame: Option<Frame>| frame.unwrap_or(Frame::UNIT).with_unit();
        Self { all: of(Frame::around(values)), most: of(Frame::around_most(values)) }
    }

    /// The curve through all points.
    fn curve(&self, at: &[f32], values: &[f32]) -> Curve {
        let full = Frame::around(values).unwrap_or(Frame::UNIT).with_unit();
        let frame = if full.height() > POLE * self.all.height() { self.most } else { full };
        let points: Piece = at.iter().copied().zip(values.iter().copied()).collect();
        let connected = |a: &Point, b: &Point| {
            let finite = a.1.is_finite() && b.1.is_finite();
            finite && !(are_neighbours(a.0, b.0) && self.all.gap(a.1, b.1) >= JUMP)
        };
        let pieces = points.chunk_by(connected).filter(|piece| piece[0].1.is_finite());
        let width = f64::from(at[at.len() - 1]) - f64::from(at[0]);
        let pixels = |point: Point| {
            (f64::from(point.0) / width * CURVE.0, f64::from(point.1) / frame.height() * CURVE.1)
        };
        Curve { pieces: pieces.map(|piece| straighten(piece, &pixels)).collect(), frame }
    }
}

fn are_neighbours(a: f32, b: f32) -> bool {
    a.next_up() == b
}

/// Removes points that are nearly on the line between others (Ramer, Douglas and Peucker).
fn straighten(points: &[Point], pixels: &dyn Fn(Point) -> (f64, f64)) -> Piece {
    let [first, .., last] = points else { return points.to_vec() };
    let (start, end) = (pixels(*first), pixels(*last));
    let (dx, dy) = (end.0 - start.0, end.1 - start.1);
    let beside = |point: &Point| {
        let (x, y) = pixels(*point);
        ((x - start.0) * dy - (y - start.1) * dx).abs() / dx.hypot(dy)
    };
    let inner = points.iter().enumerate().skip(1).take(points.len() - 2);
    let farthest = inner.map(|(i, point)| (i, beside(point))).max_by(|a, b| a.1.total_cmp(&b.1));
    match farthest.filter(|(_, distance)| *distance > NEARLY) {
        None => vec![*first, *last],
        Some((i, _)) => {
            let mut kept = straighten(&points[..=i], pixels);
            kept.pop();
            kept.extend(straighten(&points[i..], pixels));
            kept
        }
    }
}

/// The parts of a piece within a frame.
fn clip(piece: &[Point], frame: Frame) -> Vec<Vec<(f64, f64)>> {
    let mut parts: Vec<Vec<(f64, f64)>> = Vec::new();
    for pair in piece.windows(2) {
        let [a, b] = [pair[0], pair[1]].map(|(x, value)| (f64::from(x), f64::from(value)));
        if a.1.max(b.1) < frame.low || a.1.min(b.1) > frame.high {
            continue;
        }
        let inside = |point: (f64, f64)| {
            let value = point.1.clamp(frame.low, frame.high);
            let x = || a.0 + (b.0 - a.0) * (value - a.1) / (b.1 - a.1);
            if value == point.1 { point } else { (x(), value) }
        };
        let (a, b) = (inside(a), inside(b));
        match parts.last_mut() {
            Some(part) if part.last() == Some(&a) => part.push(b),
            _ => parts.push(vec![a, b]),
        }
    }
    parts
}

/// Draws a panel. Returns the points of the lines that make up its curve.
fn draw_panel<DB: DrawingBackend>(
    area: &DrawingArea<DB, plotters::coord::Shift>,
    column: &Column,
    write: usize,
    curve: &Curve,
) -> Result<Vec<String>, DrawingAreaErrorKind<DB::ErrorType>> {
    let colour = COLOURS[write % COLOURS.len()];
    let frame = curve.frame.widened(0.1);
    let (start, end) = (f64::from(*column.range.start()), f64::from(*column.range.end()));
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(24)
        .set_label_area_size(LabelAreaPosition::Left, 56)
        .set_label_area_size(LabelAreaPosition::Bottom, 44)
        .caption(formula(column.op, write), font(17).color(&colour))
        .build_cartesian_2d(start..end, frame.low..frame.high)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .x_labels(10)
        .y_labels(6)
        .x_label_formatter(&|x| number(*x, end - start))
        .y_label_formatter(&|y| number(*y, frame.height()))
        .x_desc(column.caption())
        .label_style(font(14).color(&INK))
        .axis_desc_style(font(15).color(&INK))
        .draw()?;
    let corner = |x, y| chart.plotting_area().map_coordinate(&(x, y));
    let (low, high) = (corner(start, frame.low), corner(end, frame.high));
    let place = |(x, y): (f64, f64)| {
        let x = f64::from(low.0) + (x - start) / (end - start) * f64::from(high.0 - low.0);
        let y = f64::from(low.1) + (y - frame.low) / frame.height() * f64::from(high.1 - low.1);
        format!("{x:.2},{y:.2}")
    };
    let parts: Vec<_> = curve.pieces.iter().flat_map(|piece| clip(piece, frame)).collect();
    let line = |part: &Vec<_>| part.iter().copied().map(place).collect::<Vec<_>>().join(" ");
    let lines = parts.iter().map(line).collect();
    for part in parts {
        chart.draw_series(LineSeries::new(part, colour.stroke_width(STROKE)))?;
    }
    draw_dots(&mut chart, curve, colour)?;
    Ok(lines)
}

/// A number on an axis of this length. A tiny number is a rounding error and prints as 0, and only a few digits are
/// significant.
fn number(value: f64, length: f64) -> String {
    let value = if value.abs() < 1e-6 * length { 0.0 } else { value };
    let value = format!("{value:.5e}").parse().unwrap_or(value);
    if value == 0.0 || (1e-4..1e6).contains(&value.abs()) { value.to_string() } else { format!("{value:e}") }
}

type Chart<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws dots at the ends of each jump, if it is known for all jumps which end takes the value.
fn draw_dots<DB: DrawingBackend>(
    chart: &mut Chart<DB>,
    curve: &Curve,
    colour: RGBColor,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let ends = curve.pieces.windows(2).filter_map(|pair| Some([*pair[0].last()?, *pair[1].first()?]));
    let jumps = ends.filter(|[left, right]| are_neighbours(left.0, right.0)).map(full_and_empty);
    let jumps = jumps.collect::<Option<Vec<_>>>().filter(|jumps| jumps.len() <= MAX_DOTS);
    for [full, empty] in jumps.unwrap_or_default() {
        let at = |point: Point| (f64::from(point.0), f64::from(point.1));
        if curve.frame.contains(full.1) {
            chart.draw_series([Circle::new(at(full), 5, colour.filled())])?;
        }
        if curve.frame.contains(empty.1) {
            chart.draw_series([Circle::new(at(empty), 5, WHITE.filled())])?;
            chart.draw_series([Circle::new(at(empty), 5, colour.stroke_width(2))])?;
        }
    }
    Ok(())
}

/// The end of a jump that takes the value, then the other end.
///
/// The jump is at a short binary fraction. The jump of the tie just above -0.5 is one step next to it.
fn full_and_empty([left, right]: [Point; 2]) -> Option<[Point; 2]> {
    let roundness = |a: f32, b: f32| a.to_bits().trailing_zeros().max(b.to_bits().trailing_zeros());
    let of_left = roundness(left.0, left.0.next_down());
    let of_right = roundness(right.0, right.0.next_up());
    let ends = if of_left > of_right { [left, right] } else { [right, left] };
    (of_left.max(of_right) >= SHORT).then_some(ends)
}

/// The formula of an output, such as `z = x - y * floor(x / y)`.
fn formula(op: &Op, write: usize) -> String {
    let output = &op.signature().outputs()[write];
    let text = format!("{} = {}", output.name, output.formula);
    if text.chars().count() <= MAX_FORMULA {
        return text;
    }
    text.chars().take(MAX_FORMULA).chain("...".chars()).collect()
}

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest distance of an op's curve from the line that is drawn for it, in pixels, for each output.
    fn distances(op: &Op) -> Result<Vec<f64>, Error> {
        let column = Column { op, input: 0, range: USUAL.0, at: vec![USUAL.1] };
        let curves = column.curves(&Runner::cpu())?;
        let of = |(write, curve): (usize, &Curve)| {
            let scale = (CURVE.0 / 6.0, CURVE.1 / curve.frame.height());
            let pixels = |(x, y): Point| (f64::from(x) * scale.0, f64::from(y) * scale.1);
            let pieces =
                curve.pieces.iter().map(|piece| piece.iter().copied().map(pixels).collect::<Vec<_>>());
            let pieces: Vec<_> = pieces.collect();
            let distance = |i: u32| {
                let x = -3.0 + 6.0 * i as f32 / 60_000.0;
                let at = pixels((x, column.reference(x)[write]));
                let all =
                    pieces.iter().flat_map(|piece| piece.windows(2)).map(|ends| beside(at, ends[0], ends[1]));
                all.fold(f64::INFINITY, f64::min)
            };
            // A point at an end may be a piece by itself, which is no line.
            (1..60_000).map(distance).fold(0.0, f64::max)
        };
        Ok(curves.iter().enumerate().map(of).collect())
    }

    /// The distance of a point from a line with two ends.
    fn beside(at: (f64, f64), start: (f64, f64), end: (f64, f64)) -> f64 {
        let (dx, dy) = (end.0 - start.0, end.1 - start.1);
        let along = ((at.0 - start.0) * dx + (at.1 - start.1) * dy) / (dx * dx + dy * dy);
        let along = along.clamp(0.0, 1.0);
        (at.0 - start.0 - along * dx).hypot(at.1 - start.1 - along * dy)
    }

    #[test]
    fn curves_are_smooth() -> Result<(), Error> {
        for text in ["x / (1.0 + exp(-x))", "tanh(x)", "sin(20 * x)", "spiky(x)"] {
            for (write, distance) in distances(&Op::from_expression("op", text)?)?.into_iter().enumerate() {
                assert!(distance < 0.25, "{text}, output {write}: {distance}");
            }
        }
        Ok(())
    }
}

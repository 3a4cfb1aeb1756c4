//! Compares gradients with central differences, in f64.

use std::cmp::Ordering;

use rayon::prelude::*;

use crate::{
    compile::wide::{Decisions, Evaluator, Wide},
    dtype::DType,
    error::Error,
    expr::graph::Function,
    op::Op,
};

/// The number of mismatches that a report shows in full.
pub(super) const SHOWN: usize = 10;

/// What a gradient check covers, and how strict it is.
///
/// ```
/// # use elemgrad::check::GradientOptions;
/// let mut options = GradientOptions::default();
/// options.slack = 1e-4;
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct GradientOptions {
    /// Whether to check gradients that are [written](Op::is_written) by hand too, and gradients that pass through a
    /// written gradient of another op. A gradient that deliberately stands in for another one fails.
    pub written: bool,
    /// The relative error that a difference quotient may have in addition to its known error.
    pub slack: f64,
}

impl Default for GradientOptions {
    fn default() -> Self {
        Self { written: true, slack: 1e-6 }
    }
}

/// The result of a gradient check. It counts each gradient of each element: an op of two inputs has two for each
/// element.
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub struct GradientReport {
    /// The op's name.
    pub op: String,
    /// The number of gradients compared.
    pub checked: u64,
    /// The number of gradients not compared.
    pub left_out: LeftOut,
    /// The number of compared gradients that are wrong.
    pub failures: u64,
    /// The first wrong gradients.
    pub first: Vec<GradientComparison>,
    /// The comparison that came nearest to failing, or failed by the most.
    pub worst: Option<GradientComparison>,
}

/// How many gradients were not compared, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// The op jumps or has a kink: a comparison, a floor or a choice of an operand changes next to the point.
    pub jumps: u64,
    /// The output is NaN or infinite at the point or next to it.
    pub not_finite: u64,
    /// The difference quotients, or the gradient's own rounding errors, are too inaccurate to decide.
    pub unclear: u64,
    /// The gradient is written by hand, or passes through a written one, and [these](GradientOptions::written) are
    /// not checked.
    pub written: u64,
}

impl LeftOut {
    /// The sum of all counts.
    pub fn total(self) -> u64 {
        self.jumps + self.not_finite + self.unclear + self.written
    }
}

/// A gradient and its expected value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GradientComparison {
    /// The input that the gradient belongs to.
    pub input: String,
    /// The element's number.
    pub element: usize,
    /// Every input and the upstream gradient, by name.
    pub reads: Vec<(String, f64)>,
    /// The op's gradient, in f64.
    pub gradient: f64,
    /// The difference quotient, times the upstream gradient.
    pub difference: f64,
    /// The allowed error.
    pub tolerance: f64,
    /// The op's gradient in f32, as the CPU computes it.
    pub in_f32: f32,
    /// How far the gradient in f32 may be from the one in f64, unless that is too large or too small for f32.
    pub tolerance_in_f32: f64,
}

impl GradientComparison {
    /// The distance between the two; infinite if the gradient is infinite or NaN.
    pub fn error(&self) -> f64 {
        if self.gradient.is_finite() { (self.gradient - self.difference).abs() } else { f64::INFINITY }
    }

    /// The distance of the gradient in f32 from the one in f64; infinite if it is infinite or NaN. 0 if the one in f64
    /// is no ordinary number of f32.
    pub fn error_in_f32(&self) -> f64 {
        let is_ordinary = (self.gradient as f32).is_normal();
        match (is_ordinary, self.in_f32.is_finite()) {
            (false, _) => 0.0,
            (true, false) => f64::INFINITY,
            (true, true) => (f64::from(self.in_f32) - self.gradient).abs(),
        }
    }

    /// Whether either distance exceeds the allowed error.
    pub fn fails(&self) -> bool {
        self.fails_in_f64() || self.fails_in_f32()
    }

    fn fails_in_f64(&self) -> bool {
        !is_within(self.error(), self.tolerance)
    }

    fn fails_in_f32(&self) -> bool {
        !is_within(self.error_in_f32(), self.tolerance_in_f32)
    }

    /// The larger ratio of an error to the allowed error.
    fn ratio(&self) -> f64 {
        let ratio = |error: f64, tolerance: f64| error / tolerance.max(f64::MIN_POSITIVE);
        ratio(self.error(), self.tolerance).max(ratio(self.error_in_f32(), self.tolerance_in_f32))
    }
}

/// Whether an error is allowed. A NaN tolerance allows nothing.
fn is_within(error: f64, tolerance: f64) -> bool {
    matches!(error.partial_cmp(&tolerance), Some(Ordering::Less | Ordering::Equal))
}

impl std::fmt::Display for GradientComparison {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "element {}:", self.element)?;
        for (name, value) in &self.reads {
            write!(f, " {name} = {value:e}")?;
        }
        let Self { input, gradient, difference, tolerance, in_f32, tolerance_in_f32, .. } = self;
        if !self.fails_in_f64() && self.fails_in_f32() {
            write!(f, ": d{input} is {gradient:e}, but in f32 {in_f32:e}, ")?;
            return write!(f, "{:e} apart where {tolerance_in_f32:e} is allowed", self.error_in_f32());
        }
        write!(f, ": d{input} is {gradient:e}, the difference quotient {difference:e}, ")?;
        write!(f, "{:e} apart where {tolerance:e} is allowed", self.error())
    }
}

/// The upstream gradients. A gradient is linear in its upstream gradient.
const UPSTREAMS: [f64; 2] = [1.0, -2.5];

/// Compares the gradients of an op with central differences of its output, at the elements of its inputs, in f64: no
/// rounding to f32 hides anything. Then it compares them with what the CPU computes in f32. A gradient that overflows,
/// is NaN, or is far off in f32 is wrong as well.
///
/// The steps of a difference quotient shrink until its extrapolations agree. The extrapolations also give its error.
/// Steps are used only if no comparison, floor or choice of an operand that counts has another outcome at any of
/// their points. The check leaves out, and counts, gradients at points where the op jumps or is not finite, or where
/// the quotient is too inaccurate. In a `select`, the branch that is not taken does not count, even if it is NaN.
/// Rounding to the storage type is the identity.
///
/// The allowed error is the sum of four times the quotient's error, the rounding error of the gradient in f64, and
/// [`slack`](GradientOptions::slack). In f32 it is what rounding to f32 explains, and a thousandth of the gradient. A
/// gradient that is too large or too small for f32 may be anything there, and so may that of a value that overflows.
///
/// ```
/// use elemgrad::{Op, check::{GradientOptions, gradient_check}};
///
/// # fn main() -> Result<(), elemgrad::Error> {
/// let op = Op::new("op", ["x", "y"], |[x, y]| (x * y).sin() + x.floor_mod(y))?;
/// let report = gradient_check(&op, &[[0.3, 4.0, -7.5], [2.0, 2.0, 0.7]], &GradientOptions::default())?;
/// assert!(report.passed() && report.checked == 4, "{report}");
/// assert_eq!(report.left_out.jumps, 2, "4 mod 2 jumps, whichever of the two changes");
///
/// let wrong = op.with_gradient("y", |[x, _], _, dz| x * dz)?;
/// let report = gradient_check(&wrong, &[[0.3], [2.0]], &GradientOptions::default())?;
/// assert!(report.to_string().starts_with("op: 1 of 2 gradients are wrong"), "{report}");
/// assert_eq!(report.first[0].input, "y");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Arity`] if the number of inputs is not the op's or there are no elements, [`Error::Length`] if inputs
/// differ in length, [`Error::NotExpression`] for an op of hand-written WGSL.
pub fn gradient_check(
    op: &Op,
    inputs: &[impl AsRef<[f32]>],
    options: &GradientOptions,
) -> Result<GradientReport, Error> {
    let inputs: Vec<&[f32]> = inputs.iter().map(AsRef::as_ref).collect();
    let len = check(op, &inputs)?;
    let function = op.function().ok_or_else(|| Error::NotExpression { op: op.name().to_owned() })?;
    let check = Check::new(op, function, inputs, options);
    let elements: Vec<_> = (0..len).into_par_iter().flat_map_iter(|element| check.element(element)).collect();
    let mut report = GradientReport {
        op: op.name().to_owned(),
        checked: 0,
        left_out: LeftOut::default(),
        failures: 0,
        first: Vec::new(),
        worst: None,
    };
    for outcome in elements {
        report.add(outcome);
    }
    Ok(report)
}

/// Checks that there are as many inputs as the op has, all of one length that is not 0.
fn check(op: &Op, inputs: &[&[f32]]) -> Result<usize, Error> {
    let signature = op.signature();
    let name = || signature.name().to_owned();
    let (got, need) = (inputs.len(), signature.inputs().len());
    if got != need {
        return Err(Error::Arity { op: name(), what: "inputs", got, need });
    }
    let need = inputs[0].len();
    if need == 0 {
        return Err(Error::Arity { op: name(), what: "elements", got: 0, need: 1 });
    }
    match signature.inputs().iter().zip(inputs).find(|(_, input)| input.len() != need) {
        None => Ok(need),
        Some((argument, input)) => Err(Error::Length {
            op: name(),
            argument: argument.to_string(),
            got: input.len() as u64,
            need: need as u64,
            other: signature.inputs()[0].to_string(),
        }),
    }
}

/// Why a gradient is not compared.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Why {
    Jumps,
    NotFinite,
    Unclear,
    Written,
}

impl GradientReport {
    /// Whether no compared gradient is wrong, and either at least one was compared, or all are written by hand and
    /// were not to be checked.
    pub fn passed(&self) -> bool {
        self.failures == 0 && (self.checked > 0 || self.left_out.written == self.left_out.total())
    }

    fn add(&mut self, outcome: Result<GradientComparison, Why>) {
        let left_out = &mut self.left_out;
        let comparison = match outcome {
            Ok(comparison) => comparison,
            Err(Why::Jumps) => return left_out.jumps += 1,
            Err(Why::NotFinite) => return left_out.not_finite += 1,
            Err(Why::Unclear) => return left_out.unclear += 1,
            Err(Why::Written) => return left_out.written += 1,
        };
        self.checked += 1;
        if comparison.fails() {
            self.failures += 1;
            if self.first.len() < SHOWN {
                self.first.push(comparison.clone());
            }
        }
        if self.worst.as_ref().is_none_or(|worst| comparison.ratio() > worst.ratio()) {
            self.worst = Some(comparison);
        }
    }
}

/// A line of counts, then one line for each of the first wrong gradients.
impl std::fmt::Display for GradientReport {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { op, checked, failures, left_out, .. } = self;
        let LeftOut { jumps, not_finite, unclear, written } = left_out;
        write!(f, "{op}: {failures} of {checked} gradients are wrong; left out: ")?;
        write!(f, "{jumps} at jumps, {not_finite} not finite, {unclear} unclear, {written} written")?;
        self.first.iter().try_for_each(|comparison| write!(f, "\n{comparison}"))
    }
}

/// A running check.
struct Check<'a> {
    op: &'a Op,
    inputs: Vec<&'a [f32]>,
    slack: f64,
    z: Evaluator<'a>,
    /// The gradient of each input, if it is checked.
    gradients: Vec<Option<Evaluator<'a>>>,
}

impl<'a> Check<'a> {
    fn new(op: &'a Op, function: &'a Function, inputs: Vec<&'a [f32]>, options: &GradientOptions) -> Self {
        let evaluator = |result| Evaluator::new(&function.graph, &[result]);
        let checked = |input: &usize| options.written || !function.stand_ins[*input];
        let gradient = |input| Some(input).filter(checked).map(|input| evaluator(function.gradients[input]));
        let gradients = (0..inputs.len()).map(gradient).collect();
        Self { op, inputs, slack: options.slack, z: evaluator(function.z), gradients }
    }

    /// The gradients of an element.
    fn element(&self, element: usize) -> impl Iterator<Item = Result<GradientComparison, Why>> {
        let reads: Vec<f64> =
            self.inputs.iter().map(|input| f64::from(input[element])).chain([UPSTREAMS[0]]).collect();
        self.gradients.iter().enumerate().map(move |(input, gradient)| {
            let gradient = gradient.as_ref().ok_or(Why::Written)?;
            let rate = difference(reads[input], |value| self.point(&reads, input, value))?;
            let is_steady = self.is_steady(&reads, input);
            self.compare(element, input, gradient, &reads, rate, is_steady)
        })
    }

    /// The gradient with respect to an input in f32.
    fn in_f32(&self, input: usize, reads: &[f64]) -> f32 {
        let reads: Vec<f32> = reads.iter().map(|read| *read as f32).collect();
        let mut writes = vec![0.0; self.op.signature().write_count()];
        self.op.reference(DType::F32, &reads, &mut writes);
        let is_it = |w: &usize| self.op.signature().gradient_of(*w) == Some(input);
        (0..writes.len()).find(is_it).map_or(f32::NAN, |w| writes[w])
    }

    /// The output and the decisions taken, with another value for one input; `None` if the output is not finite.
    fn point(&self, reads: &[f64], input: usize, value: f64) -> Option<(Wide, Decisions)> {
        let mut reads = reads.to_vec();
        reads[input] = value;
        let (z, decisions) = self.z.deciding_at(&reads);
        (z[0].value.is_finite() && z[0].error.is_finite()).then_some((z[0], decisions))
    }

    /// Whether f32 has the value, and no decision changes within what rounding to f32 may move: next to a jump, f32 may
    /// be on the other side.
    fn is_steady(&self, reads: &[f64], input: usize) -> bool {
        let around =
            [1.0 - NEAR, 1.0, 1.0 + NEAR].map(|factor| self.point(reads, input, reads[input] * factor));
        let [Some((_, below)), Some((z, here)), Some((_, above))] = around else { return false };
        z.value.abs() <= f32::MAX.into() && below == here && here == above
    }

    /// The comparison with the first upstream gradient that fails, or else with the one that gives the larger error
    /// ratio.
    fn compare(
        &self,
        element: usize,
        input: usize,
        gradient: &Evaluator,
        reads: &[f64],
        rate: Wide,
        is_steady: bool,
    ) -> Result<GradientComparison, Why> {
        let mut worst: Option<GradientComparison> = None;
        for upstream in UPSTREAMS {
            let reads: Vec<f64> = reads.iter().copied().take(self.inputs.len()).chain([upstream]).collect();
            let in_f32 = self.in_f32(input, &reads);
            let Wide { value: gradient, error } = gradient.at(&reads)[0];
            if gradient.is_finite() && error > CLEAR * gradient.abs() && error > NOTHING {
                return Err(Why::Unclear);
            }
            let difference = rate.value * upstream;
            let in_f32_error =
                if is_steady { error * F32_ERRORS + FAR * gradient.abs() } else { f64::INFINITY };
            let known = if gradient.is_finite() { error } else { 0.0 } + 4.0 * rate.error * upstream.abs();
            let names = self.op.signature().read_names().map(str::to_owned);
            let comparison = GradientComparison {
                input: self.op.signature().inputs()[input].to_string(),
                element,
                reads: names.zip(reads).collect(),
                gradient,
                difference,
                tolerance: known + self.slack * difference.abs(),
                in_f32,
                tolerance_in_f32: in_f32_error,
            };
            if worst.as_ref().is_none_or(|worst| !worst.fails() && comparison.ratio() > worst.ratio()) {
                worst = Some(comparison);
            }
        }
        worst.ok_or(Why::Unclear)
    }
}

/// The error of f32's arithmetic, to first order, in units of f64's; doubled, since the first order is not all.
const F32_ERRORS: f64 = 2.0 * (1_u64 << 29) as f64;
/// A gradient in f32 is far off if its relative error is more than this and more than rounding explains.
const FAR: f64 = 1e-3;
/// Much more than what a few roundings to f32 move a number by, relative.
const NEAR: f64 = 1.0 / (1 << 20) as f64;

/// A value is clear if its relative error is at most this.
const CLEAR: f64 = 1e-3;
/// A negligible error, for an upstream gradient of about 1.
const NOTHING: f64 = 1e-6;

/// The ratio of a step to the next one. Neither the ratio nor the first step is a simple fraction, so the points do
/// not fall on the period of a periodic function.
const RATIO: f64 = 1.618;

/// The derivative at `x` by central differences with shrinking steps. Each pair of steps is extrapolated
/// (Richardson).
///
/// The result is a value on which three extrapolations in a row agree. Its error is their disagreement plus what
/// rounding may have added.
fn difference(x: f64, at: impl Fn(f64) -> Option<(Wide, Decisions)>) -> Result<Wide, Why> {
    let (_, here) = at(x).ok_or(Why::NotFinite)?;
    let mut why = Why::NotFinite;
    let mut best: Option<Wide> = None;
    // Collected since the last step that reached an unusable point.
    let (mut quotients, mut extrapolated) = (Vec::<f64>::new(), Vec::<f64>::new());
    for step in steps(x) {
        let (low, high) = (x - step, x + step);
        let (z_low, z_high) = match at(low).zip(at(high)) {
            Some(((z_low, below), (z_high, above))) if below == here && above == here => (z_low, z_high),
            points => {
                why = match why {
                    Why::Unclear => why,
                    _ if points.is_some() => Why::Jumps,
                    _ => Why::NotFinite,
                };
                quotients.clear();
                extrapolated.clear();
                continue;
            }
        };
        // The actual step between the rounded points.
        let width = high - low;
        let quotient = (z_high.value - z_low.value) / width;
        if let Some(wider) = quotients.last() {
            extrapolated.push(quotient + (quotient - wider) / (RATIO * RATIO - 1.0));
        }
        quotients.push(quotient);
        if let [.., first, second, value] = extrapolated[..] {
            let rounding = 3.0 * (z_high.error + z_low.error) / width;
            let spread = (value - first).abs().max((value - second).abs());
            let error = spread + rounding;
            // Steps that are too wide for the function give small quotients that differ by as much as their own size.
            let is_zero = spread <= 10.0 * rounding && error <= NOTHING;
            why = Why::Unclear;
            if (is_zero || error <= CLEAR * value.abs()) && best.is_none_or(|best| error < best.error) {
                best = Some(Wide { value, error });
            }
            if error <= 1e-9 * value.abs() {
                break;
            }
        }
    }
    best.ok_or(why)
}

/// Steps from about the size of `x`, or of 1 if that is larger, down to a hundred-billionth of `x`.
fn steps(x: f64) -> impl Iterator<Item = f64> {
    let least = if x == 0.0 { 1e-12 } else { x.abs() * 1e-11 };
    let first = 0.2173 * x.abs().max(1.0);
    std::iter::successors(Some(first), |step| Some(step / RATIO)).take_while(move |step| *step > least)
}

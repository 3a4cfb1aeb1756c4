//! Random expressions, as steps.

use elemgrad::Primitive::{
    self, Abs, Acos, Acosh, Add, And, Asin, Asinh, Atan, Atan2, Atanh, Cbrt, Ceil, Clamp, Cos, Cosh, Div, Eq,
    Erf, Erfc, Exp, Exp2, Expm1, Floor, FloorMod, FloorQuotient, HighPart, Hypot, InverseSqrt, Le, Log,
    Log1p, Log2, Log10, Lt, Max, Min, Mul, Neg, Not, Or, Pow, QuantizeToF16, Round, RoundToStorage, Select,
    Sigmoid, Sin, Sinh, Softplus, Sqrt, Sub, Tan, Tanh, Trunc, TruncMod,
};

use super::Draw;

/// A step of an expression. Its operands are numbers of earlier steps, and the last step is the expression's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Input(usize),
    Number(f32),
    Truth(bool),
    /// A building block applied to earlier steps.
    Apply(Primitive, Vec<usize>),
}

/// The type of a step's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Type {
    Number,
    Truth,
}

impl Step {
    pub fn ty(&self) -> Type {
        match self {
            Self::Truth(_) | Self::Apply(Lt | Le | Eq | Not | And | Or, _) => Type::Truth,
            Self::Input(_) | Self::Number(_) | Self::Apply(..) => Type::Number,
        }
    }
}

/// The type of a building block's operand.
pub fn operand(primitive: Primitive, place: usize) -> Type {
    match primitive {
        Not | And | Or => Type::Truth,
        Select if place == 0 => Type::Truth,
        _ => Type::Number,
    }
}

/// Any expression of about `len` steps whose value is a number: operands may lie outside of domains, and constants may
/// be NaN. Most steps use late steps, and some use the same step twice.
pub fn any(draw: &mut Draw, inputs: usize, len: usize) -> Vec<Step> {
    const NUMBERS: [f32; 12] =
        [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 3.0, 0.1, 1e-40, f32::MAX, f32::INFINITY, f32::NAN];
    let mut steps: Vec<Step> = (0..inputs).map(Step::Input).collect();
    steps.extend([Step::Truth(draw.one_in(2)), Step::Number(1.0)]);
    while steps.len() < len || steps[steps.len() - 1].ty() != Type::Number {
        let step = match draw.below(8) {
            0 => Step::Number(draw.pick(&NUMBERS)),
            1 => Step::Truth(draw.one_in(2)),
            _ => {
                let primitive = draw.pick(Primitive::ALL);
                let operands = (0..primitive.arity()).map(|place| {
                    loop {
                        let from = if draw.one_in(2) { steps.len().saturating_sub(6) } else { 0 };
                        let step = from + draw.below(steps.len() - from);
                        if steps[step].ty() == operand(primitive, place) {
                            break step;
                        }
                    }
                });
                Step::Apply(primitive, operands.collect())
            }
        };
        steps.push(step);
    }
    steps
}

/// An expression whose operands stay within the domains of native arithmetic for moderate inputs, so little of it is
/// left out of a comparison. No step is unused, because a front end may not see it.
pub fn tame(draw: Draw, exact: bool, inputs: usize, len: usize) -> Vec<Step> {
    let mut cook = Cook { draw, exact, steps: Vec::new(), sizes: Vec::new() };
    (0..inputs).for_each(|input| cook.push(Step::Input(input), LARGEST_INPUT));
    while cook.steps.len() < len {
        cook.idiom();
    }
    cook.join();
    without_unused(cook.steps)
}

/// The steps that the last step is made of, and all inputs. A front end may not see the other steps.
fn without_unused(steps: Vec<Step>) -> Vec<Step> {
    let mut used: Vec<bool> = steps.iter().map(|step| matches!(step, Step::Input(_))).collect();
    used[steps.len() - 1] = true;
    for (i, step) in steps.iter().enumerate().rev() {
        if let (true, Step::Apply(_, operands)) = (used[i], step) {
            for operand in operands {
                used[*operand] = true;
            }
        }
    }
    let place = |i: usize| used[..i].iter().filter(|used| **used).count();
    let moved = |step: Step| match step {
        Step::Apply(primitive, operands) => Step::Apply(primitive, operands.into_iter().map(place).collect()),
        step => step,
    };
    steps.into_iter().enumerate().filter(|(i, _)| used[*i]).map(|(_, step)| moved(step)).collect()
}

/// The largest input of [`elemgrad::check::Data::Moderate`], which native ops are compared on.
const LARGEST_INPUT: f64 = 16.0;
/// The size at which products and sums stop growing. It fits in f16.
const LARGEST: f64 = 1e4;

/// Blocks with an exact form, some more often than others.
const EXACT: [Primitive; 23] = [
    Add,
    Sub,
    Mul,
    Mul,
    Div,
    Neg,
    Abs,
    Min,
    Max,
    Floor,
    Ceil,
    Round,
    Trunc,
    FloorMod,
    FloorQuotient,
    TruncMod,
    Sqrt,
    RoundToStorage,
    QuantizeToF16,
    HighPart,
    Clamp,
    Select,
    Select,
];
/// Blocks for native arithmetic alone.
const NATIVE: [Primitive; 34] = [
    Exp,
    Exp2,
    Expm1,
    Log,
    Log2,
    Log10,
    Log1p,
    Pow,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Atan2,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    InverseSqrt,
    Cbrt,
    Hypot,
    Erf,
    Erfc,
    Sigmoid,
    Softplus,
    Exp,
    Tanh,
    Sigmoid,
    Add,
    Mul,
    Sub,
];

/// The steps so far, and how large each can get for moderate inputs. Operands stay within domains, so little is left
/// out.
struct Cook {
    draw: Draw,
    exact: bool,
    steps: Vec<Step>,
    sizes: Vec<f64>,
}

impl Cook {
    fn push(&mut self, step: Step, size: f64) {
        self.steps.push(step);
        self.sizes.push(size);
    }

    fn apply(&mut self, primitive: Primitive, operands: &[usize], size: f64) -> usize {
        self.push(Step::Apply(primitive, operands.to_vec()), size);
        self.steps.len() - 1
    }

    fn constant(&mut self, value: f32) -> usize {
        let step = Step::Number(value);
        self.steps.iter().position(|known| *known == step).unwrap_or_else(|| {
            self.push(step, value.abs().into());
            self.steps.len() - 1
        })
    }

    /// An earlier step of a type, preferably a late one, so operands are shared and chains get long. It is not a
    /// constant, because a front end may make another one of it.
    fn any(&mut self, ty: Type) -> Option<usize> {
        let of_type = |step: &Step| step.ty() == ty && !matches!(step, Step::Number(_));
        let known: Vec<usize> = (0..self.steps.len()).filter(|i| of_type(&self.steps[*i])).collect();
        let count = known.len().max(1);
        known.get(self.draw.below(count).max(self.draw.below(count))).copied()
    }

    fn number(&mut self) -> usize {
        self.any(Type::Number).unwrap_or(0)
    }

    /// A second operand.
    fn other(&mut self) -> usize {
        if self.draw.one_in(4) {
            let value = self.draw.pick(&[0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, -0.75, -2.5]);
            return self.constant(value);
        }
        self.number()
    }

    /// `abs(a) + least`.
    fn away_from_0(&mut self, least: f32) -> usize {
        let a = self.number();
        let (size, least) = (self.sizes[a], self.constant(least));
        let magnitude = self.apply(Abs, &[a], size);
        self.apply(Add, &[magnitude, least], size + 1.0)
    }

    fn condition(&mut self) -> usize {
        if self.draw.one_in(4) {
            let (c, d) = (self.condition(), self.condition());
            let not = self.apply(Not, &[d], 1.0);
            let joined = self.draw.pick(&[And, Or]);
            return self.apply(joined, &[c, not], 1.0);
        }
        let earlier = if self.draw.one_in(2) { self.any(Type::Truth) } else { None };
        earlier.unwrap_or_else(|| {
            let (a, other) = (self.number(), self.other());
            // For a number compared with itself, bounds say nothing.
            let b = if a == other { self.constant(0.5) } else { other };
            let comparison = self.draw.pick(&[Lt, Le, Lt, Le, Eq]);
            self.apply(comparison, &[a, b], 1.0)
        })
    }

    /// Adds a few steps that belong together.
    fn idiom(&mut self) {
        let primitive =
            if self.exact || self.draw.one_in(2) { self.draw.pick(&EXACT) } else { self.draw.pick(&NATIVE) };
        let (a, b) = (self.number(), self.other());
        let [p, q] = [self.sizes[a], self.sizes[b]];
        match primitive {
            Mul if p * q > LARGEST => self.apply(Min, &[a, b], p.max(q)),
            Add | Sub if p + q > LARGEST => self.apply(Max, &[a, b], p.max(q)),
            Add | Sub => self.apply(primitive, &[a, b], p + q),
            Mul => self.apply(Mul, &[a, b], p * q),
            Min | Max => self.apply(primitive, &[a, b], p.max(q)),
            Div | FloorMod | FloorQuotient | TruncMod => {
                let divisor = if self.draw.one_in(2) { self.constant(1.5) } else { self.away_from_0(0.75) };
                let size = if matches!(primitive, FloorMod | TruncMod) {
                    p.min(self.sizes[divisor])
                } else {
                    2.0 * p
                };
                self.apply(primitive, &[a, divisor], size)
            }
            Sqrt => {
                let inside = self.away_from_0(0.5);
                let size = self.sizes[inside].sqrt();
                self.apply(Sqrt, &[inside], size)
            }
            Clamp => {
                let low = self.constant(-1.5);
                self.apply(Clamp, &[a, low, b], q.max(1.5))
            }
            Select => {
                let condition = self.condition();
                self.apply(Select, &[condition, a, b], p.max(q))
            }
            _ if NATIVE.contains(&primitive) => self.function(primitive, a, b),
            _ => self.apply(primitive, &[a], p + 1.0),
        };
    }

    /// Adds an elementary function, with operands in its domain and away from poles.
    fn function(&mut self, primitive: Primitive, a: usize, b: usize) -> usize {
        let [p, q] = [self.sizes[a], self.sizes[b]];
        match primitive {
            Log | Log2 | Log10 | InverseSqrt | Cbrt => {
                let inside = self.away_from_0(0.5);
                let size = self.sizes[inside].sqrt().max(2.0);
                self.apply(primitive, &[inside], size)
            }
            Log1p | Acosh => {
                let inside = self.away_from_0(1.25);
                let size = self.sizes[inside].sqrt().max(2.0);
                self.apply(primitive, &[inside], size)
            }
            Exp | Exp2 | Expm1 | Sinh | Cosh | Softplus => {
                let ends = [-3.0, 3.0].map(|end| self.constant(end));
                let bounded = self.apply(Clamp, &[a, ends[0], ends[1]], 3.0);
                self.apply(primitive, &[bounded], 21.0)
            }
            // Away from the ends of the domain, where the slope has poles.
            Asin | Acos | Atanh | Tan => {
                let ends = [-0.75, 0.75].map(|end| self.constant(end));
                let bounded = self.apply(Clamp, &[a, ends[0], ends[1]], 0.75);
                self.apply(primitive, &[bounded], 3.0)
            }
            Hypot if p + q > LARGEST => self.apply(Max, &[a, b], p.max(q)),
            Hypot => self.apply(Hypot, &[a, b], p + q),
            // To the right of the jump.
            Atan2 => {
                let right = self.away_from_0(0.5);
                self.apply(Atan2, &[a, right], 2.0)
            }
            Pow => {
                let (base, exponent) = (self.away_from_0(0.25), self.draw.pick(&[0.5, 1.5, -0.75]));
                let (size, exponent) = (self.sizes[base].powf(1.5).max(4.0), self.constant(exponent));
                self.apply(Pow, &[base, exponent], size)
            }
            Sin | Cos | Tanh | Erf | Sigmoid => self.apply(primitive, &[a], 1.0),
            // Angles and erfc.
            _ => self.apply(primitive, &[a], 2.0),
        }
    }

    /// Joins all unused numbers into one.
    fn join(&mut self) {
        let is_used = |i: usize| {
            self.steps.iter().any(|s| matches!(s, Step::Apply(_, operands) if operands.contains(&i)))
        };
        let is_number = |step: &Step| step.ty() == Type::Number && !matches!(step, Step::Number(_));
        let unused: Vec<usize> =
            (0..self.steps.len()).filter(|i| !is_used(*i) && is_number(&self.steps[*i])).collect();
        let sum = unused.into_iter().reduce(|sum, next| self.apply(Add, &[sum, next], LARGEST));
        // The last step is the value.
        let last = sum.unwrap_or(0);
        if last + 1 != self.steps.len() {
            self.apply(Neg, &[last], LARGEST);
        }
    }
}

//! The results that native arithmetic may give on a device: a bound for each building block, and from those the
//! interval in which an output lies.
//!
//! Each bound is in the row of its block, and in the table of [`Primitive`]. The bounds are those for f32 in WGSL's
//! section "Floating Point Accuracy", and what follows from them for the functions in `shaders/blocks`. A ULP is the
//! distance between the two f32 around the exact result. Beyond single blocks:
//!
//! | what | bound |
//! |---|---|
//! | a sum of `n` > 2 terms | `n` - 1 ULP of twice the sum of their magnitudes |
//! | a product of more than 2 factors or divisors | 2^-23 relative for each product, 2.5 times that for each quotient |
//!
//! The first holds where the sum of the magnitudes does not overflow, the second where no partial product does.
//!
//! Except for those with the same bits, blocks may treat a subnormal operand as zero, give zero for a subnormal
//! result, and lose the sign of a zero. Nothing is said about their results for NaN, infinity, and values beyond the
//! greatest f32.
//!
//! - Elementary functions are formulas of `shaders/blocks` in sums, products and quotients, not the device's own
//!   functions: those have no bound over the whole domain, and devices exceed the bounds that WGSL gives them. A
//!   function takes a subnormal operand as it is. It gives NaN, infinities and zeros the results of the reference.
//! - A device may reorder sums and products of more than two operands. Some do: Mesa's compilers collect the
//!   constants of a sum. WGSL says no more about them. A partial sum is never larger than all magnitudes together,
//!   and the relative errors of a product add up in any order. What is exact in every order stays exact: sums of
//!   small multiples of a unit, products of few bits.
//! - A device may fuse operations if that is at least as accurate. Each interval contains the exact result of what it
//!   is made of, so a value that is not rounded on its way is covered.
//!
//! [`Op::enclose`](crate::Op::enclose) evaluates an expression with intervals in f64, rounded outwards. What follows
//! is [left out](Enclosure::LeftOut) if an interval meets a jump (a comparison or a rounding to an integer that could
//! go either way), if an operand is outside the bound's domain, or if something is or may be NaN or infinite. A
//! `select` whose condition is decided is its branch, whatever the other branch is. Exact values stay exact through
//! exact building blocks.

use crate::{
    blocks::{
        Bound, Id,
        Primitive::{self, Add, Div, Mul, Neg, RoundToStorage, Select, Sub},
        truth_of,
    },
    dtype::DType,
    expr::{Arithmetic, walk::Algebra},
    signature::{
        enclosure::{
            Enclosure::{self, Exact, LeftOut, Within},
            Reason,
        },
        interval::{GREATEST, Interval, TINY, is_f32, last_place, ulp},
    },
};

/// A value in progress: where it lies, and the sum and the product that it is, since a device may reorder those.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    pub(crate) enclosure: Enclosure,
    sum: Sum,
    product: Product,
}

impl Default for Value {
    fn default() -> Self {
        Self::exact(0.0)
    }
}

impl Value {
    fn exact(value: f32) -> Self {
        Self::of(Exact(value))
    }

    fn of(enclosure: Enclosure) -> Self {
        // If nothing is guaranteed, nobody asks what the value is made of.
        let interval = Interval::of(enclosure).unwrap_or(Interval::point(0.0)).flushed();
        Self { enclosure, sum: Sum::of(interval), product: Product::of(interval) }
    }

    /// The result of a building block, sums and products in any order.
    fn apply(primitive: Primitive, arithmetic: Arithmetic, storage: DType, operands: &[Self; 3]) -> Self {
        let [a, b, c] = *operands;
        let enclosures = operands.each_ref().map(|value| value.enclosure);
        let plain = Self::of(enclose(primitive, arithmetic, storage, enclosures));
        if !matches!(plain.enclosure, Within(..)) && primitive != Select {
            return plain;
        }
        let sum = |sum: Sum| Self { sum, ..Self::of(sum.enclosure(plain.enclosure)) };
        let product = |product: Product| Self { product, ..Self::of(product.enclosure(plain.enclosure)) };
        match primitive {
            // No operation at all.
            RoundToStorage if storage == DType::F32 => a,
            Select => truth_of(a.enclosure).map_or(plain, |condition| if condition { b } else { c }),
            Neg => Self { sum: a.sum.negated(), product: a.product.negated(), ..plain },
            Add => sum(a.sum.plus(b.sum)),
            Sub => sum(a.sum.plus(b.sum.negated())),
            Mul => product(a.product.times(b.product)),
            Div => product(a.product.times(b.product.inverse())),
            _ => plain,
        }
    }
}

/// The result of a building block as written.
fn enclose(
    primitive: Primitive,
    arithmetic: Arithmetic,
    storage: DType,
    operands: [Enclosure; 3],
) -> Enclosure {
    let given = &operands[..primitive.arity()];
    let mut values = [0.0; 3];
    let all_exact = values.iter_mut().zip(given).all(|(value, operand)| match operand {
        Exact(exact) => {
            *value = *exact;
            true
        }
        _ => false,
    });
    let bound = primitive.row().bound;
    if all_exact && (arithmetic == Arithmetic::Exact || matches!(bound, Bound::Bits(_))) {
        return Exact(primitive.compute(storage, values));
    }
    let intervals = || {
        let a = Interval::of(given[0])?;
        Ok((a, given.get(1).map_or(Ok(a), |b| Interval::of(*b))?))
    };
    let interval = match bound {
        Bound::Logic(decide) => return decide(operands),
        Bound::Function { ulps, value } => {
            let special = all_exact.then(|| special(primitive, storage, values)).flatten();
            return special.unwrap_or_else(|| of_function(given, ulps, value));
        }
        Bound::Bits(interval) => intervals().and_then(|(a, b)| interval(storage, a, b)?.finite()),
        Bound::Floats(interval) => {
            intervals().and_then(|(a, b)| Ok(interval(a.flushed(), b.flushed())?.finite()?.flushed()))
        }
    };
    interval.map_or_else(LeftOut, |interval| Within(interval.low, interval.high))
}

/// What a function gives for zeros, infinities and NaN, at poles, and outside its domain: what the reference has.
fn special(primitive: Primitive, storage: DType, operands: [f32; 3]) -> Option<Enclosure> {
    let value = primitive.compute(storage, operands);
    let is_special = |v: &f32| *v == 0.0 || !v.is_finite();
    if !value.is_nan() && !operands[..primitive.arity()].iter().any(is_special) {
        return None;
    }
    Some(if value == 0.0 { Within(0.0, 0.0) } else { Exact(value) })
}

/// Where a function of finite operands lies, off by some ULP.
fn of_function(
    operands: &[Enclosure],
    ulps: f64,
    value: fn(Interval, Interval) -> Result<Interval, Reason>,
) -> Enclosure {
    let interval = || {
        let a = Interval::of(operands[0])?;
        value(a, operands.get(1).map_or(Ok(a), |b| Interval::of(*b))?)
    };
    match interval().map(|interval| interval.off_by(ulps)) {
        // All of it overflows.
        Ok(Interval { low, .. }) if low > OVERFLOWN => Exact(f32::INFINITY),
        Ok(Interval { high, .. }) if high < -OVERFLOWN => Exact(f32::NEG_INFINITY),
        Ok(interval) => interval.enclosure(),
        Err(reason) => LeftOut(reason),
    }
}

/// The least number that is infinite in f32, whichever way it is rounded.
const OVERFLOWN: f64 = 2.0 * (1_u128 << 127) as f64;

/// Evaluates an expression in intervals.
pub(crate) struct Bounds<'r> {
    pub(crate) arithmetic: Arithmetic,
    pub(crate) storage: DType,
    pub(crate) reads: &'r [f32],
}

impl Algebra for Bounds<'_> {
    type Value = Value;

    fn read(&mut self, read: usize) -> Value {
        Value::exact(self.reads[read])
    }

    fn number(&mut self, value: f32) -> Value {
        Value::exact(value)
    }

    fn apply(&mut self, _: Id, primitive: Primitive, operands: [Id; 3], values: &[Value]) -> Value {
        Value::apply(primitive, self.arithmetic, self.storage, &operands.map(|id| values[id.index()]))
    }
}

/// A sum of terms, added in any order.
#[derive(Clone, Copy, Debug)]
struct Sum {
    /// Without any rounding.
    exact: Interval,
    terms: f64,
    /// An upper bound on the sum of the terms' magnitudes, and so on any partial sum.
    size: f64,
    /// A number of which all terms are multiples. Partial sums up to 2^24 times that are exact. 0 if the terms are
    /// not known.
    unit: f64,
}

impl Sum {
    fn of(term: Interval) -> Self {
        let unit = if term.is_point() { last_place(term.low) } else { 0.0 };
        Self { exact: term, terms: 1.0, size: term.size(), unit }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            exact: self.exact.plus(other.exact),
            terms: self.terms + other.terms,
            size: self.size + other.size,
            unit: self.unit.min(other.unit),
        }
    }

    fn negated(self) -> Self {
        Self { exact: self.exact.negated(), ..self }
    }

    /// Where the result may lie. `plain` is where it lies in the written order.
    fn enclosure(self, plain: Enclosure) -> Enclosure {
        // A multiple of a smaller unit may be subnormal, and lost on the way.
        let unit = if self.unit < TINY { 0.0 } else { self.unit };
        if self.terms == 2.0 || self.size <= unit * (1_u64 << 24) as f64 {
            return plain;
        }
        // The roundings add to the size, but never get it beyond twice its value.
        let rounding = ulp(2.0 * self.size).max(TINY);
        let sum = self.exact.widened((self.terms - 1.0) * rounding);
        if self.size > GREATEST { LeftOut(Reason::NotFinite) } else { sum.enclosure() }
    }
}

/// A product of factors and inverses, in any order.
#[derive(Clone, Copy, Debug)]
struct Product {
    /// Without any rounding.
    exact: Interval,
    factors: f64,
    /// The relative error, in units of 2^-23.
    error: f64,
    /// The largest possible partial product, and the smallest if all factors are points.
    range: [f64; 2],
    /// Whether all factors are known and their whole product needs no rounding. Then no partial product needs any.
    fits: bool,
}

impl Product {
    fn of(factor: Interval) -> Self {
        let size = factor.size();
        let least = if size == 0.0 { 1.0 } else { size.min(1.0) };
        Self {
            exact: factor,
            factors: 1.0,
            error: 0.0,
            range: [size.max(1.0), least],
            fits: factor.is_point(),
        }
    }

    fn times(self, other: Self) -> Self {
        let exact = self.exact.times(other.exact);
        let [[a, b], [c, d]] = [self.range, other.range];
        Self {
            exact,
            factors: self.factors + other.factors,
            error: self.error + other.error + 1.0,
            range: [a * c, b * d],
            fits: self.fits && other.fits && exact.is_point() && is_f32(exact.low),
        }
    }

    /// The inverse of a divisor. The products in the divisor may become quotients, which are off by 2.5 units each.
    /// So is the quotient that follows, which is included here.
    fn inverse(self) -> Self {
        // A divisor near 0 has no bound and was left out.
        let exact = Interval::point(1.0).over(self.exact).unwrap_or(self.exact);
        let least = self.exact.magnitude().low;
        let range = [self.range[0].max(1.0 / least), 0.0];
        Self { exact, error: self.error * 2.5 + 1.5, range, fits: false, ..self }
    }

    fn negated(self) -> Self {
        Self { exact: self.exact.negated(), ..self }
    }

    /// Where the result may lie. `plain` is where it lies in the written order.
    fn enclosure(self, plain: Enclosure) -> Enclosure {
        let [most, least] = self.range;
        if self.factors == 2.0 || self.fits && most <= GREATEST && least >= TINY {
            return plain;
        }
        if most > GREATEST {
            return LeftOut(Reason::NotFinite);
        }
        // A subnormal partial product may be treated as zero.
        let lost = self.factors * TINY * most;
        self.exact.slack(self.error * f64::from(f32::EPSILON) * (1.0 + SLOP)).widened(lost).enclosure()
    }
}

/// Much more than what products of several relative errors add to their sum.
const SLOP: f64 = 1.0 / (1_u64 << 16) as f64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::Primitive::{
        Abs, And, Ceil, Cos, Eq, Exp, Floor, FloorMod, FloorQuotient, Guard, HighPart, Le, Log, Lt, Min, Not,
        Or, Pow, QuantizeToF16, Round, Sin, Sqrt, Tanh, Trunc, TruncMod,
    };
    use crate::{blocks::Type, numeric::NAN};

    const NATIVE: Arithmetic = Arithmetic::Native;
    const F32: DType = DType::F32;

    fn of(primitive: Primitive, operands: &[Enclosure]) -> Enclosure {
        let mut all = [operands[0]; 3];
        all[..operands.len()].copy_from_slice(operands);
        enclose(primitive, NATIVE, F32, all)
    }

    fn exact(primitive: Primitive, operands: &[f32]) -> Enclosure {
        of(primitive, &operands.iter().map(|v| Exact(*v)).collect::<Vec<_>>())
    }

    fn ends(enclosure: Enclosure) -> [f64; 2] {
        match enclosure {
            Exact(value) => [value.into(); 2],
            Within(low, high) => [low, high],
            LeftOut(reason) => panic!("left out: {reason:?}"),
        }
    }

    /// The distances of the ends from a value, in units.
    fn errors(enclosure: Enclosure, value: f64, unit: f64) -> [f64; 2] {
        let [low, high] = ends(enclosure);
        [value - low, high - value].map(|distance| (distance / unit * 1e6).round() / 1e6)
    }

    #[test]
    fn the_stated_bounds() {
        let ulp = |e: i32| (e as f64 - 23.0).exp2();
        assert_eq!(exact(Add, &[0.5, 0.25]), Within(0.75, 0.75), "exact sums are points");
        let [low, high] = ends(exact(Mul, &[0.1, 0.1])).map(|end| end as f32);
        assert_eq!(low.next_up(), high);
        assert_eq!(ends(exact(Sub, &[1.0, 1e-30])), [1.0 - f64::from(f32::EPSILON) / 2.0, 1.0]);
        assert_eq!(errors(exact(Div, &[3.0, 2.0]), 1.5, ulp(0)), [2.5, 2.5]);
        assert_eq!(
            errors(exact(Div, &[1.0, 1.0]), 1.0, ulp(0)),
            [1.25, 1.25],
            "at a power of two the ULP is that below"
        );
        for (primitive, operands, value) in [
            (Exp, &[0.25][..], 0.25_f64.exp()),
            (Log, &[20.0], 20_f64.ln()),
            (Log, &[1.0], 0.0),
            (Tanh, &[-0.5], (-0.5_f64).tanh()),
            (Sqrt, &[2.25], 1.5),
            (Sin, &[1.0], 1_f64.sin()),
            (Cos, &[1e30], f64::from(1e30_f32).cos()),
            (Pow, &[2.5, 3.0], 15.625),
            (Pow, &[-3.0, 3.0], -27.0),
        ] {
            let Bound::Function { ulps, .. } = primitive.row().bound else { panic!("{primitive:?}") };
            let exponent = if value == 0.0 { -126 } else { value.abs().log2().ceil() as i32 - 1 };
            let wanted = if value == 0.0 { 0.0 } else { ulps };
            assert_eq!(
                errors(exact(primitive, operands), value, ulp(exponent)),
                [wanted; 2],
                "{primitive:?}"
            );
        }
    }

    /// Zeros, infinities, NaN, poles and what is outside the domain have the results of the reference.
    #[test]
    fn special_operands_of_functions() {
        let (inf, nan) = (f32::INFINITY, Exact(NAN));
        for (primitive, operands, result) in [
            (Exp, &[0.0][..], Exact(1.0)),
            (Exp, &[-inf], Within(0.0, 0.0)),
            (Exp, &[inf], Exact(inf)),
            (Exp, &[89.0], Exact(inf)),
            (Log, &[-0.0], Exact(-inf)),
            (Log, &[-1.0], nan),
            (Sqrt, &[-1.0], nan),
            (Sin, &[inf], nan),
            (Tanh, &[f32::NAN], nan),
            (Pow, &[f32::NAN, 0.0], Exact(1.0)),
            (Pow, &[-2.0, 0.5], nan),
            (Pow, &[10.0, 40.0], Exact(inf)),
            (Pow, &[-10.0, 39.0], Exact(-inf)),
            (Min, &[1.0, f32::NAN], nan),
        ] {
            let got = exact(primitive, operands);
            let same =
                got == result || matches!((got, result), (Exact(a), Exact(b)) if a.is_nan() && b.is_nan());
            assert!(same, "{primitive:?} {operands:?}: {got}");
        }
    }

    /// Bits pass through blocks in which native arithmetic has no part.
    #[test]
    fn exact_stays_exact() {
        for (primitive, operands) in [
            (Neg, &[0.0][..]),
            (Abs, &[-0.0]),
            (FloorMod, &[-1e-30, 1.0]),
            (FloorQuotient, &[1.0, 0.1]),
            (TruncMod, &[-7.5, f32::NAN]),
        ] {
            let [a, b] = [operands[0], operands.get(1).copied().unwrap_or_default()];
            let Exact(value) = exact(primitive, operands) else { panic!("{primitive:?} is exact") };
            assert_eq!(value.to_bits(), primitive.compute(F32, [a, b, 0.0]).to_bits());
        }
        let rounded = enclose(RoundToStorage, NATIVE, DType::Bf16, [Exact(0.1); 3]);
        assert_eq!(rounded, Exact(DType::Bf16.widen(DType::Bf16.round(0.1))));
        let [exact, native] =
            [Arithmetic::Exact, NATIVE].map(|arithmetic| enclose(Div, arithmetic, F32, [Exact(0.0); 3]));
        assert!(matches!(exact, Exact(nan) if nan.is_nan()));
        assert_eq!(native, LeftOut(Reason::NoBound));
    }

    fn around(v: f64) -> Enclosure {
        Within(v - 1e-6, v + 1e-6)
    }

    #[test]
    fn jumps_are_left_out() {
        let jump = LeftOut(Reason::Jump);
        for primitive in [Floor, Ceil, Trunc] {
            assert_eq!(of(primitive, &[around(2.0)]), jump, "{primitive:?}");
            let integer = if primitive == Ceil { 3.0 } else { 2.0 };
            assert_eq!(of(primitive, &[around(2.5)]), Within(integer, integer), "{primitive:?}");
            assert_eq!(exact(primitive, &[2.0]), Within(2.0, 2.0));
        }
        assert_eq!(of(Round, &[around(2.5)]), jump);
        assert_eq!(exact(Round, &[2.5]), Within(2.0, 2.0));
        assert_eq!(of(FloorMod, &[around(6.0), Exact(2.0)]), jump);
        assert_eq!(of(FloorQuotient, &[around(7.0), Exact(2.0)]), Within(3.0, 3.0));
        assert_eq!(of(FloorQuotient, &[around(-7.0), Exact(2.0)]), Within(-4.0, -4.0));
        let [low, high] = ends(of(FloorMod, &[around(-7.0), Exact(2.0)]));
        assert!(
            (-1e-4..=-1e-6).contains(&(low - 1.0)) && (1e-6..1e-4).contains(&(high - 1.0)),
            "{low} {high}"
        );
        let [low, high] = ends(of(TruncMod, &[around(-7.0), Exact(2.0)]));
        assert!(low < -1.0 && high > -1.0, "{low} {high}");
        assert_eq!(of(FloorMod, &[Within(0.0, 0.5), Exact(1.0)]), Within(0.0, 0.5));
        for primitive in [Lt, Le, Eq] {
            assert_eq!(of(primitive, &[around(1.0), Exact(1.0)]), jump);
            assert_eq!(of(primitive, &[around(1.0), Exact(2.0)]), Exact(f32::from(primitive != Eq)));
            assert_eq!(of(primitive, &[around(2.0), Exact(1.0)]), Exact(0.0));
            assert_eq!(exact(primitive, &[-0.0, 0.0]), Exact(f32::from(primitive != Lt)));
        }
    }

    fn combined(primitive: Primitive, a: Value, b: Value) -> Value {
        Value::apply(primitive, NATIVE, F32, &[a, b, b])
    }

    /// Every order in which a device may add or multiply three numbers.
    fn holds_every_order(primitive: Primitive, [a, b, c]: [f32; 3]) -> [f64; 2] {
        let [x, y, z] = [a, b, c].map(Value::exact);
        let value = combined(primitive, combined(primitive, x, y), z).enclosure;
        let f = |a, b| primitive.compute(F32, [a, b, 0.0]);
        for order in [f(f(a, b), c), f(f(a, c), b), f(f(b, c), a)] {
            assert!(value.allows(order), "{order} of {a}, {b}, {c} in {value}");
        }
        ends(value)
    }

    #[test]
    fn sums_and_products_in_any_order() {
        // Exact in the written order, and not if the constant is added first: seen on a device.
        let [low, high] = holds_every_order(Add, [-7.415_875, 13.870_084, -0.75]);
        assert!(low < high && high - low < 1e-4, "{low} {high}");
        let [low, high] = holds_every_order(Mul, [1.1, 1.3, 1.7]);
        assert!(low < high && high - low < 2e-6, "{low} {high}");
        for i in 0..1000 {
            let v = |k: u32| ((i * k + k) as f32).sin() * 1000.0;
            holds_every_order(Add, [v(3), v(7), v(11)]);
            holds_every_order(Mul, [v(3), v(7), v(11)]);
        }
        // Exact in every order.
        assert_eq!(holds_every_order(Add, [1.0, 2.5, -100.0]), [-96.5; 2]);
        assert_eq!(holds_every_order(Mul, [1.5, -7.0, 0.25]), [-2.625; 2]);
        // (a / b) * c and a / (b / c) may be (a * c) / b.
        let [a, b, c] = [1.1_f32, 1.7, 1.9];
        let [x, y, z] = [a, b, c].map(Value::exact);
        for value in [combined(Mul, combined(Div, x, y), z), combined(Div, x, combined(Div, y, z))] {
            assert!([a / b * c, a / (b / c), a * c / b].iter().all(|v| value.enclosure.allows(*v)));
        }
        // Another order overflows, or loses a subnormal number.
        let [large, small] = [1e30, 1e-30].map(Value::exact);
        let product = combined(Mul, combined(Mul, large, small), large);
        assert_eq!(product.enclosure, LeftOut(Reason::NotFinite));
        let [_, high] = ends(combined(Mul, combined(Mul, large, small), small).enclosure);
        assert!(high > 1e-8, "1e-30 * 1e-30 is 0: {high}");
    }

    /// A subnormal number may be treated as zero.
    #[test]
    fn subnormals() {
        let tiny = 1e-40_f32;
        assert_eq!(exact(Add, &[tiny, 0.0]), Within(0.0, tiny.into()));
        let [low, high] = ends(exact(Mul, &[1e-20, -1e-20]));
        assert!(low < -9.9e-41 && high == 0.0, "{low} {high}");
        assert_eq!(exact(Lt, &[0.0, tiny]), LeftOut(Reason::Jump));
        assert_eq!(exact(Floor, &[-tiny]), LeftOut(Reason::Jump));
        assert_eq!(exact(Div, &[1.0, tiny]), LeftOut(Reason::NoBound));
        assert_eq!(ends(exact(Min, &[tiny, 2.0 * tiny]))[1], f64::from(2.0 * tiny), "either is the least");
        assert_eq!(exact(FloorMod, &[tiny, 1.0]), Exact(tiny), "integers see the bits");
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        for enclosure in [
            exact(Add, &[f32::NAN, 1.0]),
            exact(Lt, &[f32::INFINITY, 1.0]),
            exact(Mul, &[1e30, 1e30]),
            of(Exp, &[Within(88.0, 89.0)]),
            exact(Exp, &[88.722_84]),
        ] {
            assert_eq!(enclosure, LeftOut(Reason::NotFinite));
        }
        for enclosure in
            [of(Log, &[around(0.0)]), of(Pow, &[around(-2.0), around(2.0)]), exact(Div, &[1.0, 1.2e38])]
        {
            assert_eq!(enclosure, LeftOut(Reason::NoBound));
        }
    }

    #[test]
    fn conditions_decide() {
        let (yes, no, unknown) = (Exact(1.0), Exact(0.0), LeftOut(Reason::Jump));
        let nothing = LeftOut(Reason::NotFinite);
        assert_eq!(of(Select, &[yes, Within(1.0, 2.0), nothing]), Within(1.0, 2.0));
        assert_eq!(of(Select, &[no, nothing, Exact(-0.0)]), Exact(-0.0));
        assert_eq!(of(Select, &[unknown, yes, yes]), unknown);
        for [a, b] in [[no, unknown], [unknown, no]] {
            assert_eq!((of(And, &[a, b]), of(Or, &[a, b])), (no, unknown));
        }
        for [a, b] in [[yes, unknown], [unknown, yes]] {
            assert_eq!((of(And, &[a, b]), of(Or, &[a, b])), (unknown, yes));
        }
        assert_eq!(
            [of(And, &[yes, yes]), of(Or, &[no, no]), of(Not, &[no]), of(Not, &[unknown])],
            [yes, no, yes, unknown]
        );
    }

    /// The f64 results for numbers in the operands lie in the enclosure.
    #[test]
    fn intervals_hold_what_is_in_them() {
        let value = |primitive: Primitive, a: f64, b: f64| match primitive {
            // In f64 it is the identity.
            HighPart | QuantizeToF16 => primitive.compute(F32, [a as f32, 0.0, 0.0]).into(),
            _ => (primitive.row().f64)([a, b, 0.0]),
        };
        let is_one = |p: &&Primitive| p.row().gives == Type::Number && p.arity() < 3 && **p != Guard;
        let grid = [-9.5, -3.2, -1.0, -0.7, -1e-3, 0.0, 1e-3, 0.4, 0.5, 1.0, 1.6, 2.0, 3.1, 4.75, 6.3, 30.0];
        let mut said = 0;
        for primitive in Primitive::ALL.iter().copied().filter(|p| is_one(&p)) {
            for (a, width) in grid.iter().flat_map(|a| [1e-9, 1e-3, 0.3, 7.0].map(|width| (a, width))) {
                for b in grid {
                    let operands = [Within(*a, a + width), Within(b, b + width / 2.0)];
                    let enclosure = of(primitive, &operands[..primitive.arity()]);
                    if enclosure.is_left_out() {
                        continue;
                    }
                    let [low, high] = ends(enclosure);
                    for i in 0..=8 {
                        let part = f64::from(i) / 8.0;
                        let value = value(primitive, a + width * part, b + width / 2.0 * (1.0 - part));
                        let value = if value.abs() > OVERFLOWN { value * f64::INFINITY } else { value };
                        assert!(
                            low <= value && value <= high,
                            "{primitive:?} {operands:?}: {value} in {low}..{high}"
                        );
                        said += 1;
                    }
                }
            }
        }
        assert!(said > 250_000, "{said} values were compared");
    }
}

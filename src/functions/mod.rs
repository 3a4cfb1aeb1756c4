//! Elementary functions of f32, correctly rounded: the real value, rounded once, to nearest, ties to even, with the
//! special cases of IEEE 754-2019, 9.2.
//!
//! Each function is computed in f64, many lanes at a time (`quick`). Its relative error is less than [`ERROR`], so the
//! value decides the result unless it is that near to a tie. What it does not decide is computed one by one in 256 bits
//! (`slow`): less than one of 100,000 ordinary operands. Special cases go the same way.

mod big;
mod quick;
mod slow;

/// The bound of the relative error of a function in f64.
const ERROR: f64 = 1.0 / (1_u64 << 42) as f64;

/// A function of one operand.
pub(crate) trait Function {
    /// The value in f64. NaN says nothing: the operand may be a special case.
    fn quick<const F: bool>(x: f64) -> f64;

    /// The value, by all that it takes.
    fn slow(x: f32) -> f32;
}

/// A function of two operands.
pub(crate) trait Function2 {
    /// The value in f64. NaN says nothing: the operands may be a special case.
    fn quick<const F: bool>(x: f64, y: f64) -> f64;

    /// The value, by all that it takes.
    fn slow(x: f32, y: f32) -> f32;
}

macro_rules! functions {
    ($($(#[doc = $doc:literal])+ $name:ident = $function:ident,)+; $($(#[doc = $doc2:literal])+ $name2:ident = $function2:ident,)+) => {
        $(
            $(#[doc = $doc])+
            pub(crate) struct $name;

            impl Function for $name {
                #[inline(always)]
                fn quick<const F: bool>(x: f64) -> f64 {
                    quick::$function::<F>(x)
                }

                fn slow(x: f32) -> f32 {
                    slow::$function(x)
                }
            }
        )+
        $(
            $(#[doc = $doc2])+
            pub(crate) struct $name2;

            impl Function2 for $name2 {
                #[inline(always)]
                fn quick<const F: bool>(x: f64, y: f64) -> f64 {
                    quick::$function2::<F>(x, y)
                }

                fn slow(x: f32, y: f32) -> f32 {
                    slow::$function2(x, y)
                }
            }
        )+

        /// All functions of one operand, for the tests: name, value, and the lanes with and without fused operations.
        #[cfg(test)]
        const OF_ONE: &[(&str, fn(f32) -> f32, [fn(&[f32; 1], &mut [f32; 1]); 2])] =
            &[$((stringify!($function), value::<$name>, [lanes::<$name, true, 1>, lanes::<$name, false, 1>])),+];
    };
}

functions! {
    /// `e^x`.
    Exp = exp,
    /// `2^x`.
    Exp2 = exp2,
    /// `e^x - 1`.
    Expm1 = expm1,
    /// The natural logarithm.
    Log = log,
    /// The logarithm to base 2.
    Log2 = log2,
    /// The logarithm to base 10.
    Log10 = log10,
    /// The natural logarithm of `1 + x`.
    Log1p = log1p,
    /// The sine of radians.
    Sin = sin,
    /// The cosine of radians.
    Cos = cos,
    /// The tangent of radians.
    Tan = tan,
    /// The arcsine in radians.
    Asin = asin,
    /// The arccosine in radians.
    Acos = acos,
    /// The arctangent in radians.
    Atan = atan,
    /// The hyperbolic sine.
    Sinh = sinh,
    /// The hyperbolic cosine.
    Cosh = cosh,
    /// The hyperbolic tangent.
    Tanh = tanh,
    /// The inverse of the hyperbolic sine.
    Asinh = asinh,
    /// The inverse of the hyperbolic cosine.
    Acosh = acosh,
    /// The inverse of the hyperbolic tangent.
    Atanh = atanh,
    /// `1 / sqrt(x)`.
    InverseSqrt = inverse_sqrt,
    /// The cube root.
    Cbrt = cbrt,
    /// The error function.
    Erf = erf,
    /// `1 - erf(x)`.
    Erfc = erfc,
    /// `1 / (1 + e^-x)`.
    Sigmoid = sigmoid,
    /// `ln(1 + e^x)`.
    Softplus = softplus,
    ;
    /// `x^y`.
    Pow = pow,
    /// `sqrt(x² + y²)`.
    Hypot = hypot,
    /// The angle of the point `(y, x)`: the first operand is the ordinate.
    Atan2 = atan2,
}

/// Two functions of one operand that share most of their work.
pub(crate) trait Both {
    /// Both values in f64.
    fn quick<const F: bool>(x: f64) -> [f64; 2];

    /// Both values, by all that it takes.
    fn value(x: f32) -> [f32; 2];
}

macro_rules! pairs {
    ($($(#[doc = $doc:literal])+ $name:ident = $function:ident: $first:expr, $second:expr;)+) => {$(
        $(#[doc = $doc])+
        pub(crate) struct $name;

        impl Both for $name {
            #[inline(always)]
            fn quick<const F: bool>(x: f64) -> [f64; 2] {
                quick::$function::<F>(x)
            }

            fn value(x: f32) -> [f32; 2] {
                [$first(x), $second(x)]
            }
        }
    )+

        /// All pairs, for the tests: name, both values, and the lanes with and without fused operations.
        #[cfg(test)]
        const PAIRS: &[OfBoth] = &[
            $((stringify!($function), $name::value, [lanes_of_both::<$name, true, 1>, lanes_of_both::<$name, false, 1>])),+
        ];
    };
}

/// A pair as the tests see it.
#[cfg(test)]
type OfBoth = (&'static str, fn(f32) -> [f32; 2], [fn(&[f32; 1], &mut [f32; 1], &mut [f32; 1]); 2]);

pairs! {
    /// Sine and cosine.
    SinCos = sin_cos: value::<Sin>, value::<Cos>;
    /// The hyperbolic sine and cosine.
    SinhCosh = sinh_cosh: value::<Sinh>, value::<Cosh>;
    /// The logistic function of `x` and of `-x`.
    Sigmoids = sigmoids: value::<Sigmoid>, |x: f32| value::<Sigmoid>(-x);
    /// `ln(1 + e^x)` and its slope.
    SoftplusSigmoid = softplus_sigmoid: value::<Softplus>, value::<Sigmoid>;
    /// The hyperbolic tangent, and `e^(-2 |x|)`, of which its slope is made.
    TanhExp = tanh_exp: value::<Tanh>, |x: f32| value::<Exp>(-2.0 * x.abs());
}

/// The f32 nearest to a value, and whether its error leaves that open. A subnormal result is left open: it has fewer
/// bits, so other values are ties.
#[inline(always)]
fn rounded(value: f64) -> (f32, bool) {
    /// The bits of f64's significand that f32 drops.
    const DROPPED: u32 = 29;
    const TIE: u64 = 1 << (DROPPED - 1);
    /// The error in units of f64's last place.
    const NEAR: u64 = (ERROR * (1_u64 << 53) as f64) as u64;
    /// A quarter of the least f32, which is 0 once rounded, and the least normal f32.
    const LEAST: [f64; 2] = [f64::from_bits((1023 - 151) << 52), f64::from_bits((1023 - 126) << 52)];
    let dropped = value.to_bits() & ((1 << DROPPED) - 1);
    let is_near = dropped.wrapping_sub(TIE - NEAR) <= 2 * NEAR;
    let size = value.abs();
    let is_subnormal = size > LEAST[0] && size < LEAST[1];
    (value as f32, is_near | is_subnormal | value.is_nan())
}

/// The value of a function.
pub(crate) fn value<F: Function>(x: f32) -> f32 {
    let quick = F::quick::<false>(x.into());
    settled(quick, || F::slow(x))
}

/// The value of a function of two operands.
pub(crate) fn value2<F: Function2>(x: f32, y: f32) -> f32 {
    let quick = F::quick::<false>(x.into(), y.into());
    settled(quick, || F::slow(x, y))
}

/// The f32 nearest to a value if its error leaves no choice.
fn settled(quick: f64, slow: impl FnOnce() -> f32) -> f32 {
    let [low, high] = [1.0 - ERROR, 1.0 + ERROR].map(|factor| (quick * factor) as f32);
    if low.to_bits() == high.to_bits() && !quick.is_nan() { low } else { slow() }
}

/// The values of many operands.
#[inline(always)]
pub(crate) fn lanes<F: Function, const FUSED: bool, const N: usize>(x: &[f32; N], out: &mut [f32; N]) {
    let mut open = [false; N];
    for i in 0..N {
        (out[i], open[i]) = rounded(F::quick::<FUSED>(x[i].into()));
    }
    settle(&open, |i| out[i] = value::<F>(x[i]));
}

/// The values of many pairs of operands.
#[inline(always)]
pub(crate) fn lanes2<F: Function2, const FUSED: bool, const N: usize>(
    x: &[f32; N],
    y: &[f32; N],
    out: &mut [f32; N],
) {
    let mut open = [false; N];
    for i in 0..N {
        (out[i], open[i]) = rounded(F::quick::<FUSED>(x[i].into(), y[i].into()));
    }
    settle(&open, |i| out[i] = value2::<F>(x[i], y[i]));
}

/// The values of two functions of many operands.
#[inline(always)]
pub(crate) fn lanes_of_both<B: Both, const FUSED: bool, const N: usize>(
    x: &[f32; N],
    out: &mut [f32; N],
    second: &mut [f32; N],
) {
    let mut open = [false; N];
    for i in 0..N {
        let [a, b] = B::quick::<FUSED>(x[i].into());
        let (a_open, b_open);
        (out[i], a_open) = rounded(a);
        (second[i], b_open) = rounded(b);
        open[i] = a_open | b_open;
    }
    settle(&open, |i| [out[i], second[i]] = B::value(x[i]));
}

/// Calls `value` for the lanes that are open.
#[inline(always)]
fn settle(open: &[bool], value: impl FnMut(usize)) {
    // `contains` would look at one lane after the other.
    if open.iter().fold(false, |any, open| any | open) {
        (0..open.len()).filter(|i| open[*i]).for_each(value);
    }
}

#[cfg(test)]
mod tests;

//! Elementary functions on the CPU: slopes against f64, a zero upstream, special cases.

use std::f64::consts::{FRAC_2_SQRT_PI, LN_2, LN_10};

use elemgrad::{DType, Op, Runner};
use rayon::prelude::*;

/// A function of one operand, and its slope in f64.
type Slope = (&'static str, fn(f64) -> f64);

const SLOPES: &[Slope] = &[
    ("exp", f64::exp),
    ("exp2", |x| x.exp2() * LN_2),
    ("expm1", f64::exp),
    ("log", |x| 1.0 / x),
    ("log2", |x| 1.0 / (x * LN_2)),
    ("log10", |x| 1.0 / (x * LN_10)),
    ("log1p", |x| 1.0 / (1.0 + x)),
    ("sin", f64::cos),
    ("cos", |x| -x.sin()),
    ("tan", |x| 1.0 + x.tan().powi(2)),
    ("asin", |x| 1.0 / ((1.0 - x) * (1.0 + x)).sqrt()),
    ("acos", |x| -1.0 / ((1.0 - x) * (1.0 + x)).sqrt()),
    ("atan", |x| 1.0 / (1.0 + x * x)),
    ("sinh", f64::cosh),
    ("cosh", f64::sinh),
    ("tanh", |x| {
        let p = (-2.0 * x.abs()).exp();
        4.0 * p / (1.0 + p).powi(2)
    }),
    ("asinh", |x| 1.0 / x.hypot(1.0)),
    ("acosh", |x| 1.0 / ((x - 1.0).sqrt() * (x + 1.0).sqrt())),
    ("atanh", |x| 1.0 / ((1.0 - x) * (1.0 + x))),
    ("sqrt", |x| 0.5 / x.sqrt()),
    ("inverseSqrt", |x| -0.5 / (x * x.sqrt())),
    ("cbrt", |x| 1.0 / (3.0 * x.cbrt().powi(2))),
    ("erf", |x| FRAC_2_SQRT_PI * (-x * x).exp()),
    ("erfc", |x| -FRAC_2_SQRT_PI * (-x * x).exp()),
    ("sigmoid", |x| 1.0 / ((1.0 + x.exp()) * (1.0 + (-x).exp()))),
    ("softplus", |x| 1.0 / (1.0 + (-x).exp())),
];

/// The distance of an f32 from a number, in ULP of that number.
fn error(got: f32, right: f64) -> f64 {
    let exponent = right.abs().log2().floor().max(-126.0);
    (f64::from(got) - right).abs() / (exponent - 23.0).exp2()
}

fn is_normal(v: f64) -> bool {
    (f64::from(f32::MIN_POSITIVE)..f64::from(f32::MAX)).contains(&v.abs())
}

/// Every 100,003rd number, of either sign.
#[test]
fn slopes_are_within_4_ulp() -> Result<(), String> {
    for (name, slope) in SLOPES {
        let op = Op::from_expression(*name, &format!("{name}(x)")).map_err(|e| e.to_string())?;
        let worst = (0..=u32::MAX / 100_003).into_par_iter().map(|i| {
            let x = f32::from_bits(i * 100_003);
            let mut writes = [0.0; 2];
            op.reference(DType::F32, &[x, 1.0], &mut writes);
            let right = slope(x.into());
            (if is_normal(right) { error(writes[1], right) } else { 0.0 }, x)
        });
        let (error, x) = worst.reduce(|| (0.0, 0.0), |a, b| if a.0.is_nan() || a.0 > b.0 { a } else { b });
        if !matches!(error.partial_cmp(&4.0), Some(std::cmp::Ordering::Less)) {
            return Err(format!("{name} at {x:e}: {error} ULP"));
        }
    }
    Ok(())
}

/// Inputs at which the slope is infinite or NaN, or overflows on its way.
#[test]
fn a_zero_upstream_passes_zero() -> Result<(), elemgrad::Error> {
    for text in [
        "sqrt(x)",
        "log(x)",
        "1.0 / x",
        "x * y",
        "pow(x, y)",
        "inverseSqrt(x)",
        "exp(exp(x))",
        "x / y",
        "tan(x)",
    ] {
        let op = Op::from_expression("op", text)?;
        let count = op.signature().inputs().len();
        for x in [0.0, -0.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, 1e-45] {
            for upstream in [0.0, -0.0] {
                let operands = [[x], [f32::INFINITY]];
                let reads: Vec<&[f32]> = operands.iter().take(count).map(|v| &v[..]).collect();
                let gradients = Runner::cpu().backward(&op, &reads, &[upstream])?;
                assert!(gradients.iter().all(|dx| dx[0] == 0.0), "{text} at {x}: {gradients:?}");
            }
        }
    }
    // The gradient of the gradient with respect to its upstream is the slope, also where the upstream is 0.
    let square = Op::from_expression("square", "x * x")?;
    let second = square.derivative("x")?;
    assert_eq!(Runner::cpu().backward(&second, &[&[3.0], &[0.0]], &[1.0])?[1], [6.0]);
    // A gradient that is written is what is written.
    let written = Op::new("op", ["x"], |[x]| x)?.with_gradient("x", |[x], _, dz| dz * x)?;
    assert!(Runner::cpu().backward(&written, &[&[f32::INFINITY]], &[0.0])?[0][0].is_nan());
    // So is the gradient of a division with remainder: an IEEE product.
    let modulo = Op::from_expression("op", "floor_mod(x, y)")?;
    assert!(Runner::cpu().backward(&modulo, &[&[1.0], &[0.0]], &[0.0])?[1][0].is_nan());
    Ok(())
}

/// A case from a report of a bug in another library: expression, operands, value, slope to the first operand.
type Case = (&'static str, &'static [f32], f32, Option<f32>);

const REPORTED: &[Case] = &[
    ("x / (1.0 + exp(-x))", &[-89.0], -1.982_354e-37, Some(-1.960_08e-37)),
    ("1.0 / (1.0 + exp(-x))", &[-89.0], 2.227_364e-39, Some(2.227_364e-39)),
    ("x * tanh(log(1.0 + exp(x)))", &[89.0], 89.0, Some(1.0)),
    ("log(1.0 + exp(x))", &[89.0], 89.0, Some(1.0)),
    ("pow(x, 3.0)", &[-2.0], -8.0, Some(12.0)),
    ("pow(x, 4.0)", &[-2.0], 16.0, Some(-32.0)),
    ("pow(x, 2.0)", &[-2.0], 4.0, Some(-4.0)),
    ("pow(x, 1.0)", &[-2.0], -2.0, Some(1.0)),
    ("pow(x, -1.0)", &[-2.0], -0.5, Some(-0.25)),
    ("asinh(x)", &[-1000.0], -7.600_902_7, Some(9.999_995e-4)),
    ("asinh(x)", &[-5000.0], -9.210_34, Some(2e-4)),
    ("asinh(x)", &[1e20], 46.744_85, Some(1e-20)),
    ("acosh(x)", &[1e20], 46.744_85, Some(1e-20)),
    ("atanh(x)", &[1e-8], 1e-8, Some(1.0)),
    ("sinh(x)", &[1e-8], 1e-8, Some(1.0)),
    ("cosh(x)", &[89.0], 2.244_806e38, Some(2.244_806e38)),
    ("floor(log2(x))", &[8192.0], 13.0, None),
    ("floor(log2(x))", &[32768.0], 15.0, None),
    ("clamp(x, 0.0, 1.0)", &[f32::NAN], f32::NAN, None),
    ("max(x, 0.0)", &[f32::NAN], f32::NAN, None),
    ("sin(x)", &[1e6], -0.349_993_5, Some(0.936_752_1)),
    ("sin(x)", &[1e8], 0.931_639, Some(-0.363_385)),
    ("clamp(straight_through(round(x), x), 0.0, 15.0)", &[15.2], 15.0, Some(1.0)),
    ("sqrt(x * x + y * y)", &[0.0, 0.0], 0.0, Some(0.0)),
    ("hypot(x, y)", &[0.0, 0.0], 0.0, Some(0.0)),
    ("hypot(x, y)", &[3e38, 1e38], 3.162_277_7e38, Some(0.948_683_3)),
    ("atan2(x, y)", &[0.0, 0.0], 0.0, Some(0.0)),
];

#[test]
fn reported_cases_are_right() -> Result<(), String> {
    for (text, reads, value, slope) in REPORTED {
        let op = Op::from_expression("op", text).map_err(|e| e.to_string())?;
        let mut writes = vec![0.0; op.signature().write_count()];
        op.reference(DType::F32, &[*reads, &[1.0]].concat(), &mut writes);
        let same = |got: f32, right: f32| {
            got.is_nan() && right.is_nan() || (got - right).abs() <= 1e-5 * right.abs()
        };
        if !same(writes[0], *value) || slope.is_some_and(|slope| !same(writes[1], slope)) {
            return Err(format!("{text} of {reads:?}: {writes:?}, not {value}, {slope:?}"));
        }
    }
    Ok(())
}

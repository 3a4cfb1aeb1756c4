//! Every function against CORE-MATH, INRIA's correctly rounded functions. Those that CORE-MATH lacks are compared with
//! the standard library's f64, and with 256 bits where that leaves two f32 possible.
//!
//! `ELEMGRAD_FUNCTIONS=N` takes each operand whose bits are a multiple of N. 1 is all on the CPU path, and every 17th
//! for the scalar functions and the lanes by themselves. `ELEMGRAD_FUNCTION_PAIRS=N` takes N times 6 pairs.

use rayon::prelude::*;

use super::*;
use crate::{op::Op, run::Runner};

type Oracle = fn(f32) -> f32;

/// What CORE-MATH has of the functions of one operand.
const ORACLES: &[(&str, Oracle)] = &[
    ("exp", core_math::expf),
    ("exp2", core_math::exp2f),
    ("expm1", core_math::expm1f),
    ("log", core_math::logf),
    ("log2", core_math::log2f),
    ("log10", core_math::log10f),
    ("log1p", core_math::log1pf),
    ("sin", core_math::sinf),
    ("cos", core_math::cosf),
    ("tan", core_math::tanf),
    ("asin", core_math::asinf),
    ("acos", core_math::acosf),
    ("atan", core_math::atanf),
    ("sinh", core_math::sinhf),
    ("cosh", core_math::coshf),
    ("tanh", core_math::tanhf),
    ("asinh", core_math::asinhf),
    ("acosh", core_math::acoshf),
    ("atanh", core_math::atanhf),
    ("inverse_sqrt", core_math::rsqrtf),
    ("cbrt", core_math::cbrtf),
    ("erf", core_math::erff),
    ("erfc", core_math::erfcf),
    ("sigmoid", |x| narrow(1.0 / (1.0 + f64::from(-x).exp()), || slow::sigmoid(x))),
    ("softplus", |x| {
        let tail = f64::from(-x.abs()).exp().ln_1p();
        narrow(if x > 0.0 { f64::from(x) + tail } else { tail }, || slow::softplus(x))
    }),
];

/// The f32 nearest to a number that is right to some units of f64's last place, or else what 256 bits say.
fn narrow(wide: f64, slow: impl FnOnce() -> f32) -> f32 {
    let ends = [1.0 - 1e-15, 1.0 + 1e-15].map(|factor| (wide * factor) as f32);
    let is_clear = ends[0].to_bits() == ends[1].to_bits() && wide.is_finite();
    if is_clear { ends[0] } else { slow() }
}

/// Operands at which functions have special cases, or had errors.
const SPECIAL: [f32; 34] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MAX,
    f32::MIN,
    1e-45,
    -1e-45,
    1e-40,
    f32::MIN_POSITIVE,
    -150.0,
    -149.0,
    128.0,
    2.0,
    8.0,
    32768.0,
    10.0,
    1000.0,
    1e10,
    -104.0,
    88.72283,
    88.72284,
    -87.33655,
    1e20,
    1e8,
    1e6,
    -5000.0,
    1e-8,
    -2.0,
    0.5,
    -0.5,
];

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan() && a.to_bits() == crate::numeric::NAN.to_bits()
}

/// The distance of the bits of two operands that are checked.
fn step() -> u64 {
    std::env::var("ELEMGRAD_FUNCTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(65_537)
}

/// The name of a function in the text of an expression.
fn called(name: &str) -> &str {
    if name == "inverse_sqrt" { "inverseSqrt" } else { name }
}

/// The vectors that this machine runs, through an op.
#[test]
fn the_cpu_path_is_correctly_rounded() -> Result<(), crate::error::Error> {
    const CHUNK: u64 = 1 << 20;
    let count = (1_u64 << 32).div_ceil(step());
    for (name, oracle) in ORACLES {
        let op = Op::from_expression(*name, &format!("{}(x)", called(name)))?;
        for start in (0..count).step_by(CHUNK as usize) {
            let x = start..count.min(start + CHUNK);
            let x: Vec<f32> = x.map(|i| f32::from_bits((i * step()) as u32)).collect();
            let z = Runner::cpu().forward(&op, &[&x])?;
            z.par_iter().zip(&x).for_each(|(z, x)| {
                let right = oracle(*x);
                assert!(same(*z, right), "{name}({x:e}) is {right:e}, not {z:e}");
            });
        }
    }
    Ok(())
}

#[test]
fn functions_are_correctly_rounded() {
    let step = step().max(17);
    for ((name, value, lanes), (of, oracle)) in OF_ONE.iter().zip(ORACLES) {
        assert_eq!(name, of);
        let check = |x: f32| {
            let right = oracle(x);
            let mut got = [[0.0]; 2];
            got.iter_mut().zip(lanes).for_each(|(got, lanes)| lanes(&[x], got));
            for got in [value(x), got[0][0], got[1][0]] {
                assert!(same(got, right), "{name}({x:e}) is {right:e}, not {got:e}");
            }
        };
        SPECIAL.into_iter().for_each(check);
        (0..(1_u64 << 32) / step).into_par_iter().for_each(|i| check(f32::from_bits((i * step) as u32)));
    }
}

/// Two functions at a time give what each gives alone.
#[test]
fn pairs_are_both_functions() {
    let step = step().max(17);
    for (name, values, lanes) in PAIRS {
        let check = |x: f32| {
            let right = values(x);
            for lanes in lanes {
                let mut got = [[0.0]; 2];
                let [first, second] = &mut got;
                lanes(&[x], first, second);
                let is_same = same(got[0][0], right[0]) && same(got[1][0], right[1]);
                assert!(is_same, "{name}({x:e}) is {right:?}, not {got:?}");
            }
        };
        SPECIAL.into_iter().for_each(check);
        (0..(1_u64 << 32) / step).into_par_iter().for_each(|i| check(f32::from_bits((i * step) as u32)));
    }
}

type Oracle2 = fn(f32, f32) -> f32;

/// The functions of two operands, with CORE-MATH's.
const OF_TWO: &[(&str, Oracle2, Oracle2, [Lanes2; 2])] = &[
    ("pow", value2::<Pow>, core_math::powf, [lanes2::<Pow, true, 1>, lanes2::<Pow, false, 1>]),
    ("hypot", value2::<Hypot>, core_math::hypotf, [lanes2::<Hypot, true, 1>, lanes2::<Hypot, false, 1>]),
    ("atan2", value2::<Atan2>, core_math::atan2f, [lanes2::<Atan2, true, 1>, lanes2::<Atan2, false, 1>]),
];

/// Operands at which `hypot` and `pow` are halfway between two numbers, the lower of them odd.
const TIES: [[f32; 2]; 6] = [
    [10_066_341.0, 13_421_788.0],
    [10_066_353.0, 13_421_804.0],
    [259.0, 3.0],
    [263.0, 3.0],
    [319.0, 3.0],
    [67_081.0, 1.5],
];

type Lanes2 = fn(&[f32; 1], &[f32; 1], &mut [f32; 1]);

#[test]
fn functions_of_two_are_correctly_rounded() {
    let count =
        std::env::var("ELEMGRAD_FUNCTION_PAIRS").ok().and_then(|n| n.parse().ok()).unwrap_or(200_000_u64);
    for (name, value, oracle, lanes) in OF_TWO {
        let check = |x: f32, y: f32| {
            let right = oracle(x, y);
            let mut got = [[0.0]; 2];
            got.iter_mut().zip(lanes).for_each(|(got, lanes)| lanes(&[x], &[y], got));
            for got in [value(x, y), got[0][0], got[1][0]] {
                assert!(same(got, right), "{name}({x:e}, {y:e}) is {right:e}, not {got:e}");
            }
        };
        for [x, y] in TIES {
            check(x, y);
        }
        for x in SPECIAL {
            for y in SPECIAL {
                check(x, y);
            }
        }
        (0..count).into_par_iter().for_each(|i| {
            let mut draw = fastrand::Rng::with_seed(i);
            let [x, y] = [draw.u32(..), draw.u32(..)].map(f32::from_bits);
            check(x, y);
            // Near 1, where powers neither overflow nor vanish; integers; exact powers and ties.
            let [near, size] = [draw.f32(), draw.f32()].map(|v| v * 4.0);
            check(near, size * 20.0 - 40.0);
            let [small, power] = [draw.i32(-4200..4200), draw.i32(-12..12)].map(|v| v as f32);
            check(small, power);
            check(small * 0.25, power * 0.5);
            check(near * 1e-38, size * 1e-7);
            check(near, small);
        });
    }
}

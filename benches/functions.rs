//! Times elementary functions and activations on the CPU, and CORE-MATH's functions beside them:
//! `cargo bench --bench functions`.
//!
//! Each line has a name, what was timed, and the nanoseconds an element takes: the median of the turns. `--elements N`
//! takes N elements for the calls in memory, `--turns N` that many turns. A word selects the names that contain it.
//! `benches/peers/functions.py` runs this in turns with other programs.

use std::{hint::black_box, time::Instant};

use elemgrad::{Args, DType, Error, Op, Output, Runner, View};

/// A function, as an expression, and CORE-MATH's scalar function.
type Function = (&'static str, &'static str, Option<fn(f32) -> f32>);

const FUNCTIONS: &[Function] = &[
    ("exp", "exp(x)", Some(core_math::expf)),
    ("log", "log(x)", Some(core_math::logf)),
    ("sin", "sin(x)", Some(core_math::sinf)),
    ("tanh", "tanh(x)", Some(core_math::tanhf)),
    ("erf", "erf(x)", Some(core_math::erff)),
    ("sigmoid", "sigmoid(x)", None),
    ("softplus", "softplus(x)", None),
    ("silu", "x * sigmoid(x)", None),
    ("gelu", "x * (0.5 * erfc(-0.70710678 * x))", None),
    ("gelu_tanh", "x * sigmoid((0.071354816 * (x * x) + 1.5957691) * x)", None),
    ("mish", "x * tanh(softplus(x))", None),
    ("horner", "((((0.5 * x + 1.5) * x - 2.0) * x + 0.25) * x + 3.0) * x - 1.0", None),
    ("select", "select(x, 0.25 * x, x < 0.0)", None),
];

/// The number of elements of calls that stay in a core's cache, on one thread.
const FEW: usize = 16 * 1024;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| -> Option<usize> {
        arguments.iter().position(|a| a == name).and_then(|i| arguments.get(i + 1)?.parse().ok())
    };
    let filter = arguments.iter().find(|a| a.parse::<f64>().is_err() && !a.starts_with('-'));
    let (elements, turns) = (number("--elements").unwrap_or(1 << 24), number("--turns").unwrap_or(7));
    for (name, expression, core_math) in FUNCTIONS {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let op = Op::from_expression(*name, expression)?;
        check(&op)?;
        in_memory(&op, elements, turns)?;
        in_cache(&op, *core_math, turns)?;
    }
    Ok(())
}

/// Numbers from -8 to 8, or above 0 for a logarithm.
fn operand(op: &Op, len: usize) -> Vec<f32> {
    let shift = if op.name() == "log" { 1.0 / 16.0 } else { -0.5 };
    // The golden ratio spreads them.
    (0..len).map(|i| ((i as f64 * 0.618_033_988_749_895).fract() as f32 + shift) * 16.0).collect()
}

/// Compares results with the scalar reference before anything is timed.
fn check(op: &Op) -> Result<(), Error> {
    let x = operand(op, FEW);
    let (z, dx) = Runner::cpu().fused(op, &[&x], &vec![1.0; FEW])?;
    for (i, x) in x.iter().enumerate() {
        let mut right = vec![0.0; op.signature().write_count()];
        op.reference(DType::F32, &[*x, 1.0], &mut right);
        assert_eq!(
            [z[i], dx[0][i]].map(f32::to_bits),
            [right[0], right[1]].map(f32::to_bits),
            "{op:?} of {x}"
        );
    }
    Ok(())
}

fn in_memory(op: &Op, len: usize, turns: usize) -> Result<(), Error> {
    let (runner, x, dz) = (Runner::cpu(), operand(op, len), vec![1.0; len]);
    let (mut z, mut dx) = (vec![0.0; len], vec![0.0; len]);
    let forward =
        |z: &mut [f32]| runner.run(Args::new(op, vec![Some(View::from(&x[..])), None], outputs(z, None)));
    let fused = |z: &mut [f32], dx: &mut [f32]| {
        let reads = vec![Some(View::from(&x[..])), Some(View::from(&dz[..]))];
        runner.run(Args::new(op, reads, outputs(z, Some(dx))))
    };
    report(op, "forward", len, turns, || forward(&mut z))?;
    report(op, "forward, allocating", len, turns, || runner.forward(op, &[&x]).map(|z| drop(black_box(z))))?;
    report(op, "both", len, turns, || fused(&mut z, &mut dx))?;
    report(op, "both, allocating", len, turns, || {
        runner.fused(op, &[&x], &dz).map(|both| drop(black_box(both)))
    })
}

fn in_cache(op: &Op, core_math: Option<fn(f32) -> f32>, turns: usize) -> Result<(), Error> {
    let (runner, x) = (Runner::cpu(), operand(op, FEW));
    let mut z = vec![0.0; FEW];
    let repeated = |z: &mut [f32]| -> Result<(), Error> {
        for _ in 0..CALLS {
            runner.run(Args::new(op, vec![Some(View::from(&x[..])), None], outputs(z, None)))?;
        }
        Ok(())
    };
    report(op, "in cache", FEW * CALLS, turns, || repeated(&mut z))?;
    let Some(function) = core_math else { return Ok(()) };
    report(op, "in cache, CORE-MATH", FEW * CALLS, turns, || {
        for _ in 0..CALLS {
            z.iter_mut().zip(&x).for_each(|(z, x)| *z = function(*x));
            black_box(&mut z);
        }
        Ok(())
    })
}

/// The number of short calls that are timed together.
const CALLS: usize = 64;

fn outputs<'a>(z: &'a mut [f32], dx: Option<&'a mut [f32]>) -> Vec<Option<Output<'a>>> {
    vec![Some(Output::from(z)), dx.map(Output::from)]
}

/// Prints the median time of a call, by element.
fn report(
    op: &Op,
    what: &str,
    elements: usize,
    turns: usize,
    mut call: impl FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    call()?;
    let mut times = Vec::new();
    for _ in 0..turns {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    println!("{}\t{what}\t{:.3}", op.name(), times[turns / 2] / elements as f64 * 1e9);
    Ok(())
}

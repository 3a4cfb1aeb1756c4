//! Times ops in exact arithmetic against the same ops in native arithmetic, in turns:
//! `cargo bench --bench arithmetic`.
//!
//! The devices are the GPUs of `cargo bench --bench ops`. The CPU runs the same code in both arithmetics, so it is not
//! among them. `--quick` takes few elements and turns. `--elements N` takes N elements. `--limit 3` fails if a ratio
//! is above 3. A word selects the cases whose names contain it.

mod common;

use std::{process::ExitCode, time::Duration};

use common::devices;
use elemgrad::{
    Arithmetic, DType, Error, Op, Pass, Runner,
    check::{Case, Prepared},
};

fn main() -> Result<ExitCode, Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|a| a == "--quick");
    let number = |name: &str| -> Option<f64> {
        arguments.iter().position(|a| a == name).and_then(|i| arguments.get(i + 1)?.parse().ok())
    };
    // cargo adds `--bench`.
    let filter = arguments.iter().find(|a| a.parse::<f64>().is_err() && !a.starts_with('-'));
    let filter = filter.map_or("", String::as_str);
    let elements = number("--elements").map_or(if quick { 1 << 16 } else { 1 << 22 }, |n| n as u64);
    let turns = if quick { 3 } else { 21 };
    let mut worst = 0.0_f64;
    println!("{:60} {:>12} {:>12} {:>8}", "op", "native, ms", "exact, ms", "ratio");
    for (device, runner) in devices().iter().filter(|(_, runner)| runner.gpu().is_some()) {
        for native in ops()? {
            let exact = native.clone().with_arithmetic(Arithmetic::Exact)?;
            for &dtype in DType::ALL {
                for &pass in Pass::ALL {
                    let name = [native.name(), pass.name(), dtype.name(), device].join(" ");
                    if name.contains(filter) {
                        let cases = [&native, &exact].map(|op| {
                            let mut case = Case::new(op, pass, elements);
                            case.dtype = dtype;
                            case
                        });
                        worst = worst.max(compare(&name, runner, &cases, turns)?);
                    }
                }
            }
        }
    }
    if worst == 0.0 {
        eprintln!("nothing was measured: no GPU, or no case of that name");
    }
    // With a limit, a run that measured nothing is a failure.
    let fails = number("--limit").is_some_and(|limit| worst == 0.0 || worst > limit);
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Ops that native arithmetic computes with the device's floats, and for comparison two that it computes with integers.
fn ops() -> Result<[Op; 7], Error> {
    Ok([
        Op::new("sum", ["x", "y"], |[x, y]| x + y)?,
        Op::new("product", ["x", "y"], |[x, y]| x * y)?,
        Op::new("quotient", ["x", "y"], |[x, y]| x / y)?,
        Op::new("sqrt", ["x"], |[x]| x.sqrt())?,
        Op::new("polynomial", ["x"], |[x]| (x * x + 2.0) * x + 1.0)?,
        Op::new("spiky", ["x"], |[x]| x.spiky())?,
        Op::new("mod", ["x", "y"], |[x, y]| x.floor_mod(y))?,
    ])
}

/// The median time of the second case divided by that of the first.
fn compare(name: &str, runner: &Runner, cases: &[Case; 2], turns: usize) -> Result<f64, Error> {
    let mut prepared = [Prepared::new(runner, &cases[0])?, Prepared::new(runner, &cases[1])?];
    let mut times = [const { Vec::new() }; 2];
    for turn in 0..=turns {
        for (prepared, times) in prepared.iter_mut().zip(&mut times) {
            let time = prepared.calls(4)? / 4;
            // The first turn is not counted: it touches pages and compiles kernels.
            if turn > 0 {
                times.push(time);
            }
        }
    }
    let [native, exact] = times.map(|mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e3
    });
    let ratio = exact / native;
    println!("{name:60} {native:12.3} {exact:12.3} {ratio:8.2}");
    Ok(ratio)
}

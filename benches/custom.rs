//! Times the built-in ops against the same ops of building blocks, in turns: `cargo bench --bench custom`.
//!
//! The devices are those of `cargo bench --bench ops`. `--quick` takes few elements and turns. `--elements N` takes N
//! elements. `--limit 1.1` fails if a ratio is above 1.1. A word selects the cases whose names contain it.

mod common;

use std::{process::ExitCode, time::Duration};

use common::devices;
use elemgrad::{
    Arithmetic, DType, Error, Op, Pass, Runner,
    check::{Case, Data, Extra, Prepared, Shapes},
    ops,
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
    let elements = number("--elements").map_or(if quick { 1 << 16 } else { 1 << 24 }, |n| n as u64);
    let turns = if quick { 3 } else { 21 };
    let mut worst = 0.0_f64;
    println!("{:50} {:>12} {:>12} {:>8}", "op, of building blocks", "built-in, ms", "custom, ms", "ratio");
    for (_, runner) in devices() {
        for (built_in, custom) in pairs()? {
            for &dtype in DType::ALL {
                for &pass in Pass::ALL {
                    for arithmetic in [Arithmetic::Native, Arithmetic::Exact] {
                        let custom = custom.clone().with_arithmetic(arithmetic)?;
                        if runner.gpu().is_none() && arithmetic == Arithmetic::Exact {
                            // The CPU runs the same code for both kinds of arithmetic.
                            continue;
                        }
                        let case = |op| Case {
                            op,
                            pass,
                            extra: Extra::None,
                            dtype,
                            shapes: Shapes::Contiguous,
                            data: Data::Ordinary,
                            elements,
                        };
                        let name =
                            [custom.name(), pass.name(), dtype.name(), arithmetic.name(), runner.name()];
                        let name = name.join(" ");
                        if name.contains(filter) {
                            let cases = [&case(built_in), &case(&custom)];
                            worst = worst.max(compare(&name, &runner, cases, turns)?);
                        }
                    }
                }
            }
        }
    }
    // A run that measured nothing is a failure.
    Ok(if worst == 0.0 || number("--limit").is_some_and(|limit| worst > limit) {
        eprintln!("the worst ratio is {worst:.2}");
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn pairs() -> Result<[(&'static Op, Op); 2], Error> {
    let spiky = Op::new("spiky", ["x"], |[x]| x.spiky())?;
    Ok([(ops::spiky(), spiky), (ops::modulo(), Op::new("mod", ["x", "y"], |[x, y]| x.floor_mod(y))?)])
}

/// The median time of the custom op divided by that of the built-in op.
fn compare(name: &str, runner: &Runner, cases: [&Case; 2], turns: usize) -> Result<f64, Error> {
    let mut prepared = [Prepared::new(runner, cases[0])?, Prepared::new(runner, cases[1])?];
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
    let [built_in, custom] = times.map(|mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e3
    });
    let ratio = custom / built_in;
    println!("{name:50} {built_in:12.3} {custom:12.3} {ratio:8.2}");
    Ok(ratio)
}

//! `elemgrad verify`: a device against the scalar reference, bit for bit.

use std::{fmt::Write as _, ops::ControlFlow};

use elemgrad::{
    Choice, Op, Runner,
    op::{self, Pass},
    verify::{Inputs, Mismatch, Report, verify},
};
use serde_json::json;

use crate::{cli, failure::Failure, interrupt, print, progress::Progress};

/// Elements that are sampled of an op of one input, and of more, unless told.
const SAMPLE: [u64; 2] = [1 << 24, 10_000_000];

pub(crate) fn execute(args: &cli::Verify, device: &Choice) -> Result<(), Failure> {
    let checks = checks(args)?;
    let runner = Runner::open(device)?;
    let told = |pass: &Pass| args.passes.is_empty() || args.passes.iter().any(|p| Pass::from(*p) == *pass);
    let passes: Vec<_> = Pass::ALL.into_iter().filter(told).collect();
    let mut reports = Vec::new();
    for (op, inputs) in &checks {
        let report = check(&runner, *op, inputs, &passes)?;
        let details = details(&report);
        if args.json {
            print::note(&details);
        } else {
            print::out(&(summary(&report, inputs, &passes) + &details))?;
        }
        reports.push(report);
    }
    if args.json {
        print::json(&reports.iter().map(row).collect())?;
    }
    if reports.iter().any(|report| report.mismatches > 0) { Err(Failure::Mismatch) } else { Ok(()) }
}

/// Compares with a progress bar, and stops on a signal.
pub(crate) fn check(
    runner: &Runner,
    op: &dyn Op,
    inputs: &Inputs,
    passes: &[Pass],
) -> Result<Report, Failure> {
    let progress = Progress::new(&format!("{} against the reference", op.definition().name), inputs.count());
    let report = verify(runner, op, inputs, passes, &mut |done| {
        progress.set(done);
        if interrupt::pending() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    interrupt::check()?;
    Ok(report)
}

/// What is compared on what.
fn checks(args: &cli::Verify) -> Result<Vec<(&'static dyn Op, Inputs)>, Failure> {
    let Some(cli::BuiltIn(op)) = args.op else {
        let inputs = |op: &dyn Op| inputs(args, op, args.exhaustive && op.definition().inputs.len() == 1);
        return Ok(op::BUILT_IN.into_iter().map(|op| (op, inputs(op))).collect());
    };
    let definition = op.definition();
    if args.exhaustive && definition.inputs.len() > 1 {
        return Err(Failure::Usage(format!(
            "{} has {} inputs, too many to check exhaustively: leave out --exhaustive, or give --pairs",
            definition.name,
            definition.inputs.len()
        )));
    }
    if args.exhaustive && args.pairs.is_some() {
        return Err(Failure::Usage(format!(
            "--pairs says how many inputs of {} to sample, --exhaustive takes all: leave out one of them",
            definition.name
        )));
    }
    let inputs =
        if args.bits.is_empty() { inputs(args, op, args.exhaustive) } else { given(op, &args.bits)? };
    Ok(vec![(op, inputs)])
}

fn inputs(args: &cli::Verify, op: &dyn Op, exhaustive: bool) -> Inputs {
    let several = op.definition().inputs.len() > 1;
    let count = args.pairs.unwrap_or(SAMPLE[usize::from(several)]);
    if exhaustive { Inputs::Exhaustive } else { Inputs::Sample { count, seed: args.seed } }
}

/// One element, its operands by name.
fn given(op: &dyn Op, bits: &[(String, f32)]) -> Result<Inputs, Failure> {
    let names: Vec<_> = op.definition().read_names().collect();
    let value = |name: &&str| bits.iter().find(|(n, _)| n == name).map(|(_, value)| vec![*value]);
    match names.iter().map(value).collect::<Option<Vec<_>>>() {
        Some(operands) if operands.len() == bits.len() => Ok(Inputs::Given(operands)),
        _ => Err(Failure::Usage(format!(
            "--bits of {} needs each of {} once, as {}=3f800000",
            op.definition().name,
            names.join(", "),
            names[0]
        ))),
    }
}

fn row(report: &Report) -> serde_json::Value {
    json!({
        "device": report.device,
        "op": report.op,
        "dtype": "f32",
        "checked": report.checked,
        "mismatches": report.mismatches,
    })
}

fn summary(report: &Report, inputs: &Inputs, passes: &[Pass]) -> String {
    let passes = passes.iter().map(|pass| pass.name()).collect::<Vec<_>>().join(", ");
    let which = match inputs {
        Inputs::Exhaustive => "all f32".to_owned(),
        Inputs::Sample { seed, .. } => format!("a mix, seed {seed}"),
        Inputs::Given(_) => "given".to_owned(),
    };
    let (checked, mismatches) = (print::count(report.checked), print::count(report.mismatches));
    format!(
        "{} f32 on {}: {checked} inputs ({which}), {passes}: {mismatches} mismatches\n",
        report.op, report.device
    )
}

/// The first mismatches, each with a line that repeats it.
pub(crate) fn details(report: &Report) -> String {
    report.first.iter().fold(String::new(), |mut text, mismatch| {
        let _ = writeln!(text, "{} {mismatch}\n  {}", report.op, repeat(report, mismatch));
        text
    })
}

fn repeat(report: &Report, mismatch: &Mismatch) -> String {
    let bits = mismatch.reads.iter().map(|(name, value)| format!("{name}={:08x}", value.to_bits()));
    let device = report.device.replace('\'', r"'\''");
    format!("elemgrad verify {} --device '{device}' --bits {}", report.op, bits.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    /// An op that does nothing right; it is not in the list, so its names are those of `mod`.
    struct Wrong;

    impl Op for Wrong {
        fn definition(&self) -> &op::Definition {
            elemgrad::modulo::Mod.definition()
        }

        fn reference(&self, reads: &[f32], writes: &mut [f32]) {
            elemgrad::modulo::Mod.reference(reads, writes);
        }

        fn cpu(&self, _: &[&[f32]], writes: &mut [Option<&mut [f32]>]) {
            writes.iter_mut().flatten().for_each(|write| write.fill(0.5));
        }
    }

    #[test]
    fn exhaustive_is_for_one_input() -> Result<(), Box<dyn std::error::Error>> {
        let counts = |line: &str| -> Result<Vec<u64>, Box<dyn std::error::Error>> {
            let cli = cli::Cli::try_parse_from(line.split(' '))?;
            let Some(cli::Command::Verify(args)) = cli.command else { return Err("another command".into()) };
            Ok(checks(&args)?.iter().map(|(_, inputs)| inputs.count()).collect())
        };
        assert_eq!(counts("elemgrad verify")?, [1 << 24, 10_000_000]);
        assert_eq!(counts("elemgrad verify --exhaustive")?, [1 << 32, 10_000_000]);
        assert_eq!(counts("elemgrad verify --exhaustive --pairs 5")?, [1 << 32, 5]);
        assert_eq!(counts("elemgrad verify spiky --exhaustive")?, [1 << 32]);
        assert_eq!(counts("elemgrad verify mod --pairs 1000000000")?, [1_000_000_000]);
        assert!(counts("elemgrad verify mod --exhaustive").is_err());
        Ok(())
    }

    #[test]
    fn a_mismatch_prints_a_line_that_repeats_it() -> Result<(), Box<dyn std::error::Error>> {
        let element = vec![("x".to_owned(), 1.0), ("y".to_owned(), 0.1), ("dz".to_owned(), -0.0)];
        let report = check(&Runner::cpu(), &Wrong, &given(&Wrong, &element)?, &[Pass::Forward])?;
        assert_eq!((report.checked, report.mismatches), (1, 1));
        let details = details(&report);
        let (said, line) = details.trim_end().split_once("\n  ").ok_or("no second line")?;
        assert!(said.contains("expected") && said.contains("3f000000"), "{said}");
        assert_eq!(line, "elemgrad verify mod --device 'cpu' --bits x=3f800000,y=3dcccccd,dz=80000000");

        let cli = cli::Cli::try_parse_from(line.replace('\'', "").split(' '))?;
        let Some(cli::Command::Verify(args)) = cli.command else { return Err("another command".into()) };
        let bits = |values: &[(String, f32)]| -> Vec<_> {
            values.iter().map(|(name, value)| (name.clone(), value.to_bits())).collect()
        };
        assert_eq!(bits(&args.bits), bits(&element));
        Ok(())
    }
}

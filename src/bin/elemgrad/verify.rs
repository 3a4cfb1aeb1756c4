//! `elemgrad verify`: compares a device with the scalar reference.

use std::{fmt::Write as _, ops::ControlFlow};

use elemgrad::{
    Choice, DType, Op, Pass, Runner,
    check::{Inputs, Mismatch, VerifyReport, verify},
};
use serde_json::json;

use crate::{cli, failure::Failure, interrupt, op::Given, print, progress::Progress};

/// The default sizes of a sample: for an op of one input, and for ops of more.
const SAMPLE: [u64; 2] = [1 << 24, 10_000_000];
/// The most bits of input in an exhaustive check.
const MAX_INPUT_BITS: u64 = 32;

pub(crate) fn execute(args: &cli::Verify, device: &Choice) -> Result<(), Failure> {
    let ops = args.op.all()?;
    let checks = checks(args, &ops)?;
    let runner = Runner::open(device)?;
    let told = |pass: &Pass| args.passes.is_empty() || args.passes.contains(pass);
    let passes: Vec<_> = Pass::ALL.iter().copied().filter(told).collect();
    let mut reports = Vec::new();
    for (given, inputs) in &checks {
        let report = check(&runner, given.op(), args.dtype, inputs, &passes)?;
        let details = details(&report, &given.arguments);
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
    if reports.iter().any(|report| report.mismatches > 0) {
        return Err(Failure::Mismatch);
    }
    // A comparison that left out too much is not a success.
    match reports.iter().find(|report| !report.is_conclusive()) {
        Some(report) => {
            Err(Failure::OnTheWay(format!("{}: too much was left out to say that it is right", report.op)))
        }
        None => Ok(()),
    }
}

/// Compares with a progress bar, and stops on a signal.
pub(crate) fn check(
    runner: &Runner,
    op: &Op,
    dtype: DType,
    inputs: &Inputs,
    passes: &[Pass],
) -> Result<VerifyReport, Failure> {
    let progress =
        Progress::new(&format!("{} against the reference", op.name()), inputs.count(op.signature(), dtype));
    let report = verify(runner, op, dtype, inputs, passes, &mut |done| {
        progress.set(done);
        if interrupt::pending() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    interrupt::check()?;
    Ok(report)
}

/// The ops to compare, each with its inputs.
fn checks<'a>(args: &cli::Verify, ops: &'a [Given]) -> Result<Vec<(&'a Given, Inputs)>, Failure> {
    if let ([one], false) = (ops, args.bits.is_empty()) {
        return Ok(vec![(one, given(one.op(), args.dtype, &args.bits)?)]);
    }
    let exhaustive = |op: &Op| args.exhaustive && input_bits(op, args.dtype) <= MAX_INPUT_BITS;
    let checks = ops.iter().map(|given| {
        let count = args.pairs.unwrap_or(SAMPLE[usize::from(given.op().signature().inputs().len() > 1)]);
        let sample = Inputs::Sample { count, seed: args.seed };
        (given, if exhaustive(given.op()) { Inputs::Exhaustive } else { sample })
    });
    if args.exhaustive && !ops.iter().any(|given| exhaustive(given.op())) {
        let op = ops[0].op();
        return Err(Failure::Usage(format!(
            "{} has {} bits of input in {}, too many to check exhaustively: leave out --exhaustive, or give --pairs",
            op.name(),
            input_bits(op, args.dtype),
            args.dtype.name()
        )));
    }
    if args.pairs.is_some() && ops.iter().all(|given| exhaustive(given.op())) {
        return Err(Failure::Usage(
            "--pairs says how many inputs to sample, --exhaustive takes all: leave out one of them".into(),
        ));
    }
    Ok(checks.collect())
}

/// The number of bits in all inputs of an op together.
fn input_bits(op: &Op, dtype: DType) -> u64 {
    op.signature().inputs().len() as u64 * 8 * dtype.size()
}

/// One element, from its operands by name.
fn given(op: &Op, dtype: DType, bits: &[(String, u32)]) -> Result<Inputs, Failure> {
    let names: Vec<_> = op.signature().read_names().take(op.signature().upstream() + 1).collect();
    let digits = 2 * dtype.size() as usize;
    if let Some((name, bits)) = bits.iter().find(|(_, bits)| u64::from(*bits) >> (4 * digits) != 0) {
        return Err(Failure::Usage(format!(
            "--bits {name}={bits:x} is more than the {digits} hexadecimal digits of {}: leave some out, \
             or give another --dtype",
            dtype.name()
        )));
    }
    let value = |name: &&str| bits.iter().find(|(n, _)| n == name).map(|(_, bits)| vec![dtype.widen(*bits)]);
    match names.iter().map(value).collect::<Option<Vec<_>>>() {
        Some(operands) if operands.len() == bits.len() => Ok(Inputs::Given(operands)),
        _ => Err(Failure::Usage(format!(
            "--bits of {} needs each of {} once, as {}={:0digits$x}",
            op.name(),
            names.join(", "),
            names[0],
            dtype.round(1.0)
        ))),
    }
}

fn row(report: &VerifyReport) -> serde_json::Value {
    json!({
        "device": report.device,
        "op": report.op,
        "dtype": report.dtype.name(),
        "checked": report.checked,
        "mismatches": report.mismatches,
        "left_out": report.left_out,
        "conclusive": report.is_conclusive(),
    })
}

fn summary(report: &VerifyReport, inputs: &Inputs, passes: &[Pass]) -> String {
    let passes = passes.iter().map(|pass| pass.name()).collect::<Vec<_>>().join(", ");
    let dtype = report.dtype.name();
    let which = match inputs {
        Inputs::Exhaustive => "all there are".to_owned(),
        Inputs::Sample { seed, .. } => format!("{}, seed {seed}", report.data.name()),
        _ => "given".to_owned(),
    };
    let (checked, mismatches) = (print::count(report.checked), print::count(report.mismatches));
    format!(
        "{} {dtype} on {}: {checked} inputs ({which}), {passes}: {mismatches} mismatches{}\n",
        report.op,
        report.device,
        left_out(report)
    )
}

/// How much was left out; empty if nothing was.
fn left_out(report: &VerifyReport) -> String {
    if report.left_out == 0 {
        return String::new();
    }
    let percent = report.left_out as f64 * 100.0 / report.checked as f64;
    let verdict = if report.is_conclusive() { "" } else { ": too many to say much" };
    format!(", left out: {} ({percent:.1} %){verdict}", print::count(report.left_out))
}

/// The first mismatches, each with a command that repeats it. `arguments` select the op.
pub(crate) fn details(report: &VerifyReport, arguments: &str) -> String {
    report.first.iter().fold(String::new(), |mut text, mismatch| {
        let _ = writeln!(text, "{} {mismatch}\n  {}", report.op, repeat(report, arguments, mismatch));
        text
    })
}

fn repeat(report: &VerifyReport, arguments: &str, mismatch: &Mismatch) -> String {
    let (dtype, digits) = (mismatch.dtype, 2 * mismatch.dtype.size() as usize);
    let bits = mismatch.reads.iter().map(|(name, value)| format!("{name}={:0digits$x}", dtype.round(*value)));
    format!(
        "elemgrad verify {arguments} --dtype {} --device {} --bits {}",
        dtype.name(),
        print::quoted(&report.device),
        bits.collect::<Vec<_>>().join(",")
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use elemgrad::{ops, signature::Signature};

    use super::*;

    /// An op with the names of `mod` that is right only in its first call, which is the reference's.
    fn wrong() -> Result<Op, elemgrad::Error> {
        let calls = std::sync::atomic::AtomicUsize::new(0);
        let signature = Signature::builder("mod", ["x", "y"]).z("x", "").gradient("x", "dz", "");
        Op::raw(signature.gradient("y", "dz", "").build()?, move |dtype, reads, writes| {
            let mut all = [0.0; 4];
            ops::modulo().reference(dtype, reads, &mut all);
            let first = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            writes.copy_from_slice(if first { &all[..3] } else { &[0.5; 3] });
        })
    }

    fn parse(line: &str) -> Result<cli::Verify, Box<dyn std::error::Error>> {
        match cli::Cli::try_parse_from(line.split(' '))?.command {
            Some(cli::Command::Verify(args)) => Ok(args),
            _ => Err("another command".into()),
        }
    }

    #[test]
    fn exhaustive_is_for_32_bits_of_input() -> Result<(), Box<dyn std::error::Error>> {
        let counts = |line: &str| -> Result<Vec<u64>, Box<dyn std::error::Error>> {
            let args = parse(line)?;
            let ops = args.op.all()?;
            let checks = checks(&args, &ops)?;
            Ok(checks.iter().map(|(given, i)| i.count(given.op().signature(), args.dtype)).collect())
        };
        assert_eq!(counts("elemgrad verify")?, [1 << 24, 10_000_000]);
        assert_eq!(counts("elemgrad verify --exhaustive")?, [1 << 32, 10_000_000]);
        assert_eq!(counts("elemgrad verify --exhaustive --pairs 5")?, [1 << 32, 5]);
        assert_eq!(counts("elemgrad verify spiky --exhaustive")?, [1 << 32]);
        assert_eq!(counts("elemgrad verify mod --pairs 1000000000")?, [1_000_000_000]);
        for dtype in ["f16", "bf16"] {
            let counts = |line: &str| counts(&format!("elemgrad verify {line} --dtype {dtype}"));
            assert_eq!(counts("mod --pairs 7")?, [7]);
            assert_eq!(counts("mod --exhaustive")?, [1 << 32]);
            assert_eq!(counts("--exhaustive")?, [1 << 16, 1 << 32]);
            assert!(counts("--exhaustive --pairs 5").is_err());
        }
        assert!(counts("elemgrad verify mod --exhaustive").is_err());
        assert!(counts("elemgrad verify spiky --exhaustive --pairs 5").is_err());
        Ok(())
    }

    #[test]
    fn what_is_left_out_is_printed() -> Result<(), Box<dyn std::error::Error>> {
        let inputs = Inputs::Sample { count: 1000, seed: 1 };
        let mut report = check(&Runner::cpu(), ops::modulo(), DType::F32, &inputs, &[Pass::Forward])?;
        let line = |report: &VerifyReport| summary(report, &inputs, &[Pass::Forward]);
        assert!(line(&report).ends_with("(mix, seed 1), forward: 0 mismatches\n"), "{}", line(&report));
        report.left_out = 200;
        assert!(line(&report).ends_with("0 mismatches, left out: 200 (20.0 %)\n"), "{}", line(&report));
        report.left_out = 201;
        assert!(
            line(&report).ends_with("left out: 201 (20.1 %): too many to say much\n"),
            "{}",
            line(&report)
        );
        Ok(())
    }

    #[test]
    fn a_mismatch_prints_a_line_that_repeats_it() -> Result<(), Box<dyn std::error::Error>> {
        let cases = [
            (
                DType::F32,
                [0x3f800000, 0x3dcccccd, 0x80000000],
                "x=3f800000,y=3dcccccd,dz=80000000",
                "3f000000",
            ),
            (DType::F16, [0x3c00, 0x7c01, 1], "x=3c00,y=7c01,dz=0001", "3800"),
            (DType::Bf16, [0x3f80, 0xff81, 0x8000], "x=3f80,y=ff81,dz=8000", "3f00"),
        ];
        for (dtype, element, printed, half) in cases {
            let element: Vec<_> = ["x", "y", "dz"].map(str::to_owned).into_iter().zip(element).collect();
            let wrong = wrong()?;
            let inputs = given(&wrong, dtype, &element)?;
            let report = check(&Runner::cpu(), &wrong, dtype, &inputs, &[Pass::Forward])?;
            assert_eq!((report.checked, report.mismatches), (1, 1));
            let details = details(&report, "mod");
            let (said, line) = details.trim_end().split_once("\n  ").ok_or("no second line")?;
            assert!(said.contains("expected") && said.contains(half), "{said}");
            let name = dtype.name();
            assert_eq!(line, format!("elemgrad verify mod --dtype {name} --device 'cpu' --bits {printed}"));
            let args = parse(&line.replace('\'', ""))?;
            assert_eq!((args.dtype, args.bits), (dtype, element));
        }
        Ok(())
    }
}

//! `elemgrad demo`: both ops, forward and backward in one pass, fast and right to the bit.

use elemgrad::{
    Choice, Runner,
    data::Data,
    measure::{Measurement, measure},
    op::{BUILT_IN, Pass},
    verify::{Inputs, Report},
};

use crate::{cli, failure::Failure, interrupt, print, progress::Progress, verify};

/// Elements of each call unless told.
const ELEMENTS: u64 = 64 << 20;

pub(crate) fn execute(args: &cli::Demo, device: &Choice) -> Result<(), Failure> {
    let runner = Runner::open(device)?;
    let mut rows = Vec::new();
    let mut details = String::new();
    let elements = args.elements.unwrap_or(ELEMENTS);
    let inputs = Inputs::Sample { count: elements, seed: 1 };
    for op in BUILT_IN {
        // Bits first: a speed of wrong results says nothing.
        let report = verify::check(&runner, op, &inputs, &[Pass::Fused])?;
        details += &verify::details(&report);
        let progress = Progress::spinner(&format!("timing {}", report.op));
        let measured = match report.mismatches {
            0 => Some(measure(&runner, op, Pass::Fused, Data::Ordinary, elements)?),
            _ => None,
        };
        drop(progress);
        interrupt::check()?;
        rows.push(row(&report, measured.as_ref()));
    }
    let headings = ["op", "pass", "device", "elements", "time", "bytes/s", "ratio to a copy", "mismatches"];
    let table = print::table(&headings, &rows);
    print::out(&format!(
        "{table}{details}\
         Every output bit was compared with the scalar reference on as many elements: ordinary numbers, random bits,\n\
         near multiples, subnormals, extreme ratios and special values. Times are the median of calls on ordinary numbers.\n"
    ))?;
    if details.is_empty() { Ok(()) } else { Err(Failure::Mismatch) }
}

fn row(report: &Report, measured: Option<&Measurement>) -> Vec<String> {
    let figure = |f: &dyn Fn(&Measurement) -> String| measured.map_or("-".into(), f);
    vec![
        report.op.clone(),
        Pass::Fused.name().into(),
        report.device.clone(),
        print::count(report.checked),
        figure(&|m| print::seconds(m.seconds)),
        figure(&|m| print::speed(m.bytes_per_second())),
        figure(&|m| format!("{:.2} ({} copy)", m.ratio_to_copy(), m.copy)),
        print::count(report.mismatches),
    ]
}

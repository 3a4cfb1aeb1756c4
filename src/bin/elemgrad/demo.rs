//! `elemgrad demo`: both ops, forward and backward in one pass, with their speed and a check of every bit.

use elemgrad::{
    Choice, Pass, Runner,
    check::{Case, Measurement, measure},
    ops,
};

use crate::{cli, failure::Failure, interrupt, print, progress::Progress};

/// The default number of elements of each call.
const ELEMENTS: u64 = 64 << 20;

pub(crate) fn execute(args: &cli::Demo, device: &Choice) -> Result<(), Failure> {
    let runner = Runner::open(device)?;
    let mut measurements = Vec::new();
    for &op in ops::mods() {
        let name = op.name();
        let progress = Progress::spinner(&format!("{name}: a sample, every bit of a call, then the timing"));
        let case = Case::new(op, Pass::Fused, args.elements.unwrap_or(ELEMENTS));
        measurements.push((case, measure(&runner, &case)?));
        drop(progress);
        interrupt::check()?;
    }
    let headings = ["op", "pass", "device", "elements", "time", "bytes/s", "ratio to a copy", "mismatches"];
    let rows: Vec<_> = measurements.iter().map(|(case, m)| row(case, m)).collect();
    print::out(&format!(
        "{}Times are medians. Before the timing every bit that a call wrote was compared with the scalar reference.\n",
        print::table(&headings, &rows)
    ))?;
    if measurements.iter().any(|(_, m)| !m.passed()) { Err(Failure::Mismatch) } else { Ok(()) }
}

fn row(case: &Case, m: &Measurement) -> Vec<String> {
    vec![
        case.op.name().to_owned(),
        case.pass.name().into(),
        m.device.clone(),
        print::count(m.elements),
        print::seconds(m.seconds),
        print::speed(m.bytes_per_second()),
        format!("{:.2} ({} copy)", m.ratio_to_copy(), m.copy),
        m.mismatches.map_or_else(|| "not compared".into(), print::count),
    ]
}

//! `elemgrad bench`: each kernel's bytes per second beside a copy in the same run.

use elemgrad::{
    Choice, Runner,
    data::Data,
    measure::{Measurement, measure},
    op::{BUILT_IN, Pass},
};
use serde_json::json;

use crate::{cli, failure::Failure, interrupt, print, progress::Progress};

const DATA: [Data; 2] = [Data::Ordinary, Data::Extreme];

pub(crate) fn execute(args: &cli::Bench, device: &Choice) -> Result<(), Failure> {
    let runner = Runner::open(device)?;
    let mut rows = Vec::new();
    let progress = Progress::new("measuring", (BUILT_IN.len() * Pass::ALL.len() * DATA.len()) as u64);
    for op in BUILT_IN {
        for pass in Pass::ALL {
            for data in DATA {
                rows.push(measure(&runner, op, pass, data, args.elements)?);
                interrupt::check()?;
                progress.set(rows.len() as u64);
            }
        }
    }
    drop(progress);
    if args.json {
        print::json(&rows.iter().map(row).collect())?;
    } else {
        print::out(&table(&rows))?;
    }
    for m in rows.iter().filter(|m| m.mismatches > 0) {
        let (op, pass, data, wrong) = (&m.op, m.pass.name(), m.data.name(), print::count(m.mismatches));
        print::note(&format!(
            "{op} {pass} on {data} data: {wrong} elements are not those of the reference\n"
        ));
    }
    if rows.iter().any(|m| m.mismatches > 0) { Err(Failure::Mismatch) } else { Ok(()) }
}

fn row(m: &Measurement) -> serde_json::Value {
    json!({
        "op": m.op,
        "pass": m.pass.name(),
        "dtype": "f32",
        "layout": "contiguous",
        "data": m.data.name(),
        "device": m.device,
        "elements": m.elements,
        "bytes_per_element": m.bytes_per_element,
        "seconds": m.seconds,
        "bytes_per_second": m.bytes_per_second(),
        "copy": m.copy,
        "copy_bytes_per_second": m.copy_bytes_per_second,
        "ratio_to_copy": m.ratio_to_copy(),
    })
}

fn table(rows: &[Measurement]) -> String {
    let headings =
        ["op", "pass", "data", "device", "elements", "time", "speed", "copy", "copy speed", "ratio to copy"];
    let cells = |m: &Measurement| {
        vec![
            m.op.clone(),
            m.pass.name().into(),
            m.data.name().into(),
            m.device.clone(),
            print::count(m.elements),
            print::seconds(m.seconds),
            print::speed(m.bytes_per_second()),
            m.copy.into(),
            print::speed(m.copy_bytes_per_second),
            format!("{:.2}", m.ratio_to_copy()),
        ]
    };
    print::table(&headings, &rows.iter().map(cells).collect::<Vec<_>>())
}

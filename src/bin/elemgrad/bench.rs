//! `elemgrad bench`: each kernel's bytes per second, compared with a copy in the same run.

use elemgrad::{
    Choice, DType, Pass, Runner,
    check::{Case, Data, Extra, Measurement, Shapes, measure},
};
use serde_json::json;

use crate::{
    cli::{self, Several},
    failure::Failure,
    interrupt,
    op::Given,
    print,
    progress::Progress,
};

/// A measured case, and its figures.
type Row<'a> = (Case<'a>, Measurement);

pub(crate) fn execute(args: &cli::Bench, device: &Choice) -> Result<(), Failure> {
    let ops = args.op.all()?;
    let cases = cases(args, &ops);
    if cases.is_empty() {
        return Err(Failure::Usage(
            "no op has such a pass: the mask takes a condition that gates gradients (spiky's), the values \
             further outputs (mod's), the layouts a second input; see bench --help"
                .into(),
        ));
    }
    let runner = Runner::open(device)?;
    let mut rows = Vec::new();
    let measured = measure_all(&runner, cases, &mut rows);
    // Print what was measured before a failure: it took time to measure.
    if args.json {
        print::json(&rows.iter().map(row).collect())?;
    } else {
        print::out(&table(&rows))?;
    }
    let wrong = || rows.iter().filter_map(|(case, m)| Some((case, m.mismatches.filter(|count| *count > 0)?)));
    for (case, _) in rows.iter().filter(|(_, m)| m.mismatches.is_none()) {
        print::note(&format!("{}: the results were not compared\n", names(case).join(" ")));
    }
    for (case, count) in wrong() {
        let wrong = print::count(count);
        print::note(&format!("{}: {wrong} elements are not those of the reference\n", names(case).join(" ")));
    }
    measured?;
    if wrong().next().is_some() { Err(Failure::Mismatch) } else { Ok(()) }
}

fn measure_all<'a>(runner: &Runner, cases: Vec<Case<'a>>, rows: &mut Vec<Row<'a>>) -> Result<(), Failure> {
    let progress = Progress::new("measuring", cases.len() as u64);
    for case in cases {
        rows.push((case, measure(runner, &case)?));
        interrupt::check()?;
        progress.set(rows.len() as u64);
    }
    Ok(())
}

/// The cases to measure, in order.
fn cases<'a>(args: &cli::Bench, ops: &'a [Given]) -> Vec<Case<'a>> {
    let mut cases: Vec<_> =
        ops.iter().map(|given| Case::new(given.op(), Pass::Forward, args.elements)).collect();
    with(&mut cases, &Several::told(&args.passes, Pass::ALL), |case, pass| case.pass = pass);
    with(&mut cases, &Several::told(&args.extras, &[Extra::None]), |case, extra| case.extra = extra);
    with(&mut cases, &Several::told(&args.dtypes, &[DType::F32]), |case, dtype| case.dtype = dtype);
    with(&mut cases, &Several::told(&args.layouts, &[Shapes::Contiguous]), |case, shapes| {
        case.shapes = shapes;
    });
    let data = Several::told(&args.data, &[Data::Ordinary, Data::Extreme]);
    with(&mut cases, &data, |case, data| case.data = data);
    cases.retain(|case| {
        let signature = case.op.signature();
        case.extra.fits(signature, case.pass)
            && (case.shapes == Shapes::Contiguous || signature.inputs().len() > 1)
    });
    cases
}

/// Expands each case to one case for each value.
fn with<'a, T: Copy>(cases: &mut Vec<Case<'a>>, values: &[T], set: impl Fn(&mut Case<'a>, T)) {
    let set = &set;
    let each = |case: &Case<'a>| {
        let case = *case;
        values.iter().map(move |value| {
            let mut case = case;
            set(&mut case, *value);
            case
        })
    };
    *cases = cases.iter().flat_map(each).collect();
}

/// The names that identify a case.
fn names(case: &Case) -> [String; 6] {
    let op = case.op.name().to_owned();
    let others = [
        case.pass.name(),
        cli::extra_name(case.extra),
        case.dtype.name(),
        case.shapes.name(),
        case.data.name(),
    ];
    let [pass, extra, dtype, layout, data] = others.map(str::to_owned);
    [op, pass, extra, dtype, layout, data]
}

/// The bytes read and written for each element of `z`.
fn bytes_per_element(m: &Measurement) -> f64 {
    (m.traffic.read + m.traffic.written) as f64 / m.elements as f64
}

fn row((case, m): &Row) -> serde_json::Value {
    let [op, pass, extra, dtype, layout, data] = names(case);
    json!({
        "op": op,
        "pass": pass,
        "extra": extra,
        "dtype": dtype,
        "layout": layout,
        "data": data,
        "device": m.device,
        "elements": m.elements,
        "bytes_per_element": bytes_per_element(m),
        "seconds": m.seconds,
        "bytes_per_second": m.bytes_per_second(),
        "copy": m.copy,
        "copy_bytes_per_second": m.copy_bytes_per_second,
        "ratio_to_copy": m.ratio_to_copy(),
        "timestamps": m.timestamps,
        "mismatches": m.mismatches,
    })
}

fn table(rows: &[Row]) -> String {
    let headings = [
        "op",
        "pass",
        "extra",
        "type",
        "layout",
        "data",
        "device",
        "elements",
        "time",
        "speed",
        "copy",
        "copy speed",
        "ratio to copy",
    ];
    let cells = |(case, m): &Row| {
        let figures = [
            m.device.clone(),
            print::count(m.elements),
            print::seconds(m.seconds),
            print::speed(m.bytes_per_second()),
            m.copy.into(),
            print::speed(m.copy_bytes_per_second),
            format!("{:.2}", m.ratio_to_copy()),
        ];
        names(case).into_iter().chain(figures).collect::<Vec<_>>()
    };
    print::table(&headings, &rows.iter().map(cells).collect::<Vec<_>>())
}

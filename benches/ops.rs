//! Bytes per second of every op × pass × storage type × layout × option × device × size, next to those of a copy.
//!
//! Run `cargo bench`, or `cargo bench -- --quick`. A filter names a group, as in `cargo bench --bench ops --
//! mod/fused/f32`. The devices are the CPU and every hardware adapter, and with `ELEMGRAD_BENCH_SOFTWARE` also
//! software adapters. A GPU that has its own clock is timed by it. Every case is compared with the reference before
//! it is timed. `cargo bench --bench overhead` measures what else a call costs.

mod common;

use std::{
    cell::{OnceCell, RefCell},
    time::Duration,
};

use common::devices;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use elemgrad::{
    DType, Pass, Runner,
    check::{Case, Extra, Prepared, Shapes},
    ops,
};

/// Small enough for a core's cache, around the size of the last cache, and beyond it.
const ELEMENTS: [u64; 3] = [1 << 12, 1 << 20, 1 << 24];
/// The size at which unusual storage types, layouts and options are timed.
const USUAL: u64 = 1 << 20;

criterion_group!(benches, ops);
criterion_main!(benches);

fn ops(criterion: &mut Criterion) {
    for (device, runner) in devices() {
        for case in cases() {
            let signature = case.op.signature();
            let (dtype, shapes, extra) = (case.dtype.name(), case.shapes.name(), case.extra.name());
            let name = [signature.name(), case.pass.name(), dtype, shapes, extra, &device];
            let name: Vec<&str> = name.into_iter().filter(|part| !part.is_empty()).collect();
            let mut group = criterion.benchmark_group(name.join("/"));
            group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
            let usual =
                (case.dtype, case.shapes, case.extra) == (DType::F32, Shapes::Contiguous, Extra::None);
            for elements in ELEMENTS.into_iter().filter(|elements| usual || *elements == USUAL) {
                time(&mut group, &runner, &with(case, |case| case.elements = elements));
            }
            group.finish();
        }
    }
}

/// Every combination that the ops have, with at most one unusual choice of storage type, layout and option.
fn cases() -> Vec<Case<'static>> {
    let mut cases = Vec::new();
    for &op in ops::mods() {
        for &pass in Pass::ALL {
            let usual = Case::new(op, pass, USUAL);
            cases.extend(DType::ALL.iter().map(|&dtype| with(usual, |case| case.dtype = dtype)));
            let extras = Extra::ALL.iter().copied().skip(1).filter(|e| e.fits(op.signature(), pass));
            cases.extend(extras.map(|extra| with(usual, |case| case.extra = extra)));
            if op.signature().inputs().len() > 1 {
                let shapes = Shapes::ALL.iter().copied().skip(1);
                cases.extend(shapes.map(|shapes| with(usual, |case| case.shapes = shapes)));
            }
        }
    }
    cases
}

/// The case with one thing changed.
fn with<'o>(mut case: Case<'o>, change: impl FnOnce(&mut Case<'o>)) -> Case<'o> {
    change(&mut case);
    case
}

fn time(group: &mut BenchmarkGroup<WallTime>, runner: &Runner, case: &Case) {
    // A case that the filter leaves out is not prepared.
    let cell = OnceCell::new();
    let prepared = || {
        let prepare = || {
            let mut prepared = Prepared::new(runner, case).expect("a device that works");
            assert_eq!(
                prepared.mismatches().expect("a device that works"),
                Some(0),
                "the reference says otherwise"
            );
            RefCell::new(prepared)
        };
        cell.get_or_init(prepare).borrow_mut()
    };
    let on_gpu = runner.gpu().is_some();
    group.throughput(Throughput::Bytes(case.traffic().expect("sizes that fit").total()));
    group.bench_function(BenchmarkId::new("op", case.elements), |b| {
        b.iter_custom(|calls| in_parts(calls, |calls| prepared().calls(calls).expect("as before")));
    });
    group.throughput(Throughput::Bytes(case.copy_bytes(on_gpu).expect("sizes that fit")));
    let kinds = ["copy", "copy on all cores", "copy past the caches"];
    for (kind, name) in kinds.into_iter().enumerate().take(if on_gpu { 1 } else { kinds.len() }) {
        group.bench_function(BenchmarkId::new(name, case.elements), |b| {
            b.iter_custom(|calls| {
                in_parts(calls, |calls| prepared().copies(kind, calls).expect("as before"))
            });
        });
    }
}

/// Splits calls into submissions with so many calls that the cost of the submission counts little, and so few that
/// none takes long.
fn in_parts(mut calls: u64, mut time: impl FnMut(u32) -> Duration) -> Duration {
    let mut sum = Duration::ZERO;
    while calls > 0 {
        let some = calls.min(64);
        sum += time(some as u32);
        calls -= some;
    }
    sum
}

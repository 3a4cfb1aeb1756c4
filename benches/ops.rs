//! op × pass × device × size in bytes per second, with a copy beside each.
//!
//! `cargo bench`, or `cargo bench -- --quick`; a filter names a group, as in `cargo bench -- mod/fused/cpu`. Devices are
//! the CPU and every hardware adapter, and software adapters where `ELEMGRAD_BENCH_SOFTWARE` is set. Each pass is
//! compared with the reference before it is timed.

use std::{
    hint::black_box,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use elemgrad::{
    Args, Error, Op, Runner,
    data::Data,
    gpu::{Bound, Kernels, device},
    measure::{bytes_per_element, copy_like},
    op::{BUILT_IN, Pass},
    verify::{Inputs, verify},
    wgpu,
};
use rayon::prelude::*;

/// Small enough for a core's cache, around the last cache's size, and past it.
const ELEMENTS: [usize; 3] = [1 << 12, 1 << 20, 1 << 24];
/// Elements that a plain copy is faster for than waking other cores.
const SMALL: usize = 1 << 16;
/// Dispatches in one submission: enough that its own cost counts little, few enough that none takes long.
const DISPATCHES: u64 = 64;

criterion_group!(benches, ops);
criterion_main!(benches);

fn ops(criterion: &mut Criterion) {
    for (device, runner) in devices() {
        for op in BUILT_IN {
            for pass in Pass::ALL {
                check(&runner, op, pass);
                let name = format!("{}/{}/{device}", op.definition().name, pass.name());
                let mut group = criterion.benchmark_group(name);
                group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
                for elements in ELEMENTS {
                    match runner.gpu() {
                        None => on_cpu(&mut group, &runner, op, pass, elements),
                        Some((kernels, queue)) => on_gpu(&mut group, kernels, queue, op, pass, elements),
                    }
                    .expect("a pass that has just been right");
                }
                group.finish();
            }
        }
    }
}

fn devices() -> Vec<(String, Runner)> {
    let software = std::env::var_os("ELEMGRAD_BENCH_SOFTWARE").is_some();
    let mut devices = vec![("cpu".to_owned(), Runner::cpu())];
    for adapter in pollster::block_on(device::adapters()) {
        let info = adapter.get_info();
        if software || !device::is_software(&info) {
            match pollster::block_on(Runner::on_adapter(&adapter)) {
                Ok(runner) => devices.push((format!("{} {}", info.name, info.backend), runner)),
                Err(error) => eprintln!("left out: {error}"),
            }
        }
    }
    devices
}

fn check(runner: &Runner, op: &dyn Op, pass: Pass) {
    let sample = Inputs::Sample { count: 1 << 18, seed: 1 };
    let report = verify(runner, op, &sample, &[pass], &mut |_| ControlFlow::Continue(()));
    let report = report.expect("a device that works");
    assert!(report.mismatches == 0, "{} on {}: {:?}", report.op, report.device, report.first);
}

fn random(op: &dyn Op, elements: usize) -> Vec<Vec<f32>> {
    let mut reads = vec![vec![0.0; elements]; op.definition().read_count()];
    Data::Ordinary.fill(1, 0, &mut reads);
    reads
}

/// Host slices; the copy is a plain one of one operand, on all cores unless it is small.
fn on_cpu(
    group: &mut BenchmarkGroup<WallTime>,
    runner: &Runner,
    op: &dyn Op,
    pass: Pass,
    elements: usize,
) -> Result<(), Error> {
    let definition = op.definition();
    let outputs = definition.outputs(pass);
    let reads = random(op, elements);
    let mut writes: Vec<_> =
        (0..definition.write_count()).map(|i| outputs.contains(i).then(|| vec![0.0; elements])).collect();
    let mut result = Ok(());
    group.throughput(Throughput::Bytes(elements as u64 * bytes_per_element(definition, outputs)));
    group.bench_function(BenchmarkId::new("op", elements), |b| {
        b.iter(|| {
            let reads = reads.iter().map(|r| Some(&r[..])).collect();
            let writes = writes.iter_mut().map(|w| w.as_deref_mut()).collect();
            result = runner.run(Args { op, reads, writes });
        });
    });
    result?;

    let mut copy = vec![0.0_f32; elements];
    let part = elements.div_ceil(rayon::current_num_threads());
    group.throughput(Throughput::Bytes(8 * elements as u64));
    group.bench_function(BenchmarkId::new("copy", elements), |b| {
        b.iter(|| {
            let from = black_box(&reads[0]);
            if elements < SMALL {
                copy.copy_from_slice(from);
            } else {
                let parts = copy.par_chunks_mut(part).zip(from.par_chunks(part));
                parts.for_each(|(to, from)| to.copy_from_slice(from));
            }
        });
    });
    Ok(())
}

/// Buffers that stay on the device; the copy is a kernel that reads and writes as many operands.
fn on_gpu(
    group: &mut BenchmarkGroup<WallTime>,
    kernels: &Kernels,
    queue: &wgpu::Queue,
    op: &dyn Op,
    pass: Pass,
    elements: usize,
) -> Result<(), Error> {
    let (device, definition) = (kernels.device(), op.definition());
    let outputs = definition.outputs(pass);
    let buffer = || {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("bench"),
            size: 4 * elements as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    };
    let reads: Vec<_> = random(op, elements)
        .iter()
        .map(|data| {
            let buffer = buffer();
            queue.write_buffer(&buffer, 0, bytemuck::cast_slice(data));
            buffer
        })
        .collect();
    let writes: Vec<_> = (0..definition.write_count()).map(|_| buffer()).collect();
    group.throughput(Throughput::Bytes(elements as u64 * bytes_per_element(definition, outputs)));
    for (name, op) in [("op", op), ("copy", copy_like(definition))] {
        let reads = reads.iter().map(Some).collect();
        let writes = (0..).zip(&writes).map(|(i, w)| outputs.contains(i).then_some(w)).collect();
        let bound = kernels.bind(Args { op, reads, writes })?;
        group.bench_function(BenchmarkId::new(name, elements), |b| {
            b.iter_custom(|calls| time(device, queue, &bound, calls));
        });
    }
    Ok(())
}

fn time(device: &wgpu::Device, queue: &wgpu::Queue, bound: &Bound, mut calls: u64) -> Duration {
    let start = Instant::now();
    while calls > 0 {
        let some = calls.min(DISPATCHES);
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        (0..some).for_each(|_| bound.encode(&mut encoder));
        queue.submit([encoder.finish()]);
        device.poll(wgpu::PollType::wait_indefinitely()).expect("a device that is not lost");
        calls -= some;
    }
    start.elapsed()
}

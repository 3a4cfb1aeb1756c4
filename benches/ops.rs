//! op × pass × storage type × layout × options × device × size in bytes per second, with a copy beside each.
//!
//! `cargo bench`, or `cargo bench -- --quick`; a filter names a group, as in `cargo bench -- mod/fused/f32`. Devices are
//! the CPU and every hardware adapter, and software adapters where `ELEMGRAD_BENCH_SOFTWARE` is set; a GPU is timed by its
//! own clock where it has one. Every case is compared with the reference before it is timed.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use elemgrad::{
    DType, Runner,
    data::Data,
    gpu::{Kernels, device},
    measure::{Case, Extra, Prepared, Shapes},
    modulo,
    op::{BUILT_IN, Pass},
    spiky, wgpu,
};

/// Small enough for a core's cache, around the last cache's size, and past it.
const ELEMENTS: [u64; 3] = [1 << 12, 1 << 20, 1 << 24];
/// The size at which storage types, layouts and options other than the usual are timed.
const USUAL: u64 = 1 << 20;

criterion_group!(benches, ops, small, recording);
criterion_main!(benches);

fn ops(criterion: &mut Criterion) {
    for (device, runner) in devices() {
        for case in cases() {
            let definition = case.op.definition();
            let (dtype, shapes, extra) = (case.dtype.name(), case.shapes.name(), case.extra.name());
            let name = [&definition.name, case.pass.name(), dtype, shapes, extra, &device];
            let name: Vec<&str> = name.into_iter().filter(|part| !part.is_empty()).collect();
            let mut group = criterion.benchmark_group(name.join("/"));
            group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
            let usual =
                (case.dtype, case.shapes, case.extra) == (DType::F32, Shapes::Contiguous, Extra::None);
            for elements in ELEMENTS.into_iter().filter(|elements| usual || *elements == USUAL) {
                time(&mut group, &runner, &Case { elements, ..case });
            }
            group.finish();
        }
    }
}

/// Every combination that the ops have; of storage type, layout and options at most one is not the usual.
fn cases() -> Vec<Case<'static>> {
    let mut cases = Vec::new();
    for op in BUILT_IN {
        for pass in Pass::ALL {
            let usual = Case {
                op,
                pass,
                extra: Extra::None,
                dtype: DType::F32,
                shapes: Shapes::Contiguous,
                data: Data::Ordinary,
                elements: 0,
            };
            cases.extend(DType::ALL.map(|dtype| Case { dtype, ..usual }));
            let extras = Extra::ALL.into_iter().skip(1).filter(|e| e.fits(op.definition(), pass));
            cases.extend(extras.map(|extra| Case { extra, ..usual }));
            if op.definition().inputs.len() > 1 {
                cases.extend(Shapes::ALL.into_iter().skip(1).map(|shapes| Case { shapes, ..usual }));
            }
        }
    }
    cases
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

fn time(group: &mut BenchmarkGroup<WallTime>, runner: &Runner, case: &Case) {
    let mut prepared = Prepared::new(runner, case).expect("a device that works");
    assert_eq!(prepared.mismatches().expect("a device that works"), 0, "the reference says otherwise");
    let traffic = prepared.traffic();
    let elements = prepared.elements();
    group.throughput(Throughput::Bytes(traffic.read + traffic.written));
    group.bench_function(BenchmarkId::new("op", elements), |b| {
        b.iter_custom(|calls| in_parts(calls, |calls| prepared.calls(calls).expect("as before")));
    });
    group.throughput(Throughput::Bytes(prepared.copy_bytes()));
    for kind in 0..prepared.copy_kinds() {
        let name = ["copy", "copy on all cores", "copy past the caches"][kind];
        group.bench_function(BenchmarkId::new(name, elements), |b| {
            b.iter_custom(|calls| in_parts(calls, |calls| prepared.copies(kind, calls).expect("as before")));
        });
    }
}

/// Submissions of so many calls that their own cost counts little, and so few that none takes long.
fn in_parts(mut calls: u64, mut time: impl FnMut(u32) -> Duration) -> Duration {
    let mut sum = Duration::ZERO;
    while calls > 0 {
        let some = calls.min(64);
        sum += time(some as u32);
        calls -= some;
    }
    sum
}

/// Small slices on the CPU path, beside a loop over the scalar functions.
fn small(criterion: &mut Criterion) {
    let runner = Runner::cpu();
    for elements in [64, 256, 1024, 4000] {
        let x: Vec<f32> = (0..elements).map(|i| i as f32 * 0.37 - 50.0).collect();
        let y: Vec<f32> = (0..elements).map(|i| (i % 13) as f32 * 0.5 + 0.75).collect();
        let mut z = vec![0.0; elements];
        let mut group = criterion.benchmark_group(format!("small/{elements}"));
        group.bench_function("spiky", |b| {
            b.iter(|| runner.run(spiky::Forward { x: black_box(&x), z: &mut z[..] }).expect("it is right"));
        });
        group.bench_function("spiky by a scalar loop", |b| {
            b.iter(|| black_box(&mut z).iter_mut().zip(&x).for_each(|(z, x)| *z = spiky::forward(*x)));
        });
        group.bench_function("mod", |b| {
            b.iter(|| {
                runner.run(modulo::Forward { x: black_box(&x), y: &y, z: &mut z[..] }).expect("it is right");
            });
        });
        group.bench_function("mod by a scalar loop", |b| {
            let xy = x.iter().zip(&y);
            b.iter(|| {
                black_box(&mut z)
                    .iter_mut()
                    .zip(xy.clone())
                    .for_each(|(z, (x, y))| *z = modulo::forward(*x, *y));
            });
        });
        group.finish();
    }
}

/// A recording beside one by hand of the same dispatch, on wgpu's back end that does nothing.
fn recording(criterion: &mut Criterion) {
    let (device, _queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    let buffer = |size, usage| {
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        device.create_buffer(&descriptor)
    };
    let [x, z] = [0; 2].map(|_| buffer(1 << 20, wgpu::BufferUsages::STORAGE));
    let bound = Kernels::new(&device).bind(spiky::Forward { x: &x, z: &z }).expect("it is right");
    let params = buffer(1 << 10, wgpu::BufferUsages::UNIFORM);
    let (pipeline, bind_group) = by_hand(&device, [&params, &x, &z]);

    let pass = |record: &dyn Fn(&mut wgpu::ComputePass), calls: u32| {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let start = Instant::now();
        (0..calls).for_each(|_| record(&mut pass));
        start.elapsed()
    };
    let mut group = criterion.benchmark_group("recording");
    let mut bench = |name: &str, record: &dyn Fn(&mut wgpu::ComputePass)| {
        group.bench_function(name, |b| b.iter_custom(|calls| in_parts(calls, |calls| pass(record, calls))));
    };
    bench("ours", &|pass| bound.record(pass));
    bench("by hand", &|pass| {
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(256, 1, 1);
    });
    group.finish();
}

fn by_hand(device: &wgpu::Device, buffers: [&wgpu::Buffer; 3]) -> (wgpu::ComputePipeline, wgpu::BindGroup) {
    let source = "
        @group(0) @binding(0) var<uniform> params: vec4<u32>;
        @group(0) @binding(1) var<storage, read> x: array<u32>;
        @group(0) @binding(2) var<storage, read_write> z: array<u32>;
        @compute @workgroup_size(1) fn main() { z[params.x] = x[0]; }
    ";
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[(0, buffers[0]), (1, buffers[1]), (2, buffers[2])]
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() }),
    });
    (pipeline, bind_group)
}

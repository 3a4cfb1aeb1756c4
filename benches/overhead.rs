//! What a call costs besides its work: `cargo bench --bench overhead`.
//!
//! Compares small slices on the CPU path with a loop over the scalar functions, and a recording with a hand-written
//! one of the same dispatch, on wgpu's back end that does nothing. Both sides take turns. Times are medians.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use elemgrad::{
    Runner,
    gpu::Kernels,
    ops::{modulo, spiky},
    wgpu,
};

/// The number of turns of each side.
const TURNS: usize = 301;

fn main() {
    println!("{:28} {:>10} {:>14} {:>12}", "", "elemgrad", "the other", "time, ratio");
    for elements in [64, 256, 1024, 4000] {
        small(elements);
    }
    recording();
}

/// Compares small slices with a loop over the scalar functions.
fn small(elements: usize) {
    let runner = Runner::cpu();
    let x: Vec<f32> = (0..elements).map(|i| i as f32 * 0.37 - 50.0).collect();
    let y: Vec<f32> = (0..elements).map(|i| (i % 13) as f32 * 0.5 + 0.75).collect();
    let (mut z, mut by_loop) = (vec![0.0; elements], vec![0.0; elements]);
    let calls = 20_000 / elements;
    compare(
        &format!("spiky forward, {elements} f32"),
        || repeat(calls, || runner.run(spiky::Forward { x: black_box(&x), z: &mut z[..] }).expect("right")),
        || {
            repeat(calls, || {
                let pairs = black_box(&mut by_loop).iter_mut().zip(black_box(&x));
                pairs.for_each(|(z, x)| *z = spiky::forward(*x));
            })
        },
    );
    assert_eq!(z, by_loop);
    compare(
        &format!("mod forward, {elements} f32"),
        || {
            repeat(calls, || {
                runner.run(modulo::Forward { x: black_box(&x), y: &y, z: &mut z[..] }).expect("right");
            })
        },
        || {
            repeat(calls, || {
                let pairs = black_box(&mut by_loop).iter_mut().zip(black_box(&x)).zip(&y);
                pairs.for_each(|((z, x), y)| *z = modulo::forward(*x, *y));
            })
        },
    );
    assert_eq!(z, by_loop);
}

/// Compares a recording with a hand-written one of the same dispatch.
fn recording() {
    const CALLS: usize = 500;
    let (device, _queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    let buffer = |size, usage| {
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        device.create_buffer(&descriptor)
    };
    let [x, z] = [0; 2].map(|_| buffer(1 << 20, wgpu::BufferUsages::STORAGE));
    let bound = Kernels::new(&device).bind(spiky::Forward { x: &x, z: &z }).expect("right");
    let params = buffer(1 << 10, wgpu::BufferUsages::UNIFORM);
    let (pipeline, bind_group) = by_hand(&device, [&params, &x, &z]);
    let pass = |record: &dyn Fn(&mut wgpu::ComputePass)| {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        repeat(CALLS, || record(&mut pass))
    };
    compare(
        "recording a dispatch",
        || pass(&|pass| bound.record(pass)),
        || {
            pass(&|pass| {
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &bind_group, &[]);
                pass.dispatch_workgroups(256, 1, 1);
            })
        },
    );
}

/// Seconds per call.
fn repeat(calls: usize, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..calls).for_each(|_| call());
    start.elapsed().as_secs_f64() / calls as f64
}

fn compare(what: &str, mut ours: impl FnMut() -> f64, mut other: impl FnMut() -> f64) {
    let turns: Vec<[f64; 2]> = (0..TURNS).map(|_| [ours(), other()]).collect();
    let [ours, other] = [0, 1].map(|side| median(turns.iter().map(|turn| turn[side])));
    let time = |seconds| format!("{:.1?}", Duration::from_secs_f64(seconds));
    println!("{what:28} {:>10} {:>14} {:>12.2}", time(ours), time(other), ours / other);
}

fn median(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
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

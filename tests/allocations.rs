//! Recording a bound call makes no more allocations than recording the same dispatches by hand.

#![allow(unsafe_code, reason = "counting allocations takes an allocator")]

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use elemgrad::{
    gpu::{Bound, Kernels},
    ops::spiky,
    wgpu::{self, BufferUsages},
};

/// The system's allocator, counting each thread's allocations.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The number of allocations that this thread makes in `work`.
fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

const WINDOW: u64 = 4096;

struct Setup {
    device: wgpu::Device,
    queue: wgpu::Queue,
    bound: Bound,
    by_hand: (wgpu::ComputePipeline, Vec<wgpu::BindGroup>),
}

/// A call of some windows, and a hand-written pipeline with as many bind groups of the same size.
fn setup(windows: u64) -> Setup {
    let required_limits =
        wgpu::Limits { max_storage_buffer_binding_size: 4 * WINDOW, ..wgpu::Limits::default() };
    let (device, queue) =
        wgpu::Device::noop(&wgpu::DeviceDescriptor { required_limits, ..Default::default() });
    let buffer = |size, usage| {
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let [x, z] = [0; 2].map(|_| buffer(4 * WINDOW * windows, BufferUsages::STORAGE));
    let bound = Kernels::new(&device).bind(spiky::Forward { x: &x, z: &z }).expect("it is right");
    assert_eq!(bound.dispatches() as u64, windows);

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
    let [params, x, z] = [BufferUsages::UNIFORM, BufferUsages::STORAGE, BufferUsages::STORAGE]
        .map(|usage| buffer(4 * WINDOW, usage));
    let group = || {
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[(0, &params), (1, &x), (2, &z)].map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            }),
        })
    };
    let groups = (0..windows).map(|_| group()).collect();
    Setup { device, queue, bound, by_hand: (pipeline, groups) }
}

/// The allocations of `record` in a fresh pass. The pass itself, its end and its submission do not count.
fn counted(setup: &Setup, record: impl FnOnce(&mut wgpu::ComputePass)) -> usize {
    let mut encoder = setup.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    let count = allocations(|| record(&mut pass));
    drop(pass);
    setup.queue.submit([encoder.finish()]);
    count
}

#[test]
fn recording_allocates_no_more_than_by_hand() {
    for windows in [1, 2, 5] {
        let setup = setup(windows);
        let (pipeline, groups) = &setup.by_hand;
        for recordings in [1, 7] {
            let by_hand = counted(&setup, |pass| {
                for _ in 0..recordings {
                    pass.set_pipeline(pipeline);
                    for group in groups {
                        pass.set_bind_group(0, group, &[]);
                        pass.dispatch_workgroups(4, 1, 1);
                    }
                }
            });
            let ours = counted(&setup, |pass| (0..recordings).for_each(|_| setup.bound.record(pass)));
            assert!(ours <= by_hand, "{windows} windows: {ours} allocations, {by_hand} by hand");
        }
    }
}

#[test]
fn the_count_can_rise() {
    assert_eq!(allocations(|| {}), 0);
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
    let setup = setup(1);
    let wasteful = |pass: &mut wgpu::ComputePass| {
        let list = std::hint::black_box(vec![&setup.bound; 100]);
        list[0].record(pass);
    };
    let ours = counted(&setup, |pass| setup.bound.record(pass));
    assert_eq!(counted(&setup, wasteful), ours + 1);
}

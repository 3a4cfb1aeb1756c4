//! elemgrad's kernel between two of your own: your device, your buffers, your passes, one encoder, one submit.
//!
//! `cargo run --release --example inside_your_encoder`

use std::error::Error;

use elemgrad::{gpu::Kernels, ops::spiky, wgpu};

const LEN: u32 = 1 << 20;

/// Your shader: `fill` makes x and dz before the op, `scale` doubles z after it.
const YOURS: &str = "
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> b: array<f32>;

@compute @workgroup_size(256)
fn fill(@builtin(global_invocation_id) id: vec3<u32>) {
    a[id.x] = f32(id.x) * 0.0009765625 - 512.0;
    b[id.x] = f32(id.x);
}

@compute @workgroup_size(256)
fn scale(@builtin(global_invocation_id) id: vec3<u32>) {
    a[id.x] = a[id.x] * 2.0;
}
";

fn main() -> Result<(), Box<dyn Error>> {
    // Your device. A software adapter will do.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = match pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))
    {
        Ok(adapter) => adapter,
        Err(reason) => {
            println!("There is no GPU adapter here, so there is no encoder to be inside of: {reason}");
            println!("The example `quickstart` runs on the CPU.");
            return Ok(());
        }
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;

    // Your buffers.
    let size = u64::from(LEN) * 4;
    let buffer = |label, usage| {
        let (label, mapped_at_creation) = (Some(label), false);
        device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation })
    };
    let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let [x, dz, z, dx] = ["x", "dz", "z", "dx"].map(|label| buffer(label, storage));
    let [z_host, dx_host] = ["z on the host", "dx on the host"]
        .map(|label| buffer(label, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST));

    // Your kernels.
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("yours"),
        source: wgpu::ShaderSource::Wgsl(YOURS.into()),
    });
    let pipeline = |entry_point| {
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry_point),
            layout: None,
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        })
    };
    let bind_group = |pipeline: &wgpu::ComputePipeline, buffers: &[&wgpu::Buffer]| {
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, b)| wgpu::BindGroupEntry { binding, resource: b.as_entire_binding() })
            .collect();
        let layout = &pipeline.get_bind_group_layout(0);
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    };
    let (fill, scale) = (pipeline("fill"), pipeline("scale"));
    let (fill_group, scale_group) = (bind_group(&fill, &[&x, &dz]), bind_group(&scale, &[&z]));

    // elemgrad's kernel: everything is checked, compiled and allocated here.
    let kernels = Kernels::new(&device);
    let step = kernels.bind(spiky::Fused { x: &x, dz: &dz, z: &z, dx: &dx })?;

    // One encoder, one pass, three dispatches, one submit.
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&fill);
        pass.set_bind_group(0, &fill_group, &[]);
        pass.dispatch_workgroups(LEN / 256, 1, 1);
        step.record(&mut pass);
        pass.set_pipeline(&scale);
        pass.set_bind_group(0, &scale_group, &[]);
        pass.dispatch_workgroups(LEN / 256, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&z, 0, &z_host, 0, size);
    encoder.copy_buffer_to_buffer(&dx, 0, &dx_host, 0, size);
    queue.submit([encoder.finish()]);

    // Read back, and compare every bit with the scalar reference.
    for host in [&z_host, &dx_host] {
        host.map_async(wgpu::MapMode::Read, .., |result| result.expect("a buffer that can be mapped"));
    }
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let (z_view, dx_view) = (z_host.get_mapped_range(..)?, dx_host.get_mapped_range(..)?);
    let (z, dx): (&[f32], &[f32]) = (bytemuck::cast_slice(&z_view), bytemuck::cast_slice(&dx_view));
    for (i, (z, dx)) in (0..LEN).zip(z.iter().zip(dx)) {
        let (want_z, want_dx) = spiky::fused(i as f32 / 1024.0 - 512.0, i as f32);
        assert_eq!((z.to_bits(), dx.to_bits()), ((want_z * 2.0).to_bits(), want_dx.to_bits()), "element {i}");
    }
    println!("{}: {LEN} elements, all bits as the reference has them", adapter.get_info().name);
    Ok(())
}

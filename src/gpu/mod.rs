//! Kernels on your own device.
//!
//! [`Kernels`] compiles and caches kernels, [`Kernels::bind`] checks and allocates, [`Bound::record`] records.
//!
//! ```no_run
//! use elemgrad::{gpu::Kernels, ops::spiky, wgpu};
//!
//! # fn example(device: &wgpu::Device, queue: &wgpu::Queue, x: &wgpu::Buffer, dz: &wgpu::Buffer, z: &wgpu::Buffer,
//! #     dx: &wgpu::Buffer) -> Result<(), elemgrad::Error> {
//! let kernels = Kernels::new(device);
//! let step = kernels.bind(spiky::Fused { x, dz, z, dx })?;
//!
//! let mut encoder = device.create_command_encoder(&Default::default());
//! step.record(&mut encoder.begin_compute_pass(&Default::default()));
//! queue.submit([encoder.finish()]);
//! # Ok(())
//! # }
//! ```

pub(crate) mod bind;
pub(crate) mod device;
pub(crate) mod kernels;
mod pipeline;
pub(crate) mod scope;
pub(crate) mod stream;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod timing;

pub use bind::{Bound, Operand};
pub use device::{adapters, describe, is_software};
pub use kernels::Kernels;

//! Fused elementwise GPU kernels with gradients, exact to the bit, on wgpu and WGSL.
//!
//! Two ops are built in, [`spiky`] and [`modulo`] (`mod`), each with a forward pass, a backward pass and a fused pass
//! that does both and reads every input once. Their kernels, and those of your own ops in exact arithmetic, give the
//! same bits on every GPU, and so does the CPU.
//!
//! There are three ways in:
//!
//! 1. **Your pipeline** ([`gpu::Kernels`]): your device, your buffers, your compute pass. Bind the arguments once, where
//!    everything wrong is a typed [`Error`]; record as often as you like, where nothing can fail.
//! 2. **Your slices** ([`Runner`]): host data in, host data out, of any size, on a GPU if there is one, else on the CPU.
//! 3. **Your shell**: the command `elemgrad` (feature `cli`) on `.npy` files.
//!
//! Operands are f32, f16 or bf16 ([`DType`]); inputs broadcast and have any strides ([`Layout`]), and the gradient of a
//! broadcast input is summed, by a tree that its shape fixes. Gradients can be added to what is there; `spiky` can save its
//! mask. A kernel is an op × outputs × storage type × layout × options ([`plan::Kernel`]), composed when it is bound.
//!
//! The formulas, special cases included, stand at the top of [`spiky`] and [`modulo`]. An op of your own is an expression in
//! Rust or WGSL, [`CustomOp`], with all that the built-in ops have; below it is the trait [`Op`].
//! [`verify`] compares any device with the scalar reference, [`measure`] times it beside a copy, and [`probe`] tells what it
//! does with floats. The features are wgpu's back ends (all on by default) and `cli`.
//!
//! ```
//! use elemgrad::{Runner, spiky};
//!
//! # fn main() -> Result<(), elemgrad::Error> {
//! let runner = Runner::cpu(); // Runner::auto() takes a GPU where there is one
//! let (mut z, mut dx) = (Vec::<f32>::new(), Vec::<f32>::new());
//! runner.run(spiky::Fused { x: &[0.2, 0.7, 1.2, 1.7], dz: &[1.0; 4], z: &mut z, dx: &mut dx })?;
//! assert_eq!(z, [0.2, 0.0, 0.20000005, 0.0]);
//! assert_eq!(dx, [1.0, 0.0, 1.0, 0.0]);
//! # Ok(())
//! # }
//! ```

mod cpu;
pub mod data;
mod dtype;
mod error;
pub mod expr;
pub mod gpu;
mod host;
mod job;
#[cfg(not(target_arch = "wasm32"))]
pub mod measure;
mod numeric;
pub mod op;
pub mod plan;
pub mod probe;
mod reference;
mod run;
pub mod shader;
mod shape;
pub mod verify;

/// Tests share code with those in `tests`, which see the crate from outside.
#[cfg(test)]
extern crate self as elemgrad;

pub use dtype::{DType, Element};
pub use error::Error;
pub use expr::CustomOp;
pub use half;
pub use host::{Output, View};
pub use op::{Args, IntoArgs, Op, Outputs, Traffic, modulo, spiky};
pub use run::{Choice, Runner};
pub use shape::{Layout, broadcast};
pub use wgpu;

/// The README's code, compiled and run with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

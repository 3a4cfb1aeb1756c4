//! Fused elementwise GPU kernels with gradients, exact to the bit, on wgpu and WGSL.
//!
//! An op is an expression, in Rust or in WGSL text: [`Op`]. It has a forward pass, a backward pass and a fused pass.
//! The fused pass does both and reads every input once. In [exact arithmetic](Arithmetic::Exact), the kernels of an
//! op give the same bits on every GPU and on the CPU. Two ops are ready made: [`ops::spiky`](fn@ops::spiky) and
//! [`ops::modulo`](fn@ops::modulo) (`mod`).
//!
//! There are three ways to use the crate:
//!
//! 1. **Your pipeline** ([`gpu::Kernels`]): your device, your buffers, your compute pass. Bind the arguments once;
//!    everything that can go wrong is a typed [`Error`] of that step. Record as often as you like; this cannot fail.
//! 2. **Your slices** ([`Runner`]): host data in, host data out, of any size. It runs on a GPU if there is one, else
//!    on the CPU.
//! 3. **Your shell**: the command `elemgrad` (feature `cli`) on `.npy` files.
//!
//! Operands are f32, f16 or bf16 ([`DType`]). Inputs broadcast and have any strides ([`Layout`]). The gradient of a
//! broadcast input is a sum, added by a tree that depends on the shape alone. You can add gradients to the values
//! that a buffer already holds. An op that passes or blocks its gradient by a condition (`spiky`) can save that
//! condition as a mask.
//!
//! [`check`] compares any device with the scalar reference, checks gradients, and times a call against a copy.
//!
//! Through the crate `log`, the library reports which adapters it passes over and why, and when the CPU takes over.
//!
//! ```
//! use elemgrad::{Runner, ops::spiky};
//!
//! # fn main() -> Result<(), elemgrad::Error> {
//! let runner = Runner::cpu(); // Runner::auto() takes a GPU if there is one
//! let (mut z, mut dx) = (Vec::<f32>::new(), Vec::<f32>::new());
//! runner.run(spiky::Fused { x: &[0.2, 0.7, 1.2, 1.7], dz: &[1.0; 4], z: &mut z, dx: &mut dx })?;
//! assert_eq!(z, [0.2, 0.0, 0.20000005, 0.0]);
//! assert_eq!(dx, [1.0, 0.0, 1.0, 0.0]);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! Without any back end the CPU path works, and no adapter is found.
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `vulkan` | yes | wgpu's Vulkan back end: Linux, Windows, Android |
//! | `metal` | yes | wgpu's Metal back end: macOS, iOS |
//! | `dx12` | yes | wgpu's Direct3D 12 back end: Windows |
//! | `gles` | yes | wgpu's OpenGL back end |
//! | `webgpu` | yes | wgpu's back end for browsers |
//! | `cli` | no | the command `elemgrad`, and what it depends on |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    target_arch = "wasm32",
    allow(dead_code, reason = "the web has nothing that blocks and no WGSL front end, which use it")
)]

mod blocks;
mod call;
pub mod check;
mod compile;
mod cpu;
mod dtype;
mod error;
mod expr;
// Tested, and not used yet: the rows of `blocks` will take their values from it.
mod functions;
pub mod gpu;
mod numeric;
mod op;
pub mod ops;
mod plan;
mod run;
pub mod shader;
mod shape;
pub mod signature;
mod wgsl;

// Unit tests share code with `tests`, which sees the crate from outside.
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
extern crate self as elemgrad;

pub use blocks::Primitive;
pub use call::{
    host::{Output, View},
    traffic::Traffic,
};
pub use dtype::{DType, Element};
pub use error::Error;
pub use expr::{Arithmetic, Condition, Expr, IntoExpr};
pub use half;
pub use op::{
    Op,
    args::{Args, IntoArgs},
};
pub use run::{Runner, open::Choice};
pub use shape::{Layout, broadcast};
pub use signature::outputs::{Outputs, Pass};
pub use wgpu;

/// The code in the documents, compiled and run as doc tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/guide.md")]
    struct Guide;
    #[doc = include_str!("../docs/how-it-works.md")]
    struct HowItWorks;
    #[doc = include_str!("../docs/measured.md")]
    struct Measured;
}

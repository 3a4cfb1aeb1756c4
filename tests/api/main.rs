//! Tests that need no adapter: the definitions, the CPU path, the front end, errors at bind, the text of the kernels.
//!
//! These tests are one binary, because linking wgpu takes longer than most of them.

mod activations;
#[path = "../common/mod.rs"]
mod common;
mod errors;
mod front;
mod functions;
mod fuzz_front;
mod gradients;
mod house;
mod reference;

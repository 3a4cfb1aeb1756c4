//! Checks of any op on any device: its results against the scalar reference, its gradients, and its speed.
//!
//! [`verify`](fn@verify) compares many elements with the reference. [`self_test`](fn@self_test) compares every way to
//! call an op. Both compare bit for bit. Only native ops on a GPU get slack: each result must lie in the
//! [interval](Enclosure) that the documented bounds allow. [`gradient_check`] compares gradients with central
//! differences. [`measure`](fn@measure) times a call against a copy. [`probe`](fn@probe) reports how a device
//! computes with floats.

#[cfg(not(target_arch = "wasm32"))]
mod case;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod column;
#[cfg(not(target_arch = "wasm32"))]
mod copy;
pub(crate) mod data;
mod gradient;
#[cfg(not(target_arch = "wasm32"))]
mod measure;
#[cfg(not(target_arch = "wasm32"))]
mod probe;
#[cfg(not(target_arch = "wasm32"))]
mod self_test;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
#[cfg(not(target_arch = "wasm32"))]
mod verify;

#[cfg(not(target_arch = "wasm32"))]
pub use case::{Case, Extra, Shapes};
pub use data::Data;
pub use gradient::{GradientComparison, GradientOptions, GradientReport, LeftOut, gradient_check};
#[cfg(not(target_arch = "wasm32"))]
pub use measure::{Measurement, Prepared, measure};
#[cfg(not(target_arch = "wasm32"))]
pub use probe::{Probes, probe};
#[cfg(not(target_arch = "wasm32"))]
pub use self_test::{SelfTest, SelfTestCase, self_test};
#[cfg(not(target_arch = "wasm32"))]
pub use verify::{Inputs, Mismatch, VerifyReport, verify};

pub use crate::signature::enclosure::{Enclosure, Reason};

//! Error scopes: what wgpu rejects becomes a typed error, and the caller's handlers stay as they were.

use std::future::Future;

use crate::Error;

/// Runs `create` with every error that it causes on `device` caught.
///
/// The scopes are pushed and popped before this returns, on this thread; only the answer is awaited.
pub(crate) fn caught<T, F: FnOnce() -> T>(
    device: &wgpu::Device,
    op: &str,
    create: F,
) -> impl Future<Output = Result<T, Error>> + use<T, F> {
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let value = create();
    let (internal, memory, validation) = (internal.pop(), memory.pop(), validation.pop());
    let op = op.to_owned();
    async move {
        let errors = [internal.await, memory.await, validation.await];
        match errors.into_iter().flatten().next() {
            None => Ok(value),
            Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::OutOfMemory { op }),
            Some(error) => Err(Error::Gpu { op, message: error.to_string() }),
        }
    }
}

//! Error scopes turn wgpu's errors into typed errors. The caller's handlers stay as they were.

use std::future::Future;

use crate::error::Error;

/// Runs `create` and catches every error that it causes on `device`.
///
/// The scopes are pushed and popped before this function returns, on this thread. Only the answer is awaited.
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
    let (op, device) = (op.to_owned(), device.clone());
    async move {
        let errors = [internal.await, memory.await, validation.await];
        match errors.into_iter().flatten().next() {
            None => Ok(value),
            Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::OutOfMemory { op }),
            Some(error) if is_lost(&device) => Err(Error::DeviceLost { op, message: error.to_string() }),
            Some(error) => Err(Error::Gpu { op, message: error.to_string() }),
        }
    }
}

/// Whether the device is lost. This does not use the device's lost callback, which may be the caller's and which runs
/// later.
///
/// A lost device silently creates invalid buffers and reports an error only when they are used. On the web, a lost
/// device still maps its buffers and reports no error.
fn is_lost(device: &wgpu::Device) -> bool {
    let scopes =
        [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory].map(|f| device.push_error_scope(f));
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("elemgrad probe of a loss"),
        size: 4,
        usage: wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: true,
    });
    let lost = buffer.get_mapped_range_mut(..).is_err();
    scopes.into_iter().rev().for_each(|scope| drop(scope.pop()));
    lost
}

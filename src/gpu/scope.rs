//! Error scopes: what wgpu rejects becomes a typed error, and the caller's handlers stay as they were.

use std::future::Future;

use crate::error::Error;

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

/// Whether the device is lost, without asking for its callback, which may be the caller's and which runs later.
///
/// A lost device makes invalid buffers without a word and then complains of their use. The web, where a lost device
/// maps its buffers as ever, complains of nothing.
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

//! Host slices through a GPU, in windows: while the device uploads, computes and reads back one window, the host fills the
//! next and empties the one before. Memory is bounded whatever the length.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_intrusive::channel::shared::{Receiver, Sender, channel};
use wgpu::BufferUsages as Usage;

use super::{bind::Bound, device::Health, kernels::Kernels, scope::caught};
use crate::{
    Args, Error, Op, Outputs,
    plan::{self, ELEMENT},
};

/// How a caller waits for the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// On the calling thread.
    Block,
    /// In a thread of its own that wakes the future, so any executor will do; on the web the browser does.
    Wake,
}

/// A device that streams.
#[derive(Debug)]
pub(crate) struct Streamer {
    pub(crate) kernels: Kernels,
    pub(crate) queue: wgpu::Queue,
    pub(crate) health: Health,
    /// The last call's buffers: calls of one shape, such as the chunks of a file, allocate once.
    idle: Mutex<Option<(Shape, Vec<Stage>)>>,
}

/// What a ring of stages is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    op: String,
    reads: Vec<usize>,
    outputs: Outputs,
    /// In elements.
    window: usize,
}

impl Streamer {
    pub(crate) fn new(device: &wgpu::Device, queue: &wgpu::Queue, health: Health) -> Self {
        Self { kernels: Kernels::new(device), queue: queue.clone(), health, idle: Mutex::default() }
    }

    /// Runs `op`; `done` counts the elements whose outputs are complete, on success and on failure.
    pub(crate) async fn run(
        &self,
        op: &dyn Op,
        reads: &[&[f32]],
        writes: &mut [Option<&mut [f32]>],
        wait: Wait,
        done: &mut usize,
    ) -> Result<(), Error> {
        let result = self.stream(op, reads, writes, wait, done).await;
        // Whatever fails on a lost device, the loss is the reason.
        result.map_err(|error| self.health.loss(op.definition().name).unwrap_or(error))
    }

    async fn stream(
        &self,
        op: &dyn Op,
        reads: &[&[f32]],
        writes: &mut [Option<&mut [f32]>],
        wait: Wait,
        done: &mut usize,
    ) -> Result<(), Error> {
        let name = op.definition().name;
        let wanted = Outputs::present(writes.iter().map(Option::is_some));
        let needed = op.definition().reads_for(wanted);
        let len = crate::op::len(writes);
        let limits = plan::Limits::from(&self.kernels.device().limits());
        let max_buffer = self.kernels.device().limits().max_buffer_size;
        let window = plan::stream_window(len, needed.len() + wanted.iter().count(), max_buffer, &limits);
        let windows: Vec<_> = (0..len).step_by(window).map(|start| start..len.min(start + window)).collect();
        let shape = Shape { op: name.to_owned(), reads: needed, outputs: wanted, window };
        let mut ring = self.take_ring(&shape);
        while ring.len() < (plan::STREAM_RING as usize).min(windows.len()) {
            ring.push(Stage::new(self, op, &shape).await?);
        }
        for turn in 0..windows.len() + ring.len() {
            let stage = turn % ring.len();
            if let Some(range) = turn.checked_sub(ring.len()).and_then(|earlier| windows.get(earlier)) {
                ring[stage].finish(self, name, range.clone(), writes, wait).await?;
                *done = range.end;
            }
            if let Some(range) = windows.get(turn) {
                ring[stage].start(self, op, reads, range.clone()).await?;
            }
        }
        *self.idle() = Some((shape, ring));
        Ok(())
    }

    /// The buffers of the last call where it was like this one, else none; its bindings are made anew, since another op
    /// may have the same name.
    fn take_ring(&self, shape: &Shape) -> Vec<Stage> {
        let idle = self.idle().take().filter(|(idle, _)| idle == shape);
        let mut ring = idle.map(|(_, ring)| ring).unwrap_or_default();
        for stage in &mut ring {
            stage.bound = None;
        }
        ring
    }

    /// Frees the buffers that the last call left.
    pub(crate) fn release(&self) {
        *self.idle() = None;
    }

    fn idle(&self) -> MutexGuard<'_, Option<(Shape, Vec<Stage>)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The buffers of one window in flight.
#[derive(Debug)]
struct Stage {
    reads: Vec<(usize, Pair)>,
    writes: Vec<(usize, Pair)>,
    /// The call on `bound.0` elements.
    bound: Option<(usize, Bound)>,
    in_flight: Option<InFlight>,
}

/// A buffer on the device and its staging buffer on the host.
#[derive(Debug)]
struct Pair {
    device: wgpu::Buffer,
    host: wgpu::Buffer,
}

/// A submission and the channel on which each of its mappings answers.
#[derive(Debug)]
struct InFlight {
    submission: wgpu::SubmissionIndex,
    sender: Sender<bool>,
    receiver: Receiver<bool>,
    mappings: usize,
}

impl Stage {
    async fn new(streamer: &Streamer, op: &dyn Op, shape: &Shape) -> Result<Self, Error> {
        let device = streamer.kernels.device();
        let definition = op.definition();
        let (read_names, write_names): (Vec<_>, Vec<_>) =
            (definition.read_names().collect(), definition.write_names());
        let pair = |name: &str, device_usage, host_usage, mapped_at_creation| {
            let size = shape.window as u64 * ELEMENT;
            let buffer = |label: &str, usage, mapped_at_creation| {
                let label = format!("elemgrad {} {name} {label}", definition.name);
                device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some(&label),
                    size,
                    usage,
                    mapped_at_creation,
                })
            };
            Pair {
                device: buffer("device", Usage::STORAGE | device_usage, false),
                host: buffer("staging", host_usage, mapped_at_creation),
            }
        };
        caught(device, definition.name, || Self {
            reads: shape
                .reads
                .iter()
                .map(|&i| (i, pair(read_names[i], Usage::COPY_DST, Usage::MAP_WRITE | Usage::COPY_SRC, true)))
                .collect(),
            writes: shape
                .outputs
                .iter()
                .map(|i| {
                    (i, pair(&write_names[i], Usage::COPY_SRC, Usage::MAP_READ | Usage::COPY_DST, false))
                })
                .collect(),
            bound: None,
            in_flight: None,
        })
        .await
    }

    /// Uploads a window's reads and submits its work.
    async fn start(
        &mut self,
        streamer: &Streamer,
        op: &dyn Op,
        reads: &[&[f32]],
        range: std::ops::Range<usize>,
    ) -> Result<(), Error> {
        let definition = op.definition();
        let bytes = range.len() as u64 * ELEMENT;
        for (i, pair) in &self.reads {
            let mut view =
                pair.host.get_mapped_range_mut(..bytes).map_err(|e| mapping_failed(definition.name, &e))?;
            view.copy_from_slice(bytemuck::cast_slice(&reads[*i][range.clone()]));
        }
        if self.bound.as_ref().is_none_or(|(len, _)| *len != range.len()) {
            self.bound = Some((range.len(), self.bind(streamer, op, range.len()).await?));
        }
        let Some((_, bound)) = &self.bound else { return Ok(()) };
        let (sender, receiver) = channel(self.reads.len() + self.writes.len() + 1);
        let submission = caught(streamer.kernels.device(), definition.name, || {
            self.reads.iter().for_each(|(_, pair)| pair.host.unmap());
            let mut encoder =
                streamer.kernels.device().create_command_encoder(&wgpu::CommandEncoderDescriptor {
                    label: Some(&format!("elemgrad {} window", definition.name)),
                });
            for (_, pair) in &self.reads {
                encoder.copy_buffer_to_buffer(&pair.host, 0, &pair.device, 0, bytes);
            }
            bound.encode(&mut encoder);
            for (_, pair) in &self.writes {
                encoder.copy_buffer_to_buffer(&pair.device, 0, &pair.host, 0, bytes);
            }
            let submission = streamer.queue.submit([encoder.finish()]);
            let uploads = self.reads.iter().map(|(_, pair)| (&pair.host, wgpu::MapMode::Write));
            let downloads = self.writes.iter().map(|(_, pair)| (&pair.host, wgpu::MapMode::Read));
            for (buffer, mode) in uploads.chain(downloads) {
                let sender = sender.clone();
                // The receiver may be gone, where the caller dropped the future.
                buffer.map_async(mode, .., move |result| drop(sender.try_send(result.is_ok())));
            }
            submission
        })
        .await?;
        streamer.health.check(definition.name)?;
        let mappings = self.reads.len() + self.writes.len();
        self.in_flight = Some(InFlight { submission, sender, receiver, mappings });
        Ok(())
    }

    async fn bind(&self, streamer: &Streamer, op: &dyn Op, len: usize) -> Result<Bound, Error> {
        let definition = op.definition();
        let reads = (0..definition.read_count()).map(|i| operand(&self.reads, i, len)).collect();
        let writes = (0..definition.write_count()).map(|i| operand(&self.writes, i, len)).collect();
        streamer.kernels.bind_async(Args { op, reads, writes }).await
    }

    /// Waits for a window and copies its outputs out.
    async fn finish(
        &mut self,
        streamer: &Streamer,
        op: &str,
        range: std::ops::Range<usize>,
        writes: &mut [Option<&mut [f32]>],
        wait: Wait,
    ) -> Result<(), Error> {
        let Some(in_flight) = self.in_flight.take() else { return Ok(()) };
        in_flight.wait(streamer, op, wait).await?;
        let bytes = range.len() as u64 * ELEMENT;
        for (i, pair) in &self.writes {
            let view = pair.host.get_mapped_range(..bytes).map_err(|e| mapping_failed(op, &e))?;
            if let Some(write) = &mut writes[*i] {
                bytemuck::cast_slice_mut(&mut write[range.clone()]).copy_from_slice(&view);
            }
            drop(view);
            // The result is out: what a loss says of this comes too late to matter.
            drop(caught(streamer.kernels.device(), op, || pair.host.unmap()).await);
        }
        Ok(())
    }
}

/// `len` elements of operand `i`'s device buffer, where the call has that operand.
fn operand(pairs: &[(usize, Pair)], i: usize, len: usize) -> Option<wgpu::BufferSlice<'_>> {
    let (_, pair) = pairs.iter().find(|(index, _)| *index == i)?;
    Some(pair.device.slice(..len as u64 * ELEMENT))
}

impl InFlight {
    async fn wait(self, streamer: &Streamer, op: &str, wait: Wait) -> Result<(), Error> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let device = streamer.kernels.device().clone();
            let poll = move || {
                // Mappings answer from within this or, where the device's owner polls too, from the owner's thread soon
                // after. Only a failure leaves some without an answer.
                if wait_for(&device, self.submission, "").is_err() {
                    drop(self.sender.try_send(false));
                }
            };
            match wait {
                Wait::Block => poll(),
                Wait::Wake => {
                    let thread = std::thread::Builder::new().name("elemgrad poll".into()).spawn(poll);
                    thread.map_err(|e| Error::Gpu { op: op.into(), message: e.to_string() })?;
                }
            }
        }
        // On the web the browser's event loop answers.
        #[cfg(target_arch = "wasm32")]
        let _ = (wait, self.submission, self.sender);
        for _ in 0..self.mappings {
            // None: the senders are gone, and with them the mappings.
            if self.receiver.receive().await != Some(true) {
                return Err(Error::DeviceLost {
                    op: op.into(),
                    message: "a buffer could not be mapped".into(),
                });
            }
        }
        streamer.health.check(op)
    }
}

/// Blocks until the submission is done.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn wait_for(
    device: &wgpu::Device,
    submission: wgpu::SubmissionIndex,
    op: &str,
) -> Result<(), Error> {
    let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
    // wgpu panics where the driver reports the loss from here: the panic hook prints it, and the call reports a loss.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| device.poll(wait))) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Error::Gpu { op: op.into(), message: error.to_string() }),
        Err(_) => Err(Error::DeviceLost { op: op.into(), message: "the driver reports its loss".into() }),
    }
}

/// A buffer that should be mapped and is not: the device is gone.
fn mapping_failed(op: &str, error: &dyn std::fmt::Display) -> Error {
    Error::DeviceLost { op: op.into(), message: error.to_string() }
}

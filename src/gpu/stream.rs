//! Streams host slices through a GPU, in windows. While the device uploads, computes and reads back one window, the
//! host fills the next and empties the one before. Memory is bounded for any length.

use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_intrusive::channel::shared::{Receiver, Sender, channel};
use wgpu::BufferUsages as Usage;

use super::{
    bind::{Bound, Operand},
    device::Health,
    kernels::Kernels,
    scope::caught,
};
use crate::{
    call::{check::mask_words, job::Job, slice::SliceMut},
    cpu,
    dtype::DType,
    error::Error,
    op::{Op, args::Args},
    plan::{self, WORD},
    shape::Layout,
    signature::outputs::{Outputs, Reads},
};

/// How a caller waits for the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Blocks the calling thread.
    Block,
    /// A separate thread waits and wakes the future, so any executor will do. On the web the browser wakes it.
    Wake,
}

/// A device that host data is streamed through.
#[derive(Debug)]
pub(crate) struct Streamer {
    pub(crate) kernels: Kernels,
    pub(crate) queue: wgpu::Queue,
    pub(crate) health: Health,
    /// The last call's buffers. Calls of one shape, such as the chunks of a file, allocate once.
    idle: Mutex<Option<(Shape, Vec<Stage>)>>,
}

/// The calls that a ring of stages fits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    op: String,
    dtype: DType,
    reads: Vec<usize>,
    outputs: Outputs,
    /// The outputs that are added to existing values.
    added: Outputs,
    /// In elements.
    window: usize,
}

/// The completed part of a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// Whether the gradients that are sums are complete.
    pub(crate) sums: bool,
    /// The number of elements whose other outputs are complete.
    pub(crate) elements: usize,
}

impl Streamer {
    pub(crate) fn new(device: &wgpu::Device, queue: &wgpu::Queue, health: Health) -> Self {
        Self { kernels: Kernels::new(device), queue: queue.clone(), health, idle: Mutex::default() }
    }

    /// Runs a call. On success and on failure, `done` tells what is complete. With `cpu_sums`, the CPU computes sums
    /// that one call on the device cannot, or not within the memory of a streamed call.
    pub(crate) async fn run(
        &self,
        op: &Op,
        job: &Job<'_, '_>,
        writes: &mut [Option<SliceMut<'_>>],
        wait: Wait,
        cpu_sums: bool,
        done: &mut Done,
    ) -> Result<(), Error> {
        let result = match self.sums(op, job, writes, wait, cpu_sums).await {
            Ok(()) => {
                done.sums = true;
                self.stream(op, job, writes, wait, &mut done.elements).await
            }
            failed => failed,
        };
        // On a lost device, report the loss as the reason for any failure.
        result.map_err(|error| self.health.check(job.signature.name()).err().unwrap_or(error))
    }

    /// Computes the gradients that are sums, with whole operands on the device.
    async fn sums(
        &self,
        op: &Op,
        job: &Job<'_, '_>,
        writes: &mut [Option<SliceMut<'_>>],
        wait: Wait,
        cpu_sums: bool,
    ) -> Result<(), Error> {
        let reduced = job.reduced();
        if reduced.is_empty() {
            return Ok(());
        }
        let signature = job.signature;
        let reads = job.call.reads_for(signature, reduced);
        let sizes = reads.iter().map(|r| job.reads[r].map_or(0, |slice| slice.bytes().len() as u64));
        let (total, largest) = (sizes.clone().sum::<u64>(), sizes.max().unwrap_or(0));
        let limit = self.kernels.device().limits().max_buffer_size;
        if !cpu_sums && largest > limit {
            let op = signature.name().to_owned();
            return Err(Error::Limit { op, limit: "max_buffer_size", got: limit, need: largest });
        }
        if cpu_sums && (total > plan::stream::STREAM_BYTES || largest > limit) {
            log::info!(
                "{}: the CPU sums {total} bytes, more than one call on the device takes",
                signature.name()
            );
            cpu::sums(op, job, writes);
            return Ok(());
        }
        match Whole::new(self, op, job, reads, reduced, writes).await {
            // The CPU can do what one call on the device cannot.
            Err(error @ (Error::TooMany { .. } | Error::Limit { .. } | Error::NeedsCopy { .. }))
                if cpu_sums =>
            {
                log::info!("the CPU computes the sums of this call: {error}");
                cpu::sums(op, job, writes);
                Ok(())
            }
            whole => whole?.run(self, job, writes, wait).await,
        }
    }

    async fn stream(
        &self,
        op: &Op,
        job: &Job<'_, '_>,
        writes: &mut [Option<SliceMut<'_>>],
        wait: Wait,
        done: &mut usize,
    ) -> Result<(), Error> {
        let signature = job.signature;
        let name = signature.name();
        let outputs = job.whole();
        if outputs.is_empty() {
            return Ok(());
        }
        let reads = job.call.reads_for(signature, outputs);
        let len = job.call.len() as usize;
        let limits = plan::Limits::from(&self.kernels.device().limits());
        let window = plan::stream::stream_window(len, reads.len() + outputs.iter().count(), &limits);
        let windows: Vec<_> = (0..len).step_by(window).map(|start| start..len.min(start + window)).collect();
        let added = outputs & job.added();
        let shape = Shape {
            op: name.to_owned(),
            dtype: job.dtype,
            reads: reads.iter().collect(),
            outputs,
            added,
            window,
        };
        let mut ring = self.take_ring(&shape);
        while ring.len() < (plan::stream::STREAM_RING as usize).min(windows.len()) {
            ring.push(Stage::new(self, job, &shape).await?);
        }
        for turn in 0..windows.len() + ring.len() {
            let stage = turn % ring.len();
            if let Some(range) = turn.checked_sub(ring.len()).and_then(|earlier| windows.get(earlier)) {
                ring[stage].finish(self, job, range.clone(), writes, wait).await?;
                *done = range.end;
            }
            if let Some(range) = windows.get(turn) {
                ring[stage].start(self, op, job, range.clone(), writes).await?;
            }
        }
        *self.idle() = Some((shape, ring));
        Ok(())
    }

    /// The buffers of the last call if it had this shape, else none. Its bindings are made anew, since another op may
    /// have the same name.
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

    fn buffer(&self, label: &str, size: u64, usage: Usage, mapped_at_creation: bool) -> wgpu::Buffer {
        self.kernels.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: size.next_multiple_of(WORD),
            usage,
            mapped_at_creation,
        })
    }

    fn encoder(&self, op: &str) -> wgpu::CommandEncoder {
        let label = format!("elemgrad {op} window");
        self.kernels.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(&label) })
    }

    /// Submits the commands and requests the mappings of buffers.
    fn submit(&self, encoder: wgpu::CommandEncoder, mappings: &[(&wgpu::Buffer, wgpu::MapMode)]) -> InFlight {
        let (sender, receiver) = channel(mappings.len() + 1);
        let submission = self.queue.submit([encoder.finish()]);
        for (buffer, mode) in mappings {
            let sender = sender.clone();
            // The receiver is gone if the caller dropped the future.
            buffer.map_async(*mode, .., move |result| drop(sender.try_send(result.is_ok())));
        }
        InFlight { submission, sender, receiver, mappings: mappings.len() }
    }
}

/// The buffers of one window in flight.
#[derive(Debug)]
struct Stage {
    reads: Vec<(usize, Pair)>,
    writes: Vec<(usize, Pair)>,
    /// The old values of outputs that are added to.
    old: Vec<(usize, wgpu::Buffer)>,
    /// The bound call, for `bound.0` elements.
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
    async fn new(streamer: &Streamer, job: &Job<'_, '_>, shape: &Shape) -> Result<Self, Error> {
        let signature = job.signature;
        let size = shape.window as u64 * WORD;
        let pair = |name: &str, device_usage, host_usage, mapped| {
            let label = |place: &str| format!("elemgrad {} {name} {place}", signature.name());
            Pair {
                device: streamer.buffer(&label("device"), size, Usage::STORAGE | device_usage, false),
                host: streamer.buffer(&label("staging"), size, host_usage, mapped),
            }
        };
        let upload = Usage::MAP_WRITE | Usage::COPY_SRC;
        let read =
            |i: usize| pair(signature.read_names().nth(i).unwrap_or(""), Usage::COPY_DST, upload, true);
        let write = |w: usize| {
            let device = Usage::COPY_SRC | Usage::COPY_DST;
            pair(signature.write_name(w), device, Usage::MAP_READ | Usage::COPY_DST, false)
        };
        let old = |_| streamer.buffer(&format!("elemgrad {} old", signature.name()), size, upload, true);
        caught(streamer.kernels.device(), signature.name(), || Self {
            reads: shape.reads.iter().map(|&i| (i, read(i))).collect(),
            writes: shape.outputs.iter().map(|w| (w, write(w))).collect(),
            old: shape.added.iter().map(|w| (w, old(w))).collect(),
            bound: None,
            in_flight: None,
        })
        .await
    }

    /// Uploads a window's reads and submits its work.
    async fn start(
        &mut self,
        streamer: &Streamer,
        op: &Op,
        job: &Job<'_, '_>,
        range: Range<usize>,
        writes: &mut [Option<SliceMut<'_>>],
    ) -> Result<(), Error> {
        let name = job.signature.name();
        let bytes = |is_mask: bool| window_bytes(job, range.len(), is_mask);
        for (i, pair) in &self.reads {
            let filled = job.with_read_bytes(*i, &range, |bytes| fill(&pair.host, bytes));
            filled.map_err(|e| mapping_failed(name, &e))?;
        }
        for (w, buffer) in &self.old {
            if let Some(write) = &mut writes[*w] {
                let part = write.part(range.start, range.end);
                fill(buffer, part.shared().bytes()).map_err(|e| mapping_failed(name, &e))?;
            }
        }
        if self.bound.as_ref().is_none_or(|(len, _)| *len != range.len()) {
            self.bound = Some((range.len(), self.bind(streamer, op, job, range.len()).await?));
        }
        let Some((_, bound)) = &self.bound else { return Ok(()) };
        let in_flight = caught(streamer.kernels.device(), name, || {
            let uploads: Vec<_> = self
                .reads
                .iter()
                .map(|(_, pair)| &pair.host)
                .chain(self.old.iter().map(|(_, b)| b))
                .collect();
            for buffer in &uploads {
                buffer.unmap();
            }
            let mut encoder = streamer.encoder(name);
            for (i, pair) in &self.reads {
                let bytes = bytes(job.is_mask_read(*i));
                encoder.copy_buffer_to_buffer(&pair.host, 0, &pair.device, 0, bytes);
            }
            for (w, old) in &self.old {
                if let Some((_, pair)) = self.writes.iter().find(|(write, _)| write == w) {
                    encoder.copy_buffer_to_buffer(old, 0, &pair.device, 0, bytes(false));
                }
            }
            bound.encode(&mut encoder);
            for (w, pair) in &self.writes {
                let bytes = bytes(job.is_mask_write(*w));
                encoder.copy_buffer_to_buffer(&pair.device, 0, &pair.host, 0, bytes);
            }
            let uploads = uploads.into_iter().map(|buffer| (buffer, wgpu::MapMode::Write));
            let downloads = self.writes.iter().map(|(_, pair)| (&pair.host, wgpu::MapMode::Read));
            streamer.submit(encoder, &uploads.chain(downloads).collect::<Vec<_>>())
        })
        .await?;
        streamer.health.check(name)?;
        self.in_flight = Some(in_flight);
        Ok(())
    }

    async fn bind(
        &self,
        streamer: &Streamer,
        op: &Op,
        job: &Job<'_, '_>,
        len: usize,
    ) -> Result<Bound, Error> {
        let signature = job.signature;
        let reads =
            (0..signature.read_count()).map(|i| operand(&self.reads, i, len, job.is_mask_read(i))).collect();
        let writes = (0..signature.write_count())
            .map(|w| {
                let write = operand(&self.writes, w, len, job.is_mask_write(w))?;
                Some(if self.old.iter().any(|(old, _)| *old == w) { write.accumulate() } else { write })
            })
            .collect();
        let args: Args<Operand, Operand> = Args::new(op, reads, writes);
        streamer.kernels.bind_async(Args { dtype: Some(job.dtype), ..args }).await
    }

    /// Waits for a window and copies its outputs out.
    async fn finish(
        &mut self,
        streamer: &Streamer,
        job: &Job<'_, '_>,
        range: Range<usize>,
        writes: &mut [Option<SliceMut<'_>>],
        wait: Wait,
    ) -> Result<(), Error> {
        let name = job.signature.name();
        let Some(in_flight) = self.in_flight.take() else { return Ok(()) };
        in_flight.wait(streamer, name, wait).await?;
        for (w, view) in &results(name, &self.writes)? {
            let Some(write) = &mut writes[*w] else { continue };
            // A window begins at the start of a mask word.
            let (start, end) = if job.is_mask_write(*w) {
                (range.start / 32, range.end.div_ceil(32))
            } else {
                (range.start, range.end)
            };
            copy_out(view, write.part(start, end).bytes());
        }
        // The results are copied out, so a loss reported here no longer matters.
        let unmap = || self.writes.iter().for_each(|(_, pair)| pair.host.unmap());
        drop(caught(streamer.kernels.device(), name, unmap).await);
        Ok(())
    }
}

/// The part of an operand's device buffer that a window of `len` elements uses.
fn operand(pairs: &[(usize, Pair)], i: usize, len: usize, is_mask: bool) -> Option<Operand<'_>> {
    let (_, pair) = pairs.iter().find(|(index, _)| *index == i)?;
    Some(Operand::new(&pair.device, 0, if is_mask { mask_words(len as u64) } else { len as u64 }))
}

/// The bytes of an operand in a window, rounded up to whole words.
fn window_bytes(job: &Job, len: usize, is_mask: bool) -> u64 {
    let bytes = if is_mask { mask_words(len as u64) * WORD } else { len as u64 * job.dtype.size() };
    bytes.next_multiple_of(WORD)
}

/// Fills the start of a buffer in whole words. The rest of the last word becomes 0.
fn fill(buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<(), wgpu::MapRangeError> {
    let whole = bytes.len().next_multiple_of(WORD as usize);
    if whole > 0 {
        let mut view = buffer.get_mapped_range_mut(..whole as u64)?;
        view.slice(..bytes.len()).copy_from_slice(bytes);
        view.slice(bytes.len()..).fill(0);
    }
    Ok(())
}

/// The results of a submission: either all of them, or an error before any is copied out. After a loss the CPU
/// repeats what is not done, and a gradient must not be added twice.
fn results(op: &str, writes: &[(usize, Pair)]) -> Result<Vec<(usize, wgpu::BufferView)>, Error> {
    let view = |(w, pair): &(usize, Pair)| {
        let view = pair.host.get_mapped_range(..).map_err(|e| mapping_failed(op, &e))?;
        Ok((*w, view))
    };
    writes.iter().map(view).collect()
}

fn copy_out(words: &[u8], bytes: &mut [u8]) {
    bytes.copy_from_slice(&words[..bytes.len()]);
}

/// A call with its whole operands on the device.
struct Whole {
    bound: Bound,
    writes: Vec<(usize, Pair)>,
}

impl Whole {
    async fn new(
        streamer: &Streamer,
        op: &Op,
        job: &Job<'_, '_>,
        needed: Reads,
        outputs: Outputs,
        writes: &[Option<SliceMut<'_>>],
    ) -> Result<Self, Error> {
        let signature = job.signature;
        let label = format!("elemgrad {} sums", signature.name());
        let upload = |bytes: &[u8], usage| {
            let buffer =
                streamer.buffer(&label, (bytes.len() as u64).max(WORD), Usage::STORAGE | usage, true);
            // A buffer that could not be created has no range. The error scope has caught its error.
            drop(fill(&buffer, bytes));
            buffer.unmap();
            buffer
        };
        let (reads, writes, nothing) = caught(streamer.kernels.device(), signature.name(), || {
            let read = |i: usize| Some((i, upload(job.reads[i]?.bytes(), Usage::empty())));
            let write = |w: usize| {
                let device = upload(writes[w].as_ref()?.shared().bytes(), Usage::COPY_SRC);
                let host = streamer.buffer(&label, device.size(), Usage::MAP_READ | Usage::COPY_DST, false);
                Some((w, Pair { device, host }))
            };
            let (reads, writes) = (needed.iter().filter_map(read), outputs.iter().filter_map(write));
            (reads.collect::<Vec<_>>(), writes.collect::<Vec<_>>(), upload(&[], Usage::empty()))
        })
        .await?;
        let operand = |i: usize| {
            let (slice, layout) = (job.reads[i]?, job.call.own[i].clone()?);
            if let Some((_, buffer)) = reads.iter().find(|(read, _)| *read == i) {
                return Some(Operand::new(buffer, 0, slice.len() as u64).layout(layout));
            }
            // The call needs only the shape of this operand: one element, which nothing reads.
            let zeros = vec![0; layout.shape().len()];
            Some(Operand::new(&nothing, 0, 1).layout(Layout::strided(layout.shape(), &zeros, 0)))
        };
        let output = |w: usize| {
            let (_, pair) = writes.iter().find(|(write, _)| *write == w)?;
            let write = job.call.writes[w].as_ref()?;
            let operand = Operand::new(&pair.device, 0, write.len);
            Some(if write.accumulate { operand.accumulate() } else { operand })
        };
        let args: Args<Operand, Operand> = Args::new(
            op,
            (0..=signature.upstream()).map(operand).collect(),
            (0..signature.write_count()).map(output).collect(),
        );
        let bound = streamer.kernels.bind_async(Args { dtype: Some(job.dtype), ..args }).await?;
        Ok(Self { bound, writes })
    }

    async fn run(
        self,
        streamer: &Streamer,
        job: &Job<'_, '_>,
        writes: &mut [Option<SliceMut<'_>>],
        wait: Wait,
    ) -> Result<(), Error> {
        let name = job.signature.name();
        let in_flight = caught(streamer.kernels.device(), name, || {
            let mut encoder = streamer.encoder(name);
            self.bound.encode(&mut encoder);
            for (_, pair) in &self.writes {
                encoder.copy_buffer_to_buffer(&pair.device, 0, &pair.host, 0, pair.host.size());
            }
            let downloads = self.writes.iter().map(|(_, pair)| (&pair.host, wgpu::MapMode::Read));
            streamer.submit(encoder, &downloads.collect::<Vec<_>>())
        })
        .await?;
        in_flight.wait(streamer, name, wait).await?;
        for (w, view) in &results(name, &self.writes)? {
            if let Some(write) = &mut writes[*w] {
                copy_out(view, write.bytes());
            }
        }
        Ok(())
    }
}

impl InFlight {
    async fn wait(self, streamer: &Streamer, op: &str, wait: Wait) -> Result<(), Error> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let device = streamer.kernels.device().clone();
            let poll = move || {
                // Mappings answer from within this call. If the device's owner polls too, they may answer soon after,
                // from the owner's thread. Only a failure leaves some without an answer.
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
            // None: the senders are gone, and so are the mappings.
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
    // wgpu panics if the driver reports the loss from here. The panic hook prints the panic, and the call reports a
    // loss.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| device.poll(wait))) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Error::Gpu { op: op.into(), message: error.to_string() }),
        Err(_) => Err(Error::DeviceLost { op: op.into(), message: "the driver reports its loss".into() }),
    }
}

/// A buffer could not be mapped although it should be: the device is gone.
fn mapping_failed(op: &str, error: &dyn std::fmt::Display) -> Error {
    Error::DeviceLost { op: op.into(), message: error.to_string() }
}

//! Speed: a kernel's bytes per second beside a copy in the same run.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use futures_intrusive::channel::shared::oneshot_channel;
use rayon::prelude::*;

use crate::{
    Args, Error, Op, Outputs, Runner,
    data::Data,
    gpu::{Bound, Kernels, scope::caught, stream::wait_for},
    op::{Definition, Pass},
    plan::ELEMENT,
    verify::{Inputs, differing, reference, verify},
};

/// Timed rounds; the figures are medians.
const ROUNDS: usize = 9;

/// One measurement.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// The op's name.
    pub op: String,
    /// The pass, with the outputs that it writes unless told otherwise.
    pub pass: Pass,
    /// What the operands held.
    pub data: Data,
    /// The device's name.
    pub device: String,
    /// Elements of one call.
    pub elements: u64,
    /// Bytes that an element reads and writes.
    pub bytes_per_element: u64,
    /// Of one call, the median.
    pub seconds: f64,
    /// What the kernel is compared with: `plain` (the fastest plain copy, on the CPU) or `same-mix` (a kernel that reads
    /// and writes as many operands, on a GPU).
    pub copy: &'static str,
    /// The copy's bytes per second, reads and writes counted.
    pub copy_bytes_per_second: f64,
    /// Elements of the last timed call of which any output is not the reference's, to the bit.
    pub mismatches: u64,
}

impl Measurement {
    /// Reads and writes counted.
    pub fn bytes_per_second(&self) -> f64 {
        (self.elements * self.bytes_per_element) as f64 / self.seconds
    }

    /// Bytes per second over the copy's.
    pub fn ratio_to_copy(&self) -> f64 {
        self.bytes_per_second() / self.copy_bytes_per_second
    }
}

/// Bytes that one element reads and writes.
pub fn bytes_per_element(definition: &Definition, outputs: Outputs) -> u64 {
    (definition.reads_for(outputs).len() + outputs.iter().count()) as u64 * ELEMENT
}

/// Measures a pass on data that lies where the device computes: host slices on the CPU, buffers on a GPU.
///
/// It first checks the pass on a sample of all kinds of data; kernel and copy take turns; what the last timed call wrote is
/// compared with the reference, every element.
///
/// # Errors
/// [`Error::Wrong`] where the sample is not right to the bit, [`Error::Limit`] where a GPU's buffers do not hold so many
/// elements, and what the device reports.
pub fn measure(
    runner: &Runner,
    op: &dyn Op,
    pass: Pass,
    data: Data,
    elements: u64,
) -> Result<Measurement, Error> {
    let definition = op.definition();
    if elements == 0 {
        return Err(Error::Arity { op: definition.name.into(), what: "elements", got: 0, need: 1 });
    }
    if let Some((kernels, _)) = runner.gpu() {
        check_size(kernels.device(), definition.name, elements.saturating_mul(ELEMENT))?;
    }
    let sample = Inputs::Sample { count: 1 << 16, seed: 1 };
    let report = verify(runner, op, &sample, &[pass], &mut |_| std::ops::ControlFlow::Continue(()))?;
    if let Some(mismatch) = report.first.first() {
        return Err(Error::Wrong { op: report.op, device: report.device, message: mismatch.to_string() });
    }
    let outputs = definition.outputs(pass);
    let mut reads = vec![vec![0.0; elements as usize]; definition.read_count()];
    data.fill(1, 0, &mut reads);
    let case = Case { op, outputs, reads: &reads };
    let (times, copy, copied) = match runner.gpu() {
        None => (case.on_cpu(runner)?, "plain", 2 * ELEMENT),
        Some((kernels, queue)) => {
            (case.on_gpu(kernels, queue)?, "same-mix", bytes_per_element(definition, outputs))
        }
    };
    Ok(Measurement {
        op: definition.name.to_owned(),
        pass,
        data,
        device: runner.name().to_owned(),
        elements,
        bytes_per_element: bytes_per_element(definition, outputs),
        seconds: times.kernel,
        copy,
        copy_bytes_per_second: (elements * copied) as f64 / times.copy,
        mismatches: times.mismatches,
    })
}

fn check_size(device: &wgpu::Device, op: &str, need: u64) -> Result<(), Error> {
    let (limit, got) = ("max_buffer_size", device.limits().max_buffer_size);
    if need > got { Err(Error::Limit { op: op.into(), limit, got, need }) } else { Ok(()) }
}

/// Seconds of a call and of its copy, and how many elements of the call are wrong.
struct Times {
    kernel: f64,
    copy: f64,
    mismatches: u64,
}

/// Elements that are uploaded, read back or compared at a time.
const PIECE: usize = 16 << 20;

/// What is measured.
struct Case<'a> {
    op: &'a dyn Op,
    outputs: Outputs,
    reads: &'a [Vec<f32>],
}

impl Case<'_> {
    fn len(&self) -> usize {
        self.reads[0].len()
    }

    fn name(&self) -> &'static str {
        self.op.definition().name
    }

    /// Beside the fastest plain copy of as many elements.
    fn on_cpu(&self, runner: &Runner) -> Result<Times, Error> {
        let len = self.len();
        let wanted = |i: usize| if self.outputs.contains(i) { len } else { 0 };
        let mut results: Vec<_> =
            (0..self.op.definition().write_count()).map(|i| vec![0.0; wanted(i)]).collect();
        let mut copy = vec![0.0; len];
        let (mut kernel, mut one, mut all) = (Vec::new(), Vec::new(), Vec::new());
        let part = len.div_ceil(rayon::current_num_threads()).max(1);
        // One round more, since the first touches memory for the first time.
        for _ in 0..=ROUNDS {
            one.push(time(|| copy.copy_from_slice(&self.reads[0])));
            all.push(time(|| {
                let parts = copy.par_chunks_mut(part).zip(self.reads[0].par_chunks(part));
                parts.for_each(|(to, from)| to.copy_from_slice(from));
            }));
            let reads = self.reads.iter().map(|r| Some(&r[..])).collect();
            let writes = (0..).zip(&mut results);
            let writes = writes.map(|(i, w)| self.outputs.contains(i).then_some(&mut w[..])).collect();
            let mut result = Ok(());
            kernel.push(time(|| result = runner.run_here(Args { op: self.op, reads, writes })));
            result?;
        }
        let mismatches = self.mismatches(|write, range| Ok(results[write][range].to_vec()))?;
        Ok(Times { kernel: median(kernel), copy: median(one).min(median(all)), mismatches })
    }

    /// Beside a kernel that reads and writes as much.
    fn on_gpu(&self, kernels: &Kernels, queue: &wgpu::Queue) -> Result<Times, Error> {
        let (name, definition) = (self.name(), self.op.definition());
        let gpu = Gpu { device: kernels.device(), queue, op: name };
        let needed = definition.reads_for(self.outputs);
        let inputs =
            (0..).zip(self.reads).map(|(i, r)| needed.contains(&i).then(|| gpu.upload(r)).transpose());
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let result = |i| self.outputs.contains(i).then(|| gpu.buffer(self.len())).transpose();
        let results = (0..definition.write_count()).map(result).collect::<Result<Vec<_>, _>>()?;
        let bind = |op: &dyn Op| {
            let reads = inputs.iter().map(Option::as_ref).collect();
            let writes = results.iter().map(Option::as_ref).collect();
            kernels.bind(Args { op, reads, writes })
        };
        let (kernel, copy) = (bind(self.op)?, bind(copy_like(definition))?);
        // The first runs are not timed; one submission holds enough dispatches that its own cost does not count.
        gpu.time(&kernel, 1)?;
        gpu.time(&copy, 1)?;
        let repeat = (0.02 / gpu.time(&copy, 1)?).ceil().clamp(1.0, 64.0) as u32;
        let (mut kernel_times, mut copy_times) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            copy_times.push(gpu.time(&copy, repeat)?);
            kernel_times.push(gpu.time(&kernel, repeat)?);
        }
        let mismatches = self.mismatches(|write, range| {
            results[write].as_ref().map_or(Ok(Vec::new()), |buffer| gpu.read_back(buffer, range))
        })?;
        Ok(Times { kernel: median(kernel_times), copy: median(copy_times), mismatches })
    }

    /// How many elements of the results are not the reference's.
    fn mismatches(
        &self,
        mut result: impl FnMut(usize, Range<usize>) -> Result<Vec<f32>, Error>,
    ) -> Result<u64, Error> {
        let mut mismatches = 0;
        for start in (0..self.len()).step_by(PIECE) {
            let range = start..self.len().min(start + PIECE);
            let reads: Vec<_> = self.reads.iter().map(|r| &r[range.clone()]).collect();
            let mut expected = vec![vec![0.0; range.len()]; self.op.definition().write_count()];
            reference(self.op, &reads, &mut expected);
            let mut wrong = vec![false; range.len()];
            for write in self.outputs.iter() {
                for i in differing(&expected[write], &result(write, range.clone())?) {
                    wrong[i] = true;
                }
            }
            mismatches += wrong.iter().filter(|w| **w).count() as u64;
        }
        Ok(mismatches)
    }
}

/// A device and what its errors are named by.
struct Gpu<'a> {
    device: &'a wgpu::Device,
    queue: &'a wgpu::Queue,
    op: &'a str,
}

impl Gpu<'_> {
    fn caught<T>(&self, f: impl FnOnce() -> T) -> Result<T, Error> {
        pollster::block_on(caught(self.device, self.op, f))
    }

    fn create(&self, len: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let (label, size) = (Some("elemgrad measure"), len as u64 * ELEMENT);
        self.device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        let label = Some("elemgrad measure");
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label })
    }

    fn buffer(&self, len: usize) -> Result<wgpu::Buffer, Error> {
        use wgpu::BufferUsages as Usage;
        self.caught(|| self.create(len, Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC))
    }

    fn upload(&self, data: &[f32]) -> Result<wgpu::Buffer, Error> {
        let buffer = self.buffer(data.len())?;
        self.caught(|| {
            for (at, part) in (0..).step_by(PIECE * ELEMENT as usize).zip(data.chunks(PIECE)) {
                self.queue.write_buffer(&buffer, at, bytemuck::cast_slice(part));
                self.queue.submit([]);
            }
        })?;
        Ok(buffer)
    }

    fn read_back(&self, buffer: &wgpu::Buffer, range: Range<usize>) -> Result<Vec<f32>, Error> {
        let (start, bytes) = (range.start as u64 * ELEMENT, range.len() as u64 * ELEMENT);
        let (sender, receiver) = oneshot_channel();
        let (host, submission) = self.caught(|| {
            let host = self.create(range.len(), wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ);
            let mut encoder = self.encoder();
            encoder.copy_buffer_to_buffer(buffer, start, &host, 0, bytes);
            let submission = self.queue.submit([encoder.finish()]);
            host.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
            (host, submission)
        })?;
        wait_for(self.device, submission, self.op)?;
        let lost = |message: &str| Error::DeviceLost { op: self.op.into(), message: message.into() };
        // None: the mapping is gone without an answer.
        let Some(Ok(())) = pollster::block_on(receiver.receive()) else {
            return Err(lost("a buffer could not be mapped"));
        };
        let view = host.get_mapped_range(..).map_err(|e| lost(&e.to_string()))?;
        Ok(bytemuck::pod_collect_to_vec(&view))
    }

    /// Seconds of one call, from a submission of `repeat`.
    fn time(&self, bound: &Bound, repeat: u32) -> Result<f64, Error> {
        let start = Instant::now();
        let submission = self.caught(|| {
            let mut encoder = self.encoder();
            (0..repeat).for_each(|_| bound.encode(&mut encoder));
            self.queue.submit([encoder.finish()])
        })?;
        wait_for(self.device, submission, self.op)?;
        Ok(start.elapsed().as_secs_f64() / f64::from(repeat))
    }
}

fn time(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    // A clock too coarse for a tiny call still leaves a figure that can be divided by.
    start.elapsed().max(Duration::from_nanos(1)).as_secs_f64()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A kernel that reads and writes what a kernel of the op does and computes next to nothing.
///
/// It has the op's inputs, and every output but an alias reads all of them, as those of the built-in ops do.
pub fn copy_like(definition: &Definition) -> &'static dyn Op {
    &COPIES[usize::from(definition.inputs.len() > 1)]
}

struct Copy(Definition);

static COPIES: [Copy; 2] = [
    Copy(Definition {
        name: "copy",
        inputs: &["x"],
        functions: &[],
        lets: &[],
        z: "x",
        gradients: &["x ^ dz"],
        formulas: &[("z", "x"), ("dx", "x ^ dz, the bits")],
    }),
    Copy(Definition {
        name: "copy",
        inputs: &["x", "y"],
        functions: &[],
        lets: &[],
        z: "x ^ y",
        gradients: &["dz", "x ^ y ^ dz"],
        formulas: &[("z", "x ^ y, the bits"), ("dx", "dz"), ("dy", "x ^ y ^ dz, the bits")],
    }),
];

impl Op for Copy {
    fn definition(&self) -> &Definition {
        &self.0
    }

    fn reference(&self, reads: &[f32], writes: &mut [f32]) {
        let (dz, inputs) = (reads[reads.len() - 1], &reads[..reads.len() - 1]);
        let mixed = inputs.iter().fold(0, |all, x| all ^ x.to_bits());
        writes.fill(f32::from_bits(mixed ^ dz.to_bits()));
        writes[0] = f32::from_bits(mixed);
        if inputs.len() > 1 {
            writes[1] = dz;
        }
    }
}

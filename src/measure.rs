//! Speed: a kernel's bytes per second beside a copy in the same run.

use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::{
    Args, Error, Op, Outputs, Runner,
    data::Data,
    gpu::{Bound, Kernels, stream::wait_for},
    op::{Definition, Pass},
    plan::ELEMENT,
    verify::{Inputs, verify},
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
/// It first checks the pass on a sample; kernel and copy take turns.
///
/// # Errors
/// [`Error::Wrong`] where the sample is not right to the bit, and what the device reports.
pub fn measure(
    runner: &Runner,
    op: &dyn Op,
    pass: Pass,
    data: Data,
    elements: u64,
) -> Result<Measurement, Error> {
    let sample = Inputs::Sample { count: 1 << 16, seed: 1 };
    let report = verify(runner, op, &sample, &[pass], &mut |_| std::ops::ControlFlow::Continue(()))?;
    if let Some(mismatch) = report.first.first() {
        return Err(Error::Wrong { op: report.op, device: report.device, message: mismatch.to_string() });
    }
    let definition = op.definition();
    let outputs = definition.outputs(pass);
    let mut reads = vec![vec![0.0; elements as usize]; definition.read_count()];
    data.fill(1, 0, &mut reads);
    let bytes_per_element = bytes_per_element(definition, outputs);
    let (seconds, copy, copy_bytes_per_second) = match runner.gpu() {
        None => {
            let (seconds, copy) = on_cpu(runner, op, outputs, &reads)?;
            (seconds, "plain", 2.0 * (elements * ELEMENT) as f64 / copy)
        }
        Some((kernels, queue)) => {
            let (seconds, copy) = on_gpu(kernels, queue, op, outputs, &reads)?;
            (seconds, "same-mix", (elements * bytes_per_element) as f64 / copy)
        }
    };
    let (op, device) = (definition.name.to_owned(), runner.name().to_owned());
    Ok(Measurement {
        op,
        pass,
        data,
        device,
        elements,
        bytes_per_element,
        seconds,
        copy,
        copy_bytes_per_second,
    })
}

/// Seconds of a call, and of the fastest plain copy of as many elements.
fn on_cpu(runner: &Runner, op: &dyn Op, outputs: Outputs, reads: &[Vec<f32>]) -> Result<(f64, f64), Error> {
    let definition = op.definition();
    let len = reads[0].len();
    let mut writes: Vec<_> =
        (0..definition.write_count()).map(|i| vec![0.0; if outputs.contains(i) { len } else { 0 }]).collect();
    let mut copy = vec![0.0; len];
    let (mut op_times, mut one, mut all) = (Vec::new(), Vec::new(), Vec::new());
    let part = len.div_ceil(rayon::current_num_threads()).max(1);
    for _ in 0..=ROUNDS {
        one.push(time(|| copy.copy_from_slice(&reads[0])));
        all.push(time(|| {
            copy.par_chunks_mut(part)
                .zip(reads[0].par_chunks(part))
                .for_each(|(to, from)| to.copy_from_slice(from));
        }));
        let reads = reads.iter().map(|r| Some(&r[..])).collect();
        let writes = (0..).zip(&mut writes).map(|(i, w)| outputs.contains(i).then_some(&mut w[..])).collect();
        let mut result = Ok(());
        op_times.push(time(|| result = runner.run(Args { op, reads, writes })));
        result?;
    }
    Ok((median(op_times), median(one).min(median(all))))
}

/// Seconds of a dispatch, and of a copy kernel's with the same reads and writes.
fn on_gpu(
    kernels: &Kernels,
    queue: &wgpu::Queue,
    op: &dyn Op,
    outputs: Outputs,
    reads: &[Vec<f32>],
) -> Result<(f64, f64), Error> {
    let definition = op.definition();
    let device = kernels.device();
    let size = reads[0].len() as u64 * ELEMENT;
    let name = definition.name;
    if size > device.limits().max_buffer_size {
        let (got, limit) = (device.limits().max_buffer_size, "max_buffer_size");
        return Err(Error::Limit { op: name.into(), limit, got, need: size });
    }
    let buffer = |label: String| {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(&label),
            size,
            usage,
            mapped_at_creation: false,
        })
    };
    let needed = definition.reads_for(outputs);
    let inputs: Vec<_> = (0..)
        .zip(reads)
        .map(|(i, data)| {
            needed.contains(&i).then(|| {
                let buffer = buffer(format!("elemgrad measure read {i}"));
                for (at, part) in (0..).step_by(UPLOAD * ELEMENT as usize).zip(data.chunks(UPLOAD)) {
                    queue.write_buffer(&buffer, at, bytemuck::cast_slice(part));
                    queue.submit([]);
                }
                buffer
            })
        })
        .collect();
    let results: Vec<_> = (0..definition.write_count())
        .map(|i| outputs.contains(i).then(|| buffer(format!("elemgrad measure write {i}"))))
        .collect();
    let bind = |op: &dyn Op| {
        let reads = inputs.iter().map(Option::as_ref).collect();
        let writes = results.iter().map(Option::as_ref).collect();
        kernels.bind(Args { op, reads, writes })
    };
    let (kernel, copy) = (bind(op)?, bind(copy_like(definition))?);
    let timer = Timer { device, queue, op: name };
    // One submission holds enough dispatches that its own cost does not count; the first run is not timed.
    let repeat = (0.02 / timer.time(&copy, 1)?.min(timer.time(&copy, 1)?)).ceil().clamp(1.0, 64.0) as u32;
    let (mut kernel_times, mut copy_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        copy_times.push(timer.time(&copy, repeat)?);
        kernel_times.push(timer.time(&kernel, repeat)?);
    }
    Ok((median(kernel_times), median(copy_times)))
}

/// Elements of one upload.
const UPLOAD: usize = 16 << 20;

struct Timer<'a> {
    device: &'a wgpu::Device,
    queue: &'a wgpu::Queue,
    op: &'a str,
}

impl Timer<'_> {
    /// Seconds of one call, from a submission of `repeat`.
    fn time(&self, bound: &Bound, repeat: u32) -> Result<f64, Error> {
        let start = Instant::now();
        let label = Some("elemgrad measure");
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
        (0..repeat).for_each(|_| bound.encode(&mut encoder));
        wait_for(self.device, self.queue.submit([encoder.finish()]), self.op)?;
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

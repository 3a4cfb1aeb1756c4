//! Host slices on a device of your choice.

use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(target_arch = "wasm32"))]
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

#[cfg(not(target_arch = "wasm32"))]
use crate::signature::outputs::{Outputs, Pass};
use crate::{
    call::{
        check::{Call, Given, Operands, check},
        host::{Output, View},
        job::Job,
        slice::{Slice, SliceMut},
    },
    cpu::{self, reference},
    dtype::DType,
    error::Error,
    gpu::stream::{Done, Streamer, Wait},
    op::{
        Op,
        args::{Args, IntoArgs},
    },
    signature::Signature,
};

pub(crate) mod open;

/// Runs ops on host slices of any size.
///
/// On a GPU, data is streamed in windows. Memory is bounded, and the host fills and empties windows while the device
/// works on another one.
///
/// ```
/// use elemgrad::{Runner, ops::{self, modulo}};
///
/// # fn main() -> Result<(), elemgrad::Error> {
/// let runner = Runner::auto();
/// let (x, y) = ([0.3, 0.7, 1.2, 1.7], [0.2, 0.5, 1.0, 2.9]);
/// assert_eq!(runner.forward(ops::modulo(), &[&x, &y])?, [0.10000001, 0.19999999, 0.20000005, 1.7]);
///
/// let mut dy = [0.0; 4];
/// runner.run(modulo::Backward { x: &x, y: &y, dz: &[1.0; 4], dx: None, dy: Some(&mut dy) })?;
/// assert_eq!(dy, [-1.0, -1.0, -1.0, -0.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Runner {
    engine: Engine,
    name: String,
    help: Help,
    fell_back: AtomicBool,
}

#[derive(Debug)]
enum Engine {
    Cpu,
    Reference,
    Gpu(Box<Streamer>),
}

/// What the CPU does for a GPU that cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Help {
    /// Nothing: the call fails.
    None,
    /// Sums that are too large for one call on the GPU.
    Sums,
    /// What the GPU cannot compute. If the GPU is lost, the CPU finishes the call and runs all later ones.
    All,
}

impl Runner {
    fn new(engine: Engine, name: String) -> Self {
        Self { engine, name, help: Help::Sums, fell_back: AtomicBool::new(false) }
    }

    /// The same runner, with the CPU taking over on failures.
    fn falling_back(self) -> Self {
        Self { help: Help::All, ..self }
    }

    /// The device's name: `cpu`, `reference`, or the adapter's name with its back end.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the CPU took over because a GPU that `auto` chose was lost or ran out of memory.
    pub fn fell_back(&self) -> bool {
        self.fell_back.load(Ordering::Relaxed)
    }

    /// Frees the buffers that the last call kept on a GPU for the next call of its shape: up to 512 MiB on the GPU
    /// and as much in host memory.
    pub fn release(&self) {
        if let Engine::Gpu(streamer) = &self.engine {
            streamer.release();
        }
    }

    /// The adapter, if the runner uses a GPU.
    pub fn adapter_info(&self) -> Option<wgpu::AdapterInfo> {
        self.gpu().map(|(kernels, _)| kernels.device().adapter_info())
    }

    /// The GPU's kernels and queue, if the runner uses a GPU: for buffers that stay on the device.
    pub fn gpu(&self) -> Option<(&crate::gpu::Kernels, &wgpu::Queue)> {
        match &self.engine {
            Engine::Gpu(streamer) => Some((&streamer.kernels, &streamer.queue)),
            _ => None,
        }
    }

    /// Runs one call and waits for it.
    ///
    /// Inputs are anything that converts into a [`View`]: slices of f32, f16 or bf16. All have the same type. An
    /// input has one axis unless you give it a [`Layout`](crate::Layout). Inputs broadcast by NumPy's rules, and the
    /// gradient of a broadcast input is summed. Outputs are contiguous: slices of the right length, or vectors, which
    /// are resized.
    ///
    /// The CPU computes sums that one call on the GPU cannot, since they are too large for it or its bindings, also
    /// for a runner of one adapter. They have the same bits in exact arithmetic, and the crate `log` hears of it.
    ///
    /// # Errors
    /// Shapes that do not fit, a missing argument, and whatever the GPU reports. The loss of a device is
    /// [`Error::DeviceLost`]. A call with wrong arguments touches nothing. If a call fails after it has started,
    /// vectors are empty and slices hold no result.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run<'a, 'b, 'o>(&self, args: impl IntoArgs<'o, View<'a>, Output<'b>>) -> Result<(), Error> {
        block_on(self.run_any(args.into_args(), Wait::Block, self.help))
    }

    /// [`run`](Runner::run) for async callers, on any executor. The future is `Send` except on the web, where wgpu's
    /// own types are not `Send`. On the CPU the first poll does all the work.
    ///
    /// # Errors
    /// As [`run`](Runner::run).
    pub fn run_async<'a, 'b, 'o>(
        &self,
        args: impl IntoArgs<'o, View<'a>, Output<'b>>,
    ) -> impl Future<Output = Result<(), Error>> {
        // A test checks that the future is `Send`: stating it in the signature would take the compiler 12 s.
        self.run_any(args.into_args(), Wait::Wake, self.help)
    }

    /// The output `z` of any op, in f32. For other types use [`run`](Runner::run).
    ///
    /// # Errors
    /// As [`run`](Runner::run).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward<'a>(&self, op: &Op, inputs: &[impl Into<View<'a>> + Clone]) -> Result<Vec<f32>, Error> {
        let (z, _) =
            self.vectors(op, inputs, None::<&[f32]>, op.signature().default_outputs(Pass::Forward))?;
        Ok(z)
    }

    /// The gradients of any op, given the upstream gradient `dz`, in f32: one for each input, in the input's shape.
    /// For other types use [`run`](Runner::run).
    ///
    /// # Errors
    /// As [`run`](Runner::run).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn backward<'a>(
        &self,
        op: &Op,
        inputs: &[impl Into<View<'a>> + Clone],
        dz: impl Into<View<'a>>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let (_, gradients) =
            self.vectors(op, inputs, Some(dz), op.signature().all_outputs(Pass::Backward))?;
        Ok(gradients)
    }

    /// The output and the gradients of any op in one pass, in f32. For other types use [`run`](Runner::run).
    ///
    /// # Errors
    /// As [`run`](Runner::run).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn fused<'a>(
        &self,
        op: &Op,
        inputs: &[impl Into<View<'a>> + Clone],
        dz: impl Into<View<'a>>,
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>), Error> {
        let outputs = Outputs::Z | op.signature().all_outputs(Pass::Backward);
        self.vectors(op, inputs, Some(dz), outputs)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn vectors<'a>(
        &self,
        op: &Op,
        inputs: &[impl Into<View<'a>> + Clone],
        dz: Option<impl Into<View<'a>>>,
        outputs: Outputs,
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>), Error> {
        let mut vectors = vec![Vec::new(); 1 + op.signature().inputs().len()];
        let writes = vectors.iter_mut().enumerate().map(|(i, v)| outputs.contains(i).then_some(v)).collect();
        let reads: Vec<Option<View>> =
            inputs.iter().cloned().map(|i| Some(i.into())).chain([dz.map(Into::into)]).collect();
        self.run(Args::new(op, reads, writes))?;
        let gradients = vectors.split_off(1);
        Ok((vectors.remove(0), gradients))
    }

    /// [`run`](Runner::run) on this device only: checks and timings of a device must not silently use another one.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn run_here<'a, 'b, 'o>(
        &self,
        args: impl IntoArgs<'o, View<'a>, Output<'b>>,
    ) -> Result<(), Error> {
        block_on(self.run_any(args.into_args(), Wait::Block, Help::None))
    }

    /// Whether the CPU takes over from the GPU after this error, either for this call or for good.
    fn takes_over(&self, error: &Error) -> bool {
        match error {
            Error::DeviceLost { .. } | Error::OutOfMemory { .. } => {
                log::warn!("the CPU takes over for good: {error}");
                self.fell_back.store(true, Ordering::Relaxed);
                true
            }
            // The device can still compute other ops.
            Error::Limit { .. } | Error::Shader { .. } => {
                log::warn!("the CPU takes over for this call: {error}");
                true
            }
            _ => false,
        }
    }

    async fn run_any(
        &self,
        args: Args<'_, View<'_>, Output<'_>>,
        wait: Wait,
        help: Help,
    ) -> Result<(), Error> {
        let op = args.op;
        let (job, mut outputs) = job(args)?;
        let targets = outputs.0.iter_mut().zip(&job.call.writes);
        let mut writes: Operands<SliceMut> =
            targets.map(|(o, w)| Some(o.as_mut()?.slice(w.as_ref()?.len as usize))).collect();
        writes.resize_with(job.call.writes.len(), || None);
        match &self.engine {
            Engine::Cpu => cpu::run(op, &job, &mut writes),
            Engine::Reference => reference::run(op, &job, &mut writes),
            Engine::Gpu(_) if help == Help::All && self.fell_back() => cpu::run(op, &job, &mut writes),
            Engine::Gpu(streamer) => {
                let mut done = Done::default();
                match streamer.run(op, &job, &mut writes, wait, help != Help::None, &mut done).await {
                    Err(error) if help == Help::All && self.takes_over(&error) => {
                        finish_on_cpu(op, &job, &mut writes, done);
                    }
                    result => result?,
                }
            }
        }
        drop(writes);
        outputs.complete();
        Ok(())
    }
}

/// Waits for a call. On the CPU the first poll does all the work, so no waker is made.
#[cfg(not(target_arch = "wasm32"))]
fn block_on<F: Future>(call: F) -> F::Output {
    let mut call = pin!(call);
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => pollster::block_on(call),
    }
}

/// Computes on the CPU what is not done yet.
fn finish_on_cpu(op: &Op, job: &Job, writes: &mut [Option<SliceMut>], done: Done) {
    if !done.sums {
        cpu::sums(op, job, writes);
    }
    cpu::elementwise(op, job, writes, done.elements);
}

/// Checks the arguments of a call, and returns the call and its outputs.
fn job<'o, 'a, 'b>(args: Args<'o, View<'a>, Output<'b>>) -> Result<(Job<'o, 'a>, Incomplete<'b>), Error> {
    let Args { op, dtype, reads, mut writes } = args;
    let signature = op.signature();
    let call = {
        let mut reads: Operands<Given> = reads.iter().map(|r| r.as_ref().map(View::given)).collect();
        let writes: Operands<Given> = writes.iter().map(|w| w.as_ref().map(Output::given)).collect();
        reads.resize(reads.len().max(signature.inputs().len()), None);
        check(signature, &reads, &writes)?
    };
    let dtype = check_types(&call, signature, dtype, &reads, &writes)?;
    // A failure from here on may leave outputs half written.
    for (w, write) in call.writes.iter().enumerate() {
        if let (Some(Some(output)), Some(write)) = (writes.get_mut(w), write)
            && !output.reserve(write.len)
        {
            // Vectors before it may be zeros by now.
            writes.iter_mut().flatten().for_each(Output::give_up);
            let (op, argument) = (signature.name().to_owned(), signature.write_name(w).to_owned());
            return Err(Error::HostMemory { op, argument, elements: write.len });
        }
    }
    let mut reads: Vec<Option<Slice>> = reads.into_iter().map(|r| r.map(|view| view.data)).collect();
    reads.resize(signature.read_count(), None);
    Ok((Job { signature, dtype, call, reads }, Incomplete(writes)))
}

/// Checks that every operand holds the call's storage type, and a mask holds words.
fn check_types(
    call: &Call,
    signature: &Signature,
    dtype: Option<DType>,
    reads: &[Option<View>],
    writes: &[Option<Output>],
) -> Result<DType, Error> {
    let is_mask = |w: usize| Some(w) == signature.mask();
    let reads = signature
        .read_names()
        .zip(reads)
        .enumerate()
        .filter_map(|(i, (name, r))| Some((name, r.as_ref()?.data.dtype(), signature.is_mask_read(i))));
    let writes = writes.iter().enumerate().filter(|(w, _)| call.outputs.contains(*w));
    let writes = writes.filter_map(|(w, o)| Some((signature.write_name(w), o.as_ref()?.dtype(), is_mask(w))));
    let all = reads.chain(writes);
    let dtype = dtype.or_else(|| all.clone().find_map(|(_, dtype, _)| dtype)).unwrap_or_default();
    let name = |dtype: Option<DType>| dtype.map_or("words of a mask (u32)", DType::name);
    for (argument, got, is_mask) in all {
        let need = if is_mask { None } else { Some(dtype) };
        if got != need {
            let (op, argument) = (signature.name().to_owned(), argument.to_owned());
            return Err(Error::Type { op, argument, got: name(got), need: name(need) });
        }
    }
    Ok(dtype)
}

/// The outputs of a running call. Vectors are emptied if the call fails or its future is dropped.
struct Incomplete<'a>(Vec<Option<Output<'a>>>);

impl Incomplete<'_> {
    fn complete(mut self) {
        self.0.clear();
    }
}

impl Drop for Incomplete<'_> {
    fn drop(&mut self) {
        self.0.iter_mut().flatten().for_each(Output::discard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gpu::kernels::Kernels,
        ops::{self, modulo, spiky},
    };

    fn sendable<T: Send>(_: &T) {}

    /// Executors that move futures between threads accept ours.
    #[test]
    fn futures_are_send() {
        let runner = Runner::cpu();
        let mut z = [0.0];
        sendable(&runner.run_async(spiky::Forward { x: &[0.2], z: &mut z }));
        sendable(&async { runner.run_async(spiky::Forward { x: &[0.2], z: &mut z }).await });
        sendable(&Runner::open_async(&open::Choice::Auto));
        let (device, _) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let kernels = Kernels::new(&device);
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        sendable(&kernels.bind_async(spiky::Forward { x: &buffer, z: &buffer }));
        sendable(&async { kernels.bind_async(spiky::Forward { x: &buffer, z: &buffer }).await });
        sendable(&kernels);
    }

    fn args<'a>(
        [x, dz]: [&'a [f32]; 2],
        [z, dx]: [&'a mut Vec<f32>; 2],
        mask: &'a mut Vec<u32>,
    ) -> Args<'static, View<'a>, Output<'a>> {
        let reads = [x, dz].map(|read| Some(View::from(read))).into();
        let outputs = [z.into(), Output::from(dx).accumulate(), mask.into()];
        Args::new(ops::spiky(), reads, outputs.map(Some).into())
    }

    /// The CPU does not repeat what a lost GPU has done, and does everything else.
    #[test]
    fn the_cpu_finishes_what_is_left() -> Result<(), Error> {
        const DONE: usize = 64;
        let x: Vec<f32> = (0..150).map(|i| i as f32 * 0.3 - 20.0).collect();
        let dz: Vec<f32> = x.iter().map(|x| x * 0.7).collect();
        let (mut z, mut dx, mut mask) = (vec![0.0; 150], vec![1.0; 150], vec![0_u32; 5]);
        let (mut right_z, mut right_dx, mut right_mask) = (z.clone(), dx.clone(), mask.clone());
        Runner::cpu().run(args([&x, &dz], [&mut right_z, &mut right_dx], &mut right_mask))?;
        z[..DONE].copy_from_slice(&right_z[..DONE]);
        dx[..DONE].copy_from_slice(&right_dx[..DONE]);
        mask[..DONE / 32].copy_from_slice(&right_mask[..DONE / 32]);

        let (job, mut outputs) = job(args([&x, &dz], [&mut z, &mut dx], &mut mask))?;
        let mut writes: Vec<_> = outputs
            .0
            .iter_mut()
            .zip(&job.call.writes)
            .map(|(o, w)| Some(o.as_mut()?.slice(w.as_ref()?.len as usize)))
            .collect();
        finish_on_cpu(ops::spiky(), &job, &mut writes, Done { sums: true, elements: DONE });
        drop(writes);
        outputs.complete();
        assert_eq!((z, dx, mask), (right_z, right_dx, right_mask));
        Ok(())
    }

    /// An op of 8 inputs needs 9 bindings. If the device has 8, the CPU computes this op, and the device computes
    /// others.
    #[test]
    fn the_cpu_does_what_a_device_cannot() -> Result<(), Error> {
        let limits = wgpu::Limits { max_storage_buffers_per_shader_stage: 8, ..wgpu::Limits::default() };
        let (device, queue) =
            wgpu::Device::noop(&wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() });
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let sum = Op::new("sum", names, |all| all.into_iter().reduce(|sum, x| sum + x).unwrap_or(all[0]))?;
        let ones = [[1.0_f32; 4]; 8];
        let refused = Runner::on_device(&device, &queue).forward(&sum, &ones.each_ref());
        assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
        let runner = Runner::on_device(&device, &queue).falling_back();
        assert_eq!(runner.forward(&sum, &ones.each_ref())?, [8.0; 4]);
        assert!(!runner.fell_back(), "the device goes on");
        Ok(())
    }

    /// The driver refuses the kernels of an op whose WGSL is wrong. The CPU computes this op, and the device computes
    /// others.
    #[test]
    fn the_cpu_does_what_a_driver_refuses() -> Result<(), Error> {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let double = Op::new("double", ["x"], |[x]| x + x)?;
        let wrong = double.with_wgsl(|source| format!("nowhere({source})"), &[])?;
        let x = [0.25, 0.75];
        let refused = Runner::on_device(&device, &queue).forward(&wrong, &[&x]);
        assert!(matches!(refused, Err(Error::Shader { .. })), "{refused:?}");
        let runner = Runner::on_device(&device, &queue).falling_back();
        assert_eq!(runner.forward(&wrong, &[&x])?, [0.5, 1.5]);
        assert!(!runner.fell_back(), "the device goes on");
        Ok(())
    }

    /// The CPU computes a sum that the device has no buffers for, but not if the device is to be checked.
    #[test]
    fn the_cpu_helps_with_sums_unless_the_device_is_checked() -> Result<(), Error> {
        let limits = wgpu::Limits {
            max_buffer_size: 1 << 20,
            max_storage_buffer_binding_size: 1 << 20,
            ..wgpu::Limits::default()
        };
        let (device, queue) =
            wgpu::Device::noop(&wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() });
        let runner = Runner::on_device(&device, &queue);
        let x = vec![2.5_f32; 1 << 19];
        let mut dy = [0.0];
        runner.run(modulo::Backward { x: &x, y: &[1.0], dz: &x, dx: None, dy: Some(&mut dy) })?;
        assert_eq!(dy, [-5.0 * (1 << 19) as f32]);
        let refused =
            runner.run_here(modulo::Backward { x: &x, y: &[1.0], dz: &x, dx: None, dy: Some(&mut dy) });
        assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
        Ok(())
    }
}

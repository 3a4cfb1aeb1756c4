//! Host slices on a device of your choice.

use std::{
    convert::Infallible,
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering},
};

use smallvec::SmallVec;

use crate::{
    Args, DType, Error, IntoArgs, Op, Outputs, cpu,
    gpu::{
        device,
        stream::{Done, Streamer, Wait},
    },
    host::{Output, Slice, SliceMut, View},
    job::Job,
    op::{Call, Given, Operands, Pass, check},
    reference,
};

/// Which device to take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// A hardware GPU where there is one, else the CPU; the CPU finishes what a lost GPU leaves.
    #[default]
    Auto,
    /// The CPU path, on all cores.
    Cpu,
    /// The scalar reference, on one core: slow, and the measure of everything else.
    Reference,
    /// A GPU, hardware before software.
    Gpu,
    /// The first adapter in whose name, driver or driver info the text occurs, whatever its case; also the name with the
    /// back end behind it, as [`Runner::name`] gives it.
    Named(String),
}

impl FromStr for Choice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.to_lowercase().as_str() {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "reference" => Self::Reference,
            "gpu" => Self::Gpu,
            _ => Self::Named(text.to_owned()),
        })
    }
}

/// Runs ops on host slices of any size.
///
/// On a GPU, data is streamed in windows: memory is bounded, and the host fills and empties
/// windows while the device works on another.
///
/// ```
/// use elemgrad::{Runner, modulo};
///
/// # fn main() -> Result<(), elemgrad::Error> {
/// let runner = Runner::auto();
/// let (x, y) = ([0.3, 0.7, 1.2, 1.7], [0.2, 0.5, 1.0, 2.9]);
/// assert_eq!(runner.forward(&modulo::Mod, &[&x, &y])?, [0.10000001, 0.19999999, 0.20000005, 1.7]);
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
    /// The CPU finishes what a lost GPU leaves, and does all that follows.
    fall_back: bool,
    fell_back: AtomicBool,
}

#[derive(Debug)]
enum Engine {
    Cpu,
    Reference,
    Gpu(Box<Streamer>),
}

impl Runner {
    /// A hardware GPU where there is one that opens, else the CPU.
    pub fn auto() -> Self {
        pollster::block_on(Self::auto_async())
    }

    /// [`auto`](Runner::auto) for async callers.
    pub async fn auto_async() -> Self {
        for adapter in device::adapters().await.iter().filter(|a| device::auto_takes(&a.get_info())) {
            if let Ok(runner) = Self::on_adapter(adapter).await {
                return Self { fall_back: true, ..runner };
            }
        }
        Self::cpu()
    }

    /// The CPU path.
    pub fn cpu() -> Self {
        Self { engine: Engine::Cpu, name: "cpu".into(), fall_back: false, fell_back: AtomicBool::new(false) }
    }

    /// The scalar reference.
    pub fn reference() -> Self {
        Self {
            engine: Engine::Reference,
            name: "reference".into(),
            fall_back: false,
            fell_back: AtomicBool::new(false),
        }
    }

    /// The device of your choice.
    ///
    /// # Errors
    /// [`Error::NoDevice`] where nothing matches, [`Error::Open`] where the adapter gives no device.
    pub fn open(choice: &Choice) -> Result<Self, Error> {
        pollster::block_on(Self::open_async(choice))
    }

    /// [`open`](Runner::open) for async callers.
    ///
    /// # Errors
    /// As [`open`](Runner::open).
    pub async fn open_async(choice: &Choice) -> Result<Self, Error> {
        let wanted = match choice {
            Choice::Cpu => return Ok(Self::cpu()),
            Choice::Reference => return Ok(Self::reference()),
            Choice::Auto => return Ok(Self::auto_async().await),
            Choice::Gpu => "gpu",
            Choice::Named(text) => text,
        };
        let adapters = device::adapters().await;
        let takes = |a: &&wgpu::Adapter| *choice == Choice::Gpu || device::matches(&a.get_info(), wanted);
        if let Some(adapter) = adapters.iter().find(takes) {
            return Self::on_adapter(adapter).await;
        }
        let found = adapters.iter().map(|a| device::describe(&a.get_info())).collect();
        Err(Error::NoDevice { wanted: wanted.into(), found })
    }

    /// A device of our own on `adapter`.
    ///
    /// # Errors
    /// [`Error::Open`] where the adapter gives no device.
    pub async fn on_adapter(adapter: &wgpu::Adapter) -> Result<Self, Error> {
        let open = device::open(adapter).await?;
        Ok(Self::on(&open.device, &open.queue, open.health))
    }

    /// Your own device: its handlers stay as they are.
    pub fn on_device(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        Self::on(device, queue, device::Health::default())
    }

    fn on(device: &wgpu::Device, queue: &wgpu::Queue, health: device::Health) -> Self {
        let engine = Engine::Gpu(Box::new(Streamer::new(device, queue, health)));
        let info = device.adapter_info();
        Self { engine, name: device::name(&info), fall_back: false, fell_back: AtomicBool::new(false) }
    }

    /// The device's name: `cpu`, `reference`, or the adapter's with its back end.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a GPU that `auto` took was lost or ran out of memory, so that the CPU took over.
    pub fn fell_back(&self) -> bool {
        self.fell_back.load(Ordering::Relaxed)
    }

    /// Frees the buffers that the last call left on a GPU for the next of its shape, up to 512 MiB there and as much in
    /// host memory.
    pub fn release(&self) {
        if let Engine::Gpu(streamer) = &self.engine {
            streamer.release();
        }
    }

    /// The adapter, where there is a GPU.
    pub fn adapter_info(&self) -> Option<wgpu::AdapterInfo> {
        self.gpu().map(|(kernels, _)| kernels.device().adapter_info())
    }

    /// The GPU's kernels and queue, where there is a GPU: for buffers that stay on the device.
    pub fn gpu(&self) -> Option<(&crate::gpu::Kernels, &wgpu::Queue)> {
        match &self.engine {
            Engine::Gpu(streamer) => Some((&streamer.kernels, &streamer.queue)),
            _ => None,
        }
    }

    /// Runs one call and waits for it.
    ///
    /// Inputs are anything that turns into a [`View`]: slices of f32, f16 or bf16, one type for all, with one axis unless
    /// they are given a [`Layout`](crate::Layout). They broadcast by NumPy's rules, and the gradient of one that was
    /// broadcast is summed. Outputs are contiguous: slices of the right length, or vectors, which get it.
    ///
    /// # Errors
    /// Shapes that do not fit, a missing argument, and whatever the GPU reports; a loss is [`Error::DeviceLost`]. A call
    /// whose arguments are wrong touches nothing; after a failure on the way, vectors are empty and slices hold no result.
    pub fn run<'a, 'b, 'o>(&self, args: impl IntoArgs<'o, View<'a>, Output<'b>>) -> Result<(), Error> {
        pollster::block_on(self.run_any(args.into_args(), Wait::Block, self.fall_back))
    }

    /// [`run`](Runner::run) for async callers, on any executor: but for the web, where wgpu's own types are not, the future
    /// is `Send`. On the CPU the first poll computes it all.
    ///
    /// # Errors
    /// As [`run`](Runner::run).
    pub fn run_async<'a, 'b, 'o>(
        &self,
        args: impl IntoArgs<'o, View<'a>, Output<'b>>,
    ) -> impl Future<Output = Result<(), Error>> {
        // That it is `Send` a test says: in the signature it would take the compiler 12 s.
        self.run_any(args.into_args(), Wait::Wake, self.fall_back)
    }

    /// The output `z` of any op, in f32; for other types there is [`run`](Runner::run).
    ///
    /// # Errors
    /// As [`run`](Runner::run).
    pub fn forward<'a>(
        &self,
        op: &dyn Op,
        inputs: &[impl Into<View<'a>> + Clone],
    ) -> Result<Vec<f32>, Error> {
        let (z, _) = self.vectors(op, inputs, None::<&[f32]>, op.definition().outputs(Pass::Forward))?;
        Ok(z)
    }

    /// The gradients of any op, one for each input and of its shape, given the upstream gradient `dz`, in f32; for
    /// other types there is [`run`](Runner::run).
    ///
    /// # Errors
    /// As [`run`](Runner::run).
    pub fn backward<'a>(
        &self,
        op: &dyn Op,
        inputs: &[impl Into<View<'a>> + Clone],
        dz: impl Into<View<'a>>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let (_, gradients) =
            self.vectors(op, inputs, Some(dz), op.definition().all_outputs(Pass::Backward))?;
        Ok(gradients)
    }

    /// Output and gradients of any op in one pass, in f32; for other types there is [`run`](Runner::run).
    ///
    /// # Errors
    /// As [`run`](Runner::run).
    pub fn fused<'a>(
        &self,
        op: &dyn Op,
        inputs: &[impl Into<View<'a>> + Clone],
        dz: impl Into<View<'a>>,
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>), Error> {
        let outputs = Outputs::Z | op.definition().all_outputs(Pass::Backward);
        self.vectors(op, inputs, Some(dz), outputs)
    }

    fn vectors<'a>(
        &self,
        op: &dyn Op,
        inputs: &[impl Into<View<'a>> + Clone],
        dz: Option<impl Into<View<'a>>>,
        outputs: Outputs,
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>), Error> {
        let mut vectors = vec![Vec::new(); 1 + op.definition().inputs.len()];
        let writes = vectors.iter_mut().enumerate().map(|(i, v)| outputs.contains(i).then_some(v)).collect();
        let reads: Vec<Option<View>> =
            inputs.iter().cloned().map(|i| Some(i.into())).chain([dz.map(Into::into)]).collect();
        self.run(Args::new(op, reads, writes))?;
        let gradients = vectors.split_off(1);
        Ok((vectors.remove(0), gradients))
    }

    /// [`run`](Runner::run) on this device alone: what checks or times a device must not hear of another.
    pub(crate) fn run_here<'a, 'b, 'o>(
        &self,
        args: impl IntoArgs<'o, View<'a>, Output<'b>>,
    ) -> Result<(), Error> {
        pollster::block_on(self.run_any(args.into_args(), Wait::Block, false))
    }

    async fn run_any(
        &self,
        args: Args<'_, View<'_>, Output<'_>>,
        wait: Wait,
        fall_back: bool,
    ) -> Result<(), Error> {
        let mut args = args;
        if matches!(self.engine, Engine::Cpu) && run_plain(&mut args).is_some() {
            return Ok(());
        }
        let (job, mut outputs) = job(args)?;
        let targets = outputs.0.iter_mut().zip(&job.call.writes);
        let mut writes: Operands<SliceMut> =
            targets.map(|(o, w)| Some(o.as_mut()?.slice(w.as_ref()?.len as usize))).collect();
        writes.resize_with(job.call.writes.len(), || None);
        match &self.engine {
            Engine::Cpu => cpu::run(&job, &mut writes),
            Engine::Reference => reference::run(&job, &mut writes),
            Engine::Gpu(_) if fall_back && self.fell_back() => cpu::run(&job, &mut writes),
            Engine::Gpu(streamer) => {
                let mut done = Done::default();
                match streamer.run(&job, &mut writes, wait, &mut done).await {
                    Err(Error::DeviceLost { .. } | Error::OutOfMemory { .. }) if fall_back => {
                        self.fell_back.store(true, Ordering::Relaxed);
                        finish_on_cpu(&job, &mut writes, done);
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

/// Computes the commonest call, slices of one type and length that are overwritten, at once: layouts would cost a small one
/// more than its work. `None`, and nothing done, where it is another call or a wrong one.
fn run_plain(args: &mut Args<'_, View<'_>, Output<'_>>) -> Option<()> {
    let definition = args.op.definition();
    let outputs = Outputs::present(args.writes.iter().map(Option::is_some));
    definition.check(outputs).ok()?;
    if definition.mask().is_some_and(|w| outputs.contains(w)) {
        return None;
    }
    let first = args.reads.first()?.as_ref()?.slice()?;
    let (dtype, len) = (first.dtype()?, first.len());
    let alike = |slice: &Slice| slice.dtype() == Some(dtype) && slice.len() == len;
    let mut reads = Operands::new();
    for read in &args.reads {
        reads.push(match read {
            Some(view) => Some(view.slice().filter(alike)?),
            None => None,
        });
    }
    let has = |r: &usize| reads.get(*r).is_some_and(Option::is_some);
    let needed = definition.reads_for(outputs, false);
    let fits = reads.len() <= definition.upstream() + 1 && args.writes.len() <= definition.write_count();
    if !fits || !needed.iter().all(has) || args.dtype.is_some_and(|told| told != dtype) {
        return None;
    }
    reads.resize_with(definition.upstream() + 1, || None);
    let mut writes: Operands<SliceMut> = Operands::new();
    for write in &mut args.writes {
        writes.push(match write {
            Some(output) => Some(output.overwritten().filter(|slice| alike(&slice.shared()))?),
            None => None,
        });
    }
    writes.resize_with(definition.write_count(), || None);
    cpu::contiguous(args.op, dtype, len, &reads, &mut writes);
    Some(())
}

/// What is not done.
fn finish_on_cpu(job: &Job, writes: &mut [Option<SliceMut>], done: Done) {
    if !done.sums {
        cpu::sums(job, writes);
    }
    cpu::elementwise(job, writes, done.elements);
}

/// A call whose arguments fit, and its outputs.
fn job<'o, 'a, 'b>(args: Args<'o, View<'a>, Output<'b>>) -> Result<(Job<'o, 'a>, Incomplete<'b>), Error> {
    let Args { op, dtype, reads, mut writes } = args;
    let definition = op.definition();
    let mut given_reads: Operands<Given> = reads.iter().map(|r| r.as_ref().map(View::given)).collect();
    let given_writes: Operands<Given> = writes.iter().map(|w| w.as_ref().map(Output::given)).collect();
    given_reads.resize(given_reads.len().max(definition.inputs.len()), None);
    let call = check(definition, &given_reads, &given_writes)?;
    let dtype = check_types(&call, op, dtype, &reads, &writes)?;
    // What fails from here on may leave outputs half written.
    for (output, write) in writes.iter_mut().zip(&call.writes) {
        if let (Some(output), Some(write)) = (output, write)
            && !output.reserve(write.len)
        {
            let (op, shape) = (definition.name.to_string(), call.shape.to_vec());
            return Err(Error::TooMany { op, shape });
        }
    }
    let mut reads: Vec<Option<Slice>> = reads.into_iter().map(|r| r.map(|view| view.data)).collect();
    reads.resize(definition.read_count(), None);
    Ok((Job { op, dtype, call, reads }, Incomplete(writes)))
}

/// Every operand holds the call's storage type, a mask words.
fn check_types(
    call: &Call,
    op: &dyn Op,
    dtype: Option<DType>,
    reads: &[Option<View>],
    writes: &[Option<Output>],
) -> Result<DType, Error> {
    let definition = op.definition();
    let is_mask = |w: usize| Some(w) == definition.mask();
    let reads = definition
        .read_names()
        .zip(reads)
        .enumerate()
        .filter_map(|(i, (name, r))| Some((name, r.as_ref()?.data.dtype(), i > definition.upstream())));
    let writes = writes.iter().enumerate().filter(|(w, _)| call.outputs.contains(*w));
    let writes = writes.filter_map(|(w, o)| Some((definition.write_name(w), o.as_ref()?.kind(), is_mask(w))));
    let all: SmallVec<[_; 8]> = reads.chain(writes).collect();
    let dtype = dtype.or_else(|| all.iter().find_map(|(_, dtype, _)| *dtype)).unwrap_or_default();
    let name = |dtype: Option<DType>| dtype.map_or("words of a mask (u32)", DType::name);
    for (argument, got, is_mask) in all {
        let need = if is_mask { None } else { Some(dtype) };
        if got != need {
            let (op, argument) = (definition.name.to_string(), argument.to_owned());
            return Err(Error::Type { op, argument, got: name(got), need: name(need) });
        }
    }
    Ok(dtype)
}

/// The outputs of a call under way: vectors are emptied where it fails or its future is dropped.
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
    use crate::{gpu::Kernels, spiky};

    fn sendable<T: Send>(_: &T) {}

    /// Executors that move futures between threads take ours.
    #[test]
    fn futures_are_send() {
        let runner = Runner::cpu();
        let mut z = [0.0];
        sendable(&runner.run_async(spiky::Forward { x: &[0.2], z: &mut z }));
        sendable(&async { runner.run_async(spiky::Forward { x: &[0.2], z: &mut z }).await });
        sendable(&Runner::open_async(&Choice::Auto));
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
        Args::new(&spiky::Spiky, reads, outputs.map(Some).into())
    }

    /// What a lost GPU has done is not done again, and all else is.
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
        finish_on_cpu(&job, &mut writes, Done { sums: true, elements: DONE });
        drop(writes);
        outputs.complete();
        assert_eq!((z, dx, mask), (right_z, right_dx, right_mask));
        Ok(())
    }

    #[test]
    fn reserved_words_name_no_adapter() {
        let parse = |text: &str| text.parse::<Choice>().unwrap_or_default();
        assert_eq!(
            ["AUTO", "cpu", "Reference", "gpu"].map(parse),
            [Choice::Auto, Choice::Cpu, Choice::Reference, Choice::Gpu]
        );
        assert_eq!(parse("Radeon"), Choice::Named("Radeon".into()));
    }
}

//! The kernels of a device, compiled once each.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    bind::{Bound, Operand, Request},
    pipeline::Pipeline,
};
use crate::{
    dtype::DType,
    error::Error,
    op::{
        Op,
        args::{Args, IntoArgs},
    },
    plan::{Access, Kernel, Limits},
    shader::{self, Shader},
    signature::{Signature, outputs::Outputs},
};

/// The kernels of one device: a cache that you own.
///
/// It takes no part in your device's life: it sets no handler, submits nothing, polls nothing. Threads may share it.
#[derive(Debug)]
pub struct Kernels {
    device: wgpu::Device,
    limits: Limits,
    /// Compiled kernels of earlier runs.
    saved: Option<wgpu::PipelineCache>,
    cache: Mutex<Cache>,
}

/// Compiled kernels, of which the least recently used goes where there are too many.
#[derive(Debug)]
struct Cache {
    /// Equal signatures and kernels have the same WGSL.
    kernels: HashMap<(Signature, Kernel), Entry>,
    most: usize,
    /// Counts questions.
    now: u64,
}

#[derive(Debug)]
struct Entry {
    pipeline: Arc<Pipeline>,
    used: u64,
}

impl Cache {
    fn get(&mut self, key: &(Signature, Kernel)) -> Option<Arc<Pipeline>> {
        self.now += 1;
        let entry = self.kernels.get_mut(key)?;
        entry.used = self.now;
        Some(entry.pipeline.clone())
    }

    /// The kernel, or that which another thread has put there before.
    fn insert(&mut self, key: (Signature, Kernel), pipeline: Pipeline) -> Arc<Pipeline> {
        if let Some(pipeline) = self.get(&key) {
            return pipeline;
        }
        while self.kernels.len() >= self.most {
            let oldest = self.kernels.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            self.kernels.remove(&oldest);
        }
        let pipeline = Arc::new(pipeline);
        self.kernels.insert(key, Entry { pipeline: pipeline.clone(), used: self.now });
        pipeline
    }
}

/// The most kernels that a cache holds by default: those of some dozen ops in all types and layouts.
const MOST: usize = 512;

impl Kernels {
    /// An empty cache for `device`.
    pub fn new(device: &wgpu::Device) -> Self {
        let limits = Limits::from(&device.limits());
        let cache = Cache { kernels: HashMap::new(), most: MOST, now: 0 };
        Self { device: device.clone(), limits, saved: None, cache: Mutex::new(cache) }
    }

    /// The same with a pipeline cache of yours: what the driver has compiled before is not compiled again.
    ///
    /// It needs the device's feature `PIPELINE_CACHE`, which a runner's own device has where its adapter does. You load
    /// it from disk and save it there ([`wgpu::PipelineCache::get_data`]).
    #[must_use]
    pub fn with_pipeline_cache(self, cache: &wgpu::PipelineCache) -> Self {
        Self { saved: Some(cache.clone()), ..self }
    }

    /// The same with room for so many kernels, at least one. The default is 512. Where a further one is compiled, the least
    /// recently used goes; calls that are bound to it keep it.
    #[must_use]
    pub fn with_capacity(self, kernels: usize) -> Self {
        self.cache().most = kernels.max(1);
        self
    }

    /// Forgets all kernels: a later [`bind`](Kernels::bind) compiles anew. Calls that are bound keep theirs.
    pub fn clear(&self) {
        self.cache().kernels.clear();
    }

    /// How many kernels there are.
    pub fn len(&self) -> usize {
        self.cache().kernels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// Compiles the kernels that compute `outputs` of `op` on contiguous operands in buffers that are all different, ahead
    /// of the first bind.
    ///
    /// Operands that share a buffer, are broadcast, strided or added to, and masks that are read need other variants, which
    /// their first [`bind`](Kernels::bind) compiles: bind such a call ahead, on small buffers and on a thread of yours, and
    /// later ones find its kernels.
    ///
    /// # Errors
    /// [`Error::Shader`] where the op's WGSL does not compile, [`Error::Limit`] where the device has too few bindings,
    /// [`Error::NothingWanted`] and [`Error::Arity`] for outputs that are none or not the op's, and what wgpu reports:
    /// [`Error::Gpu`], [`Error::OutOfMemory`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn compile(&self, op: &Op, outputs: Outputs, dtype: DType) -> Result<(), Error> {
        pollster::block_on(self.compile_async(op, outputs, dtype))
    }

    /// [`compile`](Kernels::compile) for the web, where wgpu answers later.
    ///
    /// # Errors
    /// As [`compile`](Kernels::compile).
    pub async fn compile_async(&self, op: &Op, outputs: Outputs, dtype: DType) -> Result<(), Error> {
        op.signature().check(outputs)?;
        for access in [Access::Vec4, Access::Word] {
            let kernel = Kernel::contiguous(op.signature(), outputs, dtype, access);
            self.limits.check_kernel(op.name(), kernel.slots.len())?;
            self.pipeline(op.signature(), kernel).await?;
        }
        Ok(())
    }

    /// Binds one call: checks everything, compiles what is not compiled yet, allocates everything.
    ///
    /// Operands are anything that turns into an [`Operand`]: `&wgpu::Buffer`, `wgpu::BufferSlice`, or a range in
    /// elements. Inputs may have any strides and broadcast to each other; the gradient of one that is broadcast has its
    /// shape, and is summed. Operands may be disjoint ranges of one buffer, at any element, and an output may occupy exactly
    /// the range of any input of its shape.
    ///
    /// # Errors
    /// All before a command is recorded. Arguments: [`Error::Missing`], [`Error::NothingWanted`], [`Error::Arity`],
    /// [`Error::Shape`], [`Error::Length`], [`Error::Strides`], [`Error::Layout`], [`Error::TooMany`],
    /// [`Error::Accumulate`], [`Error::Alignment`], [`Error::Range`], [`Error::Usage`], [`Error::Overlap`],
    /// [`Error::InPlace`], [`Error::NeedsCopy`]. The device: [`Error::Limit`], [`Error::OutOfMemory`]. The op:
    /// [`Error::Shader`]. What only wgpu can see, such as a buffer of another device: [`Error::Gpu`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn bind<'a, 'o>(&self, args: impl IntoArgs<'o, Operand<'a>, Operand<'a>>) -> Result<Bound, Error> {
        pollster::block_on(self.bind_any(args.into_args()))
    }

    /// [`bind`](Kernels::bind) for the web, where wgpu answers later. Elsewhere the future is `Send`.
    ///
    /// # Errors
    /// As [`bind`](Kernels::bind).
    pub fn bind_async<'a, 'o>(
        &self,
        args: impl IntoArgs<'o, Operand<'a>, Operand<'a>>,
    ) -> impl Future<Output = Result<Bound, Error>> {
        // That it is `Send` a test in run.rs says: in the signature it would take the compiler 6 s.
        self.bind_any(args.into_args())
    }

    async fn bind_any(&self, args: Args<'_, Operand<'_>, Operand<'_>>) -> Result<Bound, Error> {
        let signature = args.op.signature();
        let request = Request::new(args)?;
        let (plan, buffers) = request.plan(&self.limits)?;
        let mut pipelines = Vec::new();
        for kernel in &plan.kernels {
            pipelines.push(self.pipeline(signature, kernel.clone()).await?);
        }
        Bound::create(&self.device, &request, (plan, buffers), pipelines).await
    }

    async fn pipeline(&self, signature: &Signature, kernel: Kernel) -> Result<Arc<Pipeline>, Error> {
        let key = (signature.clone(), kernel);
        if let Some(pipeline) = self.cache().get(&key) {
            return Ok(pipeline);
        }
        // The lock is not held while compiling: two threads may compile the same kernel once each, never wait.
        shader::check_size(signature)?;
        let shader = shader::compose(signature, &key.1);
        #[cfg(not(target_arch = "wasm32"))]
        Shader::check(signature.name(), &shader.source)?;
        let pipeline = Pipeline::create(&self.device, signature.name(), &shader, self.saved.as_ref()).await?;
        Ok(self.cache().insert(key, pipeline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_bounded_and_can_be_forgotten() -> Result<(), Error> {
        let (device, _) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let kernels = Kernels::new(&device).with_capacity(3);
        let double = Op::new("double", ["x"], |[x]| x * 2.0)?;
        for &dtype in DType::ALL {
            kernels.compile(&double, Outputs::Z, dtype)?;
        }
        assert_eq!(kernels.len(), 3, "of six kernels");
        // An equal op finds them.
        let again = Op::new("double", ["x"], |[x]| x * 2.0)?;
        let key = |op: &Op, access| {
            let kernel = Kernel::contiguous(op.signature(), Outputs::Z, DType::Bf16, access);
            (op.signature().clone(), kernel)
        };
        let found = |access| kernels.cache().get(&key(&again, access)).is_some();
        assert!(found(Access::Vec4) && found(Access::Word), "the last ones are there");
        let other = Op::new("double", ["x"], |[x]| x * 3.0)?;
        assert!(kernels.cache().get(&key(&other, Access::Word)).is_none(), "another op of that name");
        kernels.clear();
        assert!(kernels.is_empty());
        Ok(())
    }
}

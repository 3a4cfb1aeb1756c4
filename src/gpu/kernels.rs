//! The kernels of a device, each compiled once.

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
    shader,
    signature::{Signature, outputs::Outputs},
};

/// A cache of one device's kernels. You own it.
///
/// It does not interfere with your device: it sets no handler, submits nothing and polls nothing. Threads may share
/// it.
#[derive(Debug)]
pub struct Kernels {
    device: wgpu::Device,
    limits: Limits,
    /// Kernels that earlier runs compiled.
    saved: Option<wgpu::PipelineCache>,
    cache: Mutex<Cache>,
}

/// Compiled kernels. If there are too many, the least recently used one is dropped.
#[derive(Debug)]
struct Cache {
    /// Equal signatures and kernels have the same WGSL.
    kernels: HashMap<(Signature, Kernel), Entry>,
    most: usize,
    /// Counts lookups.
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

    /// Inserts the kernel, or returns the one that another thread has inserted before.
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

/// The most kernels that a cache holds by default: enough for some dozen ops in all types and layouts.
const MOST: usize = 512;

impl Kernels {
    /// An empty cache for `device`.
    pub fn new(device: &wgpu::Device) -> Self {
        let limits = Limits::from(&device.limits());
        let cache = Cache { kernels: HashMap::new(), most: MOST, now: 0 };
        Self { device: device.clone(), limits, saved: None, cache: Mutex::new(cache) }
    }

    /// The same cache, with a pipeline cache of yours: the driver does not compile again what it has compiled before.
    ///
    /// The device needs the feature `PIPELINE_CACHE`. A runner's own device has it if its adapter does. You load the
    /// pipeline cache from disk and save it there ([`wgpu::PipelineCache::get_data`]).
    #[must_use]
    pub fn with_pipeline_cache(self, cache: &wgpu::PipelineCache) -> Self {
        Self { saved: Some(cache.clone()), ..self }
    }

    /// The same cache, with room for `kernels` kernels, at least one. The default is 512. If the cache is full and
    /// another kernel is compiled, the least recently used one is dropped. Bound calls keep theirs.
    #[must_use]
    pub fn with_capacity(self, kernels: usize) -> Self {
        self.cache().most = kernels.max(1);
        self
    }

    /// Drops all kernels. A later [`bind`](Kernels::bind) compiles again. Bound calls keep theirs.
    pub fn clear(&self) {
        self.cache().kernels.clear();
    }

    /// The number of kernels in the cache.
    pub fn len(&self) -> usize {
        self.cache().kernels.len()
    }

    /// Whether the cache holds no kernel.
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

    /// Compiles ahead of the first bind the kernels that compute `outputs` of `op` on contiguous operands, each in
    /// its own buffer.
    ///
    /// Other calls need other kernels, which their first [`bind`](Kernels::bind) compiles: calls whose operands share
    /// a buffer, are broadcast, strided or added to, and calls that read a mask. To compile those ahead, bind such a
    /// call on small buffers, on a thread of yours. Later calls find its kernels.
    ///
    /// # Errors
    /// [`Error::Shader`] if the op's WGSL does not compile, [`Error::Limit`] if the device has too few bindings,
    /// [`Error::NothingWanted`] if `outputs` is empty, [`Error::Arity`] if the op lacks one of them, and what wgpu
    /// reports: [`Error::Gpu`], [`Error::OutOfMemory`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn compile(&self, op: &Op, outputs: Outputs, dtype: DType) -> Result<(), Error> {
        pollster::block_on(self.compile_async(op, outputs, dtype))
    }

    /// [`compile`](Kernels::compile) for the web, where wgpu answers asynchronously.
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

    /// Binds one call: checks the arguments, compiles the kernels that are not compiled yet, and allocates
    /// everything.
    ///
    /// Operands are anything that converts into an [`Operand`]: `&wgpu::Buffer`, `wgpu::BufferSlice`, or a range in
    /// elements. Inputs may have any strides and broadcast to each other. The gradient of a broadcast input is summed
    /// and has that input's shape. Operands may be disjoint ranges of one buffer, starting at any element. An output
    /// may occupy exactly the range of any input of its shape.
    ///
    /// # Errors
    /// All before a command is recorded. Arguments: [`Error::Missing`], [`Error::NothingWanted`], [`Error::Arity`],
    /// [`Error::Shape`], [`Error::Length`], [`Error::Strides`], [`Error::Layout`], [`Error::TooMany`],
    /// [`Error::Accumulate`], [`Error::Alignment`], [`Error::Range`], [`Error::Usage`], [`Error::Overlap`],
    /// [`Error::InPlace`], [`Error::NeedsCopy`]. The device: [`Error::Limit`], [`Error::OutOfMemory`]. The op:
    /// [`Error::Shader`]. Errors that only wgpu can detect, such as a buffer of another device: [`Error::Gpu`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn bind<'a, 'o>(&self, args: impl IntoArgs<'o, Operand<'a>, Operand<'a>>) -> Result<Bound, Error> {
        pollster::block_on(self.bind_any(args.into_args()))
    }

    /// [`bind`](Kernels::bind) for the web, where wgpu answers asynchronously. Elsewhere the future is `Send`.
    ///
    /// # Errors
    /// As [`bind`](Kernels::bind).
    pub fn bind_async<'a, 'o>(
        &self,
        args: impl IntoArgs<'o, Operand<'a>, Operand<'a>>,
    ) -> impl Future<Output = Result<Bound, Error>> {
        // A test in `run` checks that the future is `Send`: stating it in the signature would take the compiler 6 s.
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
        // The lock is not held while compiling. Two threads may both compile the same kernel, but neither waits.
        shader::check_size(signature)?;
        let shader = shader::compose(signature, &key.1);
        #[cfg(not(target_arch = "wasm32"))]
        shader::Shader::check(signature.name(), &shader.source)?;
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
        // An equal op finds the same kernels.
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

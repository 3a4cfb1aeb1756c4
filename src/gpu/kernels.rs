use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    bind::{Bound, Operand, Request},
    pipeline::Pipeline,
};
use crate::{
    Args, DType, Error, IntoArgs, Op, Outputs,
    plan::{Access, Kernel, Limits},
    shader,
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
    /// By source: two calls share a kernel exactly where their WGSL is the same.
    cache: Mutex<HashMap<String, Arc<Pipeline>>>,
}

impl Kernels {
    /// An empty cache for `device`.
    pub fn new(device: &wgpu::Device) -> Self {
        let limits = Limits::from(&device.limits());
        Self { device: device.clone(), limits, saved: None, cache: Mutex::default() }
    }

    /// The same with a pipeline cache of yours: what the driver has compiled before is not compiled again.
    ///
    /// It needs the device's feature `PIPELINE_CACHE`, which a runner's own device has where its adapter does. You load
    /// it from disk and save it there ([`wgpu::PipelineCache::get_data`]).
    #[must_use]
    pub fn with_pipeline_cache(self, cache: &wgpu::PipelineCache) -> Self {
        Self { saved: Some(cache.clone()), ..self }
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
    pub fn compile(&self, op: &dyn Op, outputs: Outputs, dtype: DType) -> Result<(), Error> {
        pollster::block_on(self.compile_async(op, outputs, dtype))
    }

    /// [`compile`](Kernels::compile) for the web, where wgpu answers later.
    ///
    /// # Errors
    /// As [`compile`](Kernels::compile).
    pub async fn compile_async(&self, op: &dyn Op, outputs: Outputs, dtype: DType) -> Result<(), Error> {
        op.definition().check(outputs)?;
        for access in [Access::Vec4, Access::Word] {
            let kernel = Kernel::contiguous(op.definition(), outputs, dtype, access);
            self.limits.check_kernel(&op.definition().name, kernel.slots.len())?;
            self.pipeline(op, &kernel).await?;
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
        let op = args.op;
        let request = Request::new(args)?;
        let (plan, buffers) = request.plan(&self.limits)?;
        let mut pipelines = Vec::new();
        for kernel in &plan.kernels {
            pipelines.push(self.pipeline(op, kernel).await?);
        }
        Bound::create(&self.device, &request, (plan, buffers), pipelines).await
    }

    async fn pipeline(&self, op: &dyn Op, kernel: &Kernel) -> Result<Arc<Pipeline>, Error> {
        let shader = shader::compose(op, kernel);
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = cache().get(&shader.source) {
            return Ok(pipeline.clone());
        }
        // The lock is not held while compiling: two threads may compile the same kernel once each, never wait.
        let name = &*op.definition().name;
        shader::check_size(op.definition())?;
        #[cfg(not(target_arch = "wasm32"))]
        shader::check(name, &shader.source)?;
        let pipeline = Pipeline::create(&self.device, name, &shader, self.saved.as_ref()).await?;
        Ok(cache().entry(shader.source).or_insert_with(|| Arc::new(pipeline)).clone())
    }
}

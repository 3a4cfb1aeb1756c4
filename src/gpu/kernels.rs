use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    bind::{Bound, Operand, Request},
    pipeline::Pipeline,
};
use crate::{
    Error, IntoArgs, Op, Outputs,
    plan::{Access, Limits, Slot},
    shader,
};

/// The kernels of one device: a cache that you own.
///
/// It takes no part in your device's life: it sets no handler, submits nothing, polls nothing. Threads may share it.
#[derive(Debug)]
pub struct Kernels {
    device: wgpu::Device,
    limits: Limits,
    /// By source: two calls share a kernel exactly where their WGSL is the same.
    cache: Mutex<HashMap<String, Arc<Pipeline>>>,
}

impl Kernels {
    /// An empty cache for `device`.
    pub fn new(device: &wgpu::Device) -> Self {
        Self { device: device.clone(), limits: Limits::from(&device.limits()), cache: Mutex::default() }
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// Compiles the kernels that compute `outputs` of `op` on buffers that are all different, ahead of the first bind.
    ///
    /// Operands that share a buffer may need one more variant, which their first [`bind`](Kernels::bind) compiles.
    ///
    /// # Errors
    /// [`Error::Shader`] where the op's WGSL does not compile, [`Error::Limit`] where the device has too few bindings,
    /// [`Error::NothingWanted`] and [`Error::Arity`] for outputs that are none or not the op's, and what wgpu reports:
    /// [`Error::Gpu`], [`Error::OutOfMemory`].
    pub fn compile(&self, op: &dyn Op, outputs: Outputs) -> Result<(), Error> {
        pollster::block_on(self.compile_async(op, outputs))
    }

    /// [`compile`](Kernels::compile) for the web, where wgpu answers later.
    ///
    /// # Errors
    /// As [`compile`](Kernels::compile).
    pub async fn compile_async(&self, op: &dyn Op, outputs: Outputs) -> Result<(), Error> {
        op.definition().check(outputs)?;
        let slots = shader::separate_slots(&shader::operands(op.definition(), outputs));
        self.limits.check_kernel(op.definition().name, slots.len())?;
        for access in [Access::Vec4, Access::Word] {
            self.pipeline(op, outputs, access, &slots).await?;
        }
        Ok(())
    }

    /// Binds one call: checks everything, compiles what is not compiled yet, allocates everything.
    ///
    /// `I` and `O` are anything that turns into an [`Operand`]: `&wgpu::Buffer`, `wgpu::BufferSlice`, or a range in
    /// elements. Lengths are equal; operands may be disjoint ranges of one buffer, at any element, and an output may
    /// occupy exactly the range of any input.
    ///
    /// # Errors
    /// All before a command is recorded. Arguments: [`Error::Missing`], [`Error::NothingWanted`], [`Error::Arity`],
    /// [`Error::Length`], [`Error::Alignment`], [`Error::Range`], [`Error::Usage`], [`Error::Overlap`]. The device:
    /// [`Error::Limit`], [`Error::OutOfMemory`]. The op: [`Error::Shader`]. What only wgpu can see, such as a buffer of
    /// another device: [`Error::Gpu`].
    pub fn bind<'a, 'o, I, O>(&self, args: impl IntoArgs<'o, I, O>) -> Result<Bound, Error>
    where
        I: Into<Operand<'a>>,
        O: Into<Operand<'a>>,
    {
        pollster::block_on(self.bind_async(args))
    }

    /// [`bind`](Kernels::bind) for the web, where wgpu answers later.
    ///
    /// # Errors
    /// As [`bind`](Kernels::bind).
    pub async fn bind_async<'a, 'o, I, O>(&self, args: impl IntoArgs<'o, I, O>) -> Result<Bound, Error>
    where
        I: Into<Operand<'a>>,
        O: Into<Operand<'a>>,
    {
        let args = args.into_args();
        let request = Request::new(&args.op.definition().clone(), args.reads, args.writes)?;
        let plan = request.plan(&self.limits)?;
        let pipeline = self.pipeline(args.op, request.outputs, plan.access, &plan.slots).await?;
        Bound::create(&self.device, &request, plan, pipeline).await
    }

    async fn pipeline(
        &self,
        op: &dyn Op,
        outputs: Outputs,
        access: Access,
        slots: &[Slot],
    ) -> Result<Arc<Pipeline>, Error> {
        let shader = shader::compose(op, outputs, access, slots);
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = cache().get(&shader.source) {
            return Ok(pipeline.clone());
        }
        // The lock is not held while compiling: two threads may compile the same kernel once each, never wait.
        let name = op.definition().name;
        #[cfg(not(target_arch = "wasm32"))]
        shader::check(name, &shader.source)?;
        let label = format!("elemgrad {name} {}", outputs.pass().name());
        let pipeline = Pipeline::create(&self.device, name, &label, &shader).await?;
        Ok(cache().entry(shader.source).or_insert_with(|| Arc::new(pipeline)).clone())
    }
}

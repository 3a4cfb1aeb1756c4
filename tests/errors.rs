//! Everything wrong is a typed error at bind, on wgpu's noop back end, which runs all of wgpu's validation.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use elemgrad::{
    Args, Choice, Error, IntoArgs, Op, Outputs, Runner,
    gpu::{Kernels, Operand},
    modulo::{self, Mod},
    op::Definition,
    spiky::{self, Spiky},
    wgpu::{self, BufferUsages},
};

struct Noop {
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    /// wgpu makes no encoder without it.
    _queue: wgpu::Queue,
    kernels: Kernels,
    /// Errors that reached the caller's handler: there must be none.
    uncaptured: Arc<AtomicUsize>,
}

impl Noop {
    fn new() -> Self {
        Self::limited(|_| {})
    }

    fn limited(change: impl FnOnce(&mut wgpu::Limits)) -> Self {
        let noop = wgpu::NoopBackendOptions::enabled();
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::NOOP,
            backend_options: wgpu::BackendOptions { noop, ..Default::default() },
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
        Self::on(adapter.expect("the noop adapter"), change)
    }

    fn on(adapter: wgpu::Adapter, change: impl FnOnce(&mut wgpu::Limits)) -> Self {
        let mut required_limits = wgpu::Limits::default();
        change(&mut required_limits);
        let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
        let uncaptured = Arc::new(AtomicUsize::new(0));
        let seen = uncaptured.clone();
        device.on_uncaptured_error(Arc::new(move |_| {
            seen.fetch_add(1, SeqCst);
        }));
        Self { adapter, kernels: Kernels::new(&device), device, _queue: queue, uncaptured }
    }

    /// A buffer of as many elements.
    fn buffer(&self, len: u64) -> wgpu::Buffer {
        self.bytes(4 * len, BufferUsages::STORAGE)
    }

    fn bytes(&self, size: u64, usage: BufferUsages) -> wgpu::Buffer {
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        self.device.create_buffer(&descriptor)
    }

    /// The error of a bind, which leaves an encoder that was begun before it fit for use, and handlers and scopes alone.
    fn error<'a, I, O>(&self, args: impl IntoArgs<'static, I, O>) -> Error
    where
        I: Into<Operand<'a>>,
        O: Into<Operand<'a>>,
    {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let error = self.kernels.bind(args).expect_err("bind must fail");
        let (x, z) = (self.buffer(4), self.buffer(4));
        if let Ok(right) = self.kernels.bind(spiky::Forward { x: &x, z: &z }) {
            right.encode(&mut encoder);
        }
        drop(encoder.finish());
        assert!(pollster::block_on(scope.pop()).is_none(), "the caller's scope saw an error of ours");
        assert_eq!(self.uncaptured.load(SeqCst), 0, "the caller's handler saw an error of ours");
        error
    }
}

/// The error is of the right kind and its message says what there is to say.
#[track_caller]
fn assert_error(error: &Error, kind: fn(&Error) -> bool, message: &str) {
    assert!(kind(error), "{error:?}");
    assert_eq!(error.to_string(), message);
}

#[test]
fn arguments_that_are_missing() {
    let noop = Noop::new();
    let buffer = noop.buffer(8);
    let b = || Some(&buffer);
    let call = |reads, writes| noop.error(Args { op: &Mod, reads, writes });
    let missing = |e: &Error| matches!(e, Error::Missing { .. });
    let z = noop.buffer(8);
    assert_error(
        &call(vec![b(), None, b()], vec![Some(&z), None, None]),
        missing,
        "mod: y is missing: the wanted outputs need it",
    );
    assert_error(
        &call(vec![b(), b(), None], vec![Some(&z), None, Some(&buffer)]),
        missing,
        "mod: dz is missing: the wanted outputs need it",
    );
    assert_error(
        &call(vec![b(), b(), b()], vec![None, None, None]),
        |e| matches!(e, Error::NothingWanted { .. }),
        "mod: no output is wanted: give at least one output to write",
    );
    // dx of mod is a copy of dz and needs nothing else.
    assert!(
        noop.kernels
            .bind(Args { op: &Mod, reads: vec![None, None, b()], writes: vec![None, Some(&z), None] })
            .is_ok()
    );
}

#[test]
fn arguments_of_the_wrong_number() {
    let noop = Noop::new();
    let buffer = noop.buffer(8);
    let b = || Some(&buffer);
    let arity = |e: &Error| matches!(e, Error::Arity { .. });
    for count in [0, 1, 3, 20] {
        assert_error(
            &noop.error(Args { op: &Spiky, reads: vec![b(); count], writes: vec![b(), None] }),
            arity,
            &format!("spiky: got {count} inputs, needs 2"),
        );
        assert_error(
            &noop.error(Args { op: &Spiky, reads: vec![b(), None], writes: vec![b(); count] }),
            arity,
            &format!("spiky: got {count} outputs, needs 2"),
        );
    }
}

#[test]
fn compiling_outputs_that_the_op_does_not_have() {
    let noop = Noop::new();
    let error = |outputs| noop.kernels.compile(&Spiky, outputs).expect_err("no such kernel");
    assert!(matches!(error(Outputs::NONE), Error::NothingWanted { .. }));
    assert_error(
        &error(Outputs::gradient(1)),
        |e| matches!(e, Error::Arity { .. }),
        "spiky: got 3 outputs, needs 2",
    );
}

#[test]
fn lengths_that_differ() {
    let noop = Noop::new();
    let (eight, nine) = (noop.buffer(8), noop.buffer(9));
    let length = |e: &Error| matches!(e, Error::Length { .. });
    assert_error(
        &noop.error(spiky::Forward { x: &eight, z: &nine }),
        length,
        "spiky: z has 9 elements, needs 8, as many as x",
    );
    let z = noop.buffer(9);
    assert_error(
        &noop.error(modulo::Forward { x: &nine, y: &eight, z: &z }),
        length,
        "mod: y has 8 elements, needs 9, as many as x",
    );
    // What is given is checked, though nothing that is wanted needs it.
    let error = noop.error(modulo::Backward { x: &eight, y: &eight, dz: &nine, dx: Some(&z), dy: None });
    assert_error(&error, length, "mod: dz has 9 elements, needs 8, as many as x");
}

#[test]
fn offsets_and_sizes_that_are_no_elements() {
    let noop = Noop::new();
    let (x, z) = (noop.buffer(8), noop.buffer(8));
    let alignment = |e: &Error| matches!(e, Error::Alignment { .. });
    for offset in 1..=3 {
        assert_error(
            &noop.error(spiky::Forward { x: x.slice(offset..offset + 16), z: z.slice(..16) }),
            alignment,
            &format!("spiky: x has a byte offset of {offset}, needs a multiple of 4, the size of an element"),
        );
        assert_error(
            &noop.error(spiky::Forward { x: x.slice(..16), z: z.slice(4..20 + offset) }),
            alignment,
            &format!(
                "spiky: z has a byte size of {}, needs a multiple of 4, the size of an element",
                16 + offset
            ),
        );
    }
}

#[test]
fn ranges_past_the_end() {
    let noop = Noop::new();
    let (x, z) = (noop.buffer(8), noop.buffer(8));
    let range = |e: &Error| matches!(e, Error::Range { .. });
    let error =
        |start, len| noop.error(spiky::Forward { x: Operand::new(&x, start, len), z: Operand::from(&z) });
    assert_error(&error(1, 8), range, "spiky: x is bytes 4..36 of a buffer of 32 bytes");
    assert_error(&error(9, 0), range, "spiky: x is bytes 36..36 of a buffer of 32 bytes");
    for (start, len) in [(u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX), (1 << 62, 8), (u64::MAX / 4, 2)]
    {
        assert!(range(&error(start, len)), "{start}, {len}");
    }
}

#[test]
fn buffers_without_the_usage() {
    let noop = Noop::new();
    let (storage, other) = (noop.buffer(8), noop.bytes(32, BufferUsages::UNIFORM | BufferUsages::COPY_DST));
    let message = |operand| {
        format!(
            "spiky: the buffer of {operand} has usages BufferUsages(COPY_DST | UNIFORM), needs BufferUsages(STORAGE)"
        )
    };
    let usage = |e: &Error| matches!(e, Error::Usage { .. });
    assert_error(&noop.error(spiky::Forward { x: &other, z: &storage }), usage, &message("x"));
    assert_error(&noop.error(spiky::Forward { x: &storage, z: &other }), usage, &message("z"));
}

#[test]
fn forbidden_overlaps() {
    let noop = Noop::new();
    let (arena, other) = (noop.buffer(100), noop.buffer(100));
    let at = |start| Operand::new(&arena, start, 10);
    let away = |start| Operand::new(&other, start, 10);
    let overlap = |error: &Error, argument, with| {
        let rest = "an output may occupy exactly the range of an input and must overlap nothing else";
        assert_error(
            error,
            |e| matches!(e, Error::Overlap { .. }),
            &format!("mod: {argument} overlaps {with}: {rest}"),
        );
    };
    for distance in 1..10 {
        // An output over a part of an input, from either side.
        overlap(&noop.error(modulo::Forward { x: at(20), y: away(0), z: at(20 + distance) }), "z", "x");
        overlap(&noop.error(modulo::Forward { x: away(0), y: at(20), z: at(20 - distance) }), "z", "y");
        // Exactly over one input and over a part of another.
        overlap(&noop.error(modulo::Forward { x: at(20), y: at(20 - distance), z: at(20) }), "z", "y");
    }
    // Outputs over each other: in part, wholly, and both in place over one input.
    let fused = |dz, z, dx, dy| {
        noop.error(modulo::Fused { x: away(0), y: away(10), dz, z, dx: Some(dx), dy: Some(dy) })
    };
    overlap(&fused(away(20), at(0), at(9), at(50)), "z", "dx");
    overlap(&fused(away(20), at(0), at(20), at(20)), "dx", "dy");
    overlap(&fused(at(40), at(40), at(20), at(40)), "z", "dy");
    // Next to each other, exactly in place, and inputs over each other are right.
    let right =
        modulo::Fused { x: at(0), y: at(5), dz: at(20), z: at(30), dx: Some(at(20)), dy: Some(at(40)) };
    assert!(noop.kernels.bind(right).is_ok());
}

#[test]
fn limits_of_the_device() {
    let limit = |e: &Error| matches!(e, Error::Limit { .. });
    let forward = |noop: &Noop, len| {
        let (x, z) = (noop.buffer(len), noop.buffer(len));
        noop.error(spiky::Forward { x: &x, z: &z })
    };
    let noop = Noop::limited(|l| l.max_storage_buffers_per_shader_stage = 1);
    let message = "spiky: the device's max_storage_buffers_per_shader_stage is 1, the kernel needs 2";
    assert_error(&forward(&noop, 8), limit, message);
    assert_error(&noop.kernels.compile(&Spiky, Outputs::Z).expect_err("too few"), limit, message);
    // In place one binding does.
    let buffer = noop.buffer(8);
    assert!(noop.kernels.bind(spiky::Forward { x: &buffer, z: &buffer }).is_ok());

    let noop = Noop::limited(|l| l.max_compute_invocations_per_workgroup = 64);
    let message = "spiky: the device's max_compute_invocations_per_workgroup is 64, the kernel needs 256";
    assert_error(&forward(&noop, 8), limit, message);
    assert_error(&noop.kernels.compile(&Spiky, Outputs::Z).expect_err("too few"), limit, message);

    let noop = Noop::limited(|l| l.max_compute_workgroup_size_x = 128);
    let message = "spiky: the device's max_compute_workgroup_size_x is 128, the kernel needs 256";
    assert_error(&forward(&noop, 8), limit, message);

    let noop = Noop::limited(|l| l.max_storage_buffer_binding_size = 4092);
    let message = "spiky: the device's max_storage_buffer_binding_size is 4092, the kernel needs 4096";
    assert_error(&forward(&noop, 5000), limit, message);

    let noop = Noop::limited(|l| l.max_compute_workgroups_per_dimension = 2);
    let message = "spiky: the device's max_compute_workgroups_per_dimension is 2, the kernel needs 3";
    assert_error(&forward(&noop, 4097), limit, message);
}

/// Limits so odd that wgpu alone sees them are an error all the same, and none of them a panic.
#[test]
fn no_limit_makes_a_panic() {
    let lower: [fn(&mut wgpu::Limits); 8] = [
        |l| l.max_bind_groups = 0,
        |l| l.max_bindings_per_bind_group = 1,
        |l| l.max_uniform_buffers_per_shader_stage = 0,
        |l| l.max_uniform_buffer_binding_size = 4,
        |l| l.max_buffer_size = 16,
        |l| l.max_storage_buffer_binding_size = 0,
        |l| l.max_compute_workgroups_per_dimension = 0,
        |l| l.max_compute_workgroup_size_x = 0,
    ];
    for lower in lower {
        let noop = Noop::limited(lower);
        let (x, z) = (noop.buffer(4), noop.buffer(4));
        let error = noop.error(spiky::Forward { x: &x, z: &z });
        assert!(matches!(error, Error::Limit { .. } | Error::Gpu { .. }), "{error:?}");
    }
}

#[test]
fn a_buffer_of_another_device() {
    let noop = Noop::new();
    let other = Noop::on(noop.adapter.clone(), |_| {});
    let (ours, foreign) = (noop.buffer(8), other.buffer(8));
    for error in [
        noop.error(spiky::Forward { x: &foreign, z: &ours }),
        noop.error(spiky::Forward { x: &ours, z: &foreign }),
    ] {
        assert!(
            matches!(&error, Error::Gpu { op, message } if op == "spiky" && !message.is_empty()),
            "{error:?}"
        );
    }
}

#[test]
fn a_destroyed_buffer() {
    let noop = Noop::new();
    let (x, z) = (noop.buffer(8), noop.buffer(8));
    x.destroy();
    let error = noop.error(spiky::Forward { x: &x, z: &z });
    assert!(matches!(&error, Error::Gpu { message, .. } if message.contains("destroyed")), "{error:?}");
}

#[test]
fn a_device_lost_before_bind() {
    let noop = Noop::new();
    let (x, z) = (noop.buffer(8), noop.buffer(8));
    noop.device.destroy();
    let error = noop.kernels.bind(spiky::Forward { x: &x, z: &z }).err();
    assert!(matches!(error, None | Some(Error::DeviceLost { .. })), "{error:?}");
    assert_eq!(noop.uncaptured.load(SeqCst), 0);
}

/// An op whose WGSL is given.
struct Broken(Definition);

impl Broken {
    fn new(functions: &'static [&'static str], z: &'static str) -> Self {
        Self(Definition { functions, z, lets: &[], ..Spiky.definition().clone() })
    }
}

impl Op for Broken {
    fn definition(&self) -> &Definition {
        &self.0
    }

    fn reference(&self, reads: &[f32], writes: &mut [f32]) {
        Spiky.reference(reads, writes);
    }
}

#[test]
fn a_shader_that_does_not_compile() {
    let noop = Noop::new();
    for (functions, z, says) in [
        (&["fn f(x: u32) -> u32 { return x }"][..], "f(x)", "expected"),
        (&["fn f(x: u32) -> u32 { return y; }"], "f(x)", "y"),
        (&["fn f(x: u32) -> f32 { return 1.0; }"], "f(x)", "type"),
        (&[], "g(x)", "g"),
        (&[], "x +", "expected"),
    ] {
        let op = Broken::new(functions, z);
        let error = noop.kernels.compile(&op, Outputs::Z).expect_err("no such kernel");
        let told = matches!(&error, Error::Shader { op, message } if op == "spiky" && message.contains(says));
        assert!(told, "{functions:?}, {z}: {error}");
        assert!(error.to_string().starts_with("spiky: the shader does not compile: "), "{error}");
    }
    assert_eq!(noop.uncaptured.load(SeqCst), 0);
}

#[test]
fn host_slices() {
    let (x, y, z) = ([1.0; 8], [1.0; 7], &mut [0.0; 8]);
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    for runner in [Runner::cpu(), Runner::reference(), Runner::on_device(&device, &queue)] {
        let error =
            runner.run(modulo::Forward { x: &x[..], y: &y[..], z: &mut *z }).expect_err("lengths differ");
        assert_eq!(error.to_string(), "mod: y has 7 elements, needs 8, as many as x");
        let error = runner.run(spiky::Forward { x: &y, z: &mut *z }).expect_err("lengths differ");
        assert_eq!(error.to_string(), "spiky: z has 8 elements, needs 7, as many as x");
        let error = runner.forward(&Mod, &[&x]).expect_err("y is missing");
        assert_eq!(error.to_string(), "mod: got 2 inputs, needs 3");
        let error = runner
            .run(Args {
                op: &Mod,
                reads: vec![Some(&x), None, None],
                writes: vec![Some(&mut *z), None, None],
            })
            .expect_err("y is missing");
        assert_eq!(error.to_string(), "mod: y is missing: the wanted outputs need it");
        let none: Vec<Option<&mut [f32]>> = vec![None, None];
        let error = runner.run(Args { op: &Spiky, reads: vec![Some(&x), None], writes: none });
        assert!(matches!(error, Err(Error::NothingWanted { .. })));
        let mut vec = vec![5.0];
        let error = runner.run(modulo::Forward { x: &x[..], y: &y[..], z: &mut vec });
        assert!(error.is_err() && vec == [5.0], "a call that is wrong touches nothing");
    }
}

#[test]
fn a_device_that_is_not_there() {
    let error = Runner::open(&Choice::Named("no such device".into())).expect_err("not found");
    let message = error.to_string();
    assert!(message.starts_with("no device matches 'no such device'; there is: "), "{message}");
}

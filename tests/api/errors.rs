//! Every mistake is a typed error at bind, on wgpu's noop back end, which runs all of wgpu's validation.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use elemgrad::{
    Args, Choice, DType, Error, IntoArgs, Layout, Op, Output, Outputs, Runner, View,
    gpu::{Kernels, Operand},
    half::{bf16, f16},
    ops::{self, modulo, spiky},
    signature::Signature,
    wgpu::{self, BufferUsages},
};

struct Noop {
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    /// wgpu makes no encoder without a queue.
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

    /// A buffer of `len` elements.
    fn buffer(&self, len: u64) -> wgpu::Buffer {
        self.bytes(4 * len, BufferUsages::STORAGE)
    }

    fn bytes(&self, size: u64, usage: BufferUsages) -> wgpu::Buffer {
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        self.device.create_buffer(&descriptor)
    }

    /// The error of a bind. An encoder begun before the bind stays usable, and handlers and scopes see nothing.
    fn error<'a>(&self, args: impl IntoArgs<'static, Operand<'a>, Operand<'a>>) -> Error {
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

/// A call on a storage type other than f32.
fn typed<'a>(
    dtype: DType,
    args: impl IntoArgs<'static, Operand<'a>, Operand<'a>>,
) -> Args<'static, Operand<'a>, Operand<'a>> {
    args.dtype(dtype)
}

/// Checks the kind of the error and its message.
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
    let call = |reads, writes| noop.error(Args::new(ops::modulo(), reads, writes));
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
            .bind(Args::new(ops::modulo(), vec![None, None, b()], vec![None, Some(&z), None]))
            .is_ok()
    );
}

#[test]
fn arguments_of_the_wrong_number() {
    let noop = Noop::new();
    let buffer = noop.buffer(8);
    let b = || Some(&buffer);
    let arity = |e: &Error| matches!(e, Error::Arity { .. });
    // The operands at the end may be left out: the upstream gradient and the mask; gradients.
    for (count, needs) in [(0, 1), (4, 3), (20, 3)] {
        assert_error(
            &noop.error(Args::new(ops::spiky(), vec![b(); count], vec![b(), None])),
            arity,
            &format!("spiky: got {count} inputs, needs {needs}"),
        );
    }
    for count in [4, 20] {
        assert_error(
            &noop.error(Args::new(ops::spiky(), vec![b(), None], vec![b(); count])),
            arity,
            &format!("spiky: got {count} outputs, needs 3"),
        );
    }
    let layout = Layout::strided(&[2, 4], &[1], 0);
    assert_error(
        &noop.error(spiky::Forward { x: Operand::from(&buffer).layout(layout), z: &buffer }),
        |e| matches!(e, Error::Strides { .. }),
        "spiky: the layout of x has 1 strides, needs 2, one for each axis",
    );
    // The same for the layouts of an output and of a mask.
    let layout = || Layout::strided(&[2, 4], &[4, 1, 1], 0);
    let z = noop.buffer(8);
    assert_error(
        &noop.error(spiky::Forward {
            x: Operand::from(&buffer).shape(&[2, 4]),
            z: Operand::from(&z).layout(layout()),
        }),
        |e| matches!(e, Error::Strides { .. }),
        "spiky: the layout of z has 3 strides, needs 2, one for each axis",
    );
}

#[test]
fn compiling_outputs_that_the_op_does_not_have() {
    let noop = Noop::new();
    let error =
        |outputs| noop.kernels.compile(ops::spiky(), outputs, DType::F32).expect_err("no such kernel");
    assert!(matches!(error(Outputs::NONE), Error::NothingWanted { .. }));
    assert_error(
        &error(Outputs::of(3)),
        |e| matches!(e, Error::Arity { .. }),
        "spiky: got 4 outputs, needs 3",
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
        "spiky: z has 9 elements, needs 8, as many as the broadcast inputs",
    );
    let z = noop.buffer(9);
    // A mask counts words.
    let (x, mask) = (noop.buffer(33), noop.buffer(1));
    assert_error(
        &noop.error(spiky::ForwardSaving { x: &x, z: &x, mask: &mask }),
        length,
        "spiky: mask has 1 elements, needs 2, as many as words of 32 bits for the broadcast inputs",
    );
    // An operand that is given is checked, even if no wanted output needs it.
    let error = noop.error(modulo::Backward { x: &eight, y: &eight, dz: &nine, dx: Some(&z), dy: None });
    assert_error(&error, length, "mod: dz has 9 elements, needs 8, as many as the broadcast inputs");
    // A gradient has the length of its own input, which need not be the length of the first input.
    let (y, z) = (noop.buffer(1), noop.buffer(8));
    let backward = modulo::Backward {
        x: Operand::from(&eight),
        y: Operand::from(&y).shape(&[]),
        dz: Operand::from(&z),
        dx: None,
        dy: Some(Operand::from(&nine)),
    };
    assert_error(&noop.error(backward), length, "mod: dy has 9 elements, needs 1, as many as y");
}

/// The bits of a mask are contiguous. A layout that says otherwise would be ignored, so it is an error.
#[test]
fn layouts_of_masks() {
    let noop = Noop::new();
    let [mask, dz, dx] = [2, 64, 64].map(|len| noop.buffer(len));
    let call = |layout: Layout| spiky::BackwardSaved {
        mask: Operand::from(&mask).layout(layout),
        dz: Operand::from(&dz).shape(&[8, 8]),
        dx: Operand::from(&dx),
    };
    assert!(noop.kernels.bind(call(Layout::contiguous(&[8, 8]))).is_ok());
    let rows = Layout::contiguous(&[8, 8]);
    for layout in [rows.transposed(), Layout::strided(&[8, 8], &[8, 1], 1), Layout::contiguous(&[2])] {
        let got = if layout.shape().len() == 1 { "(2,)" } else { "(8, 8)" };
        assert_error(
            &noop.error(call(layout)),
            |e| matches!(e, Error::Shape { .. }),
            &format!("spiky: mask has the shape {got}, which does not fit (8, 8) of z, contiguous"),
        );
    }
}

/// A layout that nothing is read from may begin anywhere.
#[test]
fn empty_layouts_at_any_offset() {
    let noop = Noop::new();
    let [x, z] = [noop.buffer(8), noop.buffer(8)];
    for offset in [9, i64::MAX as u64, u64::MAX] {
        for &dtype in DType::ALL {
            let empty = Layout::strided(&[0, 3], &[i64::MIN, 7], offset);
            let (x, z) = (Operand::new(&x, 2, 6).layout(empty), Operand::new(&z, 0, 0).shape(&[0, 3]));
            assert!(noop.kernels.bind(typed(dtype, spiky::Forward { x, z })).is_ok(), "{offset}");
        }
    }
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
    assert_error(
        &error(1, 8),
        range,
        "spiky: x is bytes 4..36 of a buffer of 32 bytes, which is bound in whole words of 4 bytes",
    );
    assert_error(
        &error(9, 0),
        range,
        "spiky: x is bytes 36..36 of a buffer of 32 bytes, which is bound in whole words of 4 bytes",
    );
    for (start, len) in [(u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX), (1 << 62, 8), (u64::MAX / 4, 2)]
    {
        assert!(range(&error(start, len)), "{start}, {len}");
    }
    // Three halves take two words.
    let halves = noop.bytes(6, BufferUsages::STORAGE);
    assert_error(
        &noop.error(typed(
            DType::F16,
            spiky::Forward { x: Operand::new(&halves, 0, 3), z: Operand::new(&z, 0, 3) },
        )),
        range,
        "spiky: x is bytes 0..6 of a buffer of 6 bytes, which is bound in whole words of 4 bytes",
    );
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
    let half = |x, y, z| noop.error(typed(DType::F16, modulo::Forward { x, y, z }));
    for distance in 1..10 {
        // An output that overlaps a part of an input, from either side.
        overlap(&noop.error(modulo::Forward { x: at(20), y: away(0), z: at(20 + distance) }), "z", "x");
        overlap(&noop.error(modulo::Forward { x: away(0), y: at(20), z: at(20 - distance) }), "z", "y");
        // An output exactly in place of one input that overlaps a part of another.
        overlap(&noop.error(modulo::Forward { x: at(20), y: at(20 - distance), z: at(20) }), "z", "y");
    }
    // Outputs that overlap each other: in part, wholly, and both in place of one input.
    let fused = |dz, z, dx, dy| {
        noop.error(modulo::Fused { x: away(0), y: away(10), dz, z, dx: Some(dx), dy: Some(dy) })
    };
    overlap(&fused(away(20), at(0), at(9), at(50)), "z", "dx");
    overlap(&fused(away(20), at(0), at(20), at(20)), "dx", "dy");
    overlap(&fused(at(40), at(40), at(20), at(40)), "z", "dy");
    // In 16 bits, the other half of a word counts as overlap too: a lane owns whole words.
    let some = |start, len| Operand::new(&arena, start, len);
    overlap(&half(away(0), some(25, 10), some(35, 10)), "z", "y");
    overlap(&half(some(35, 10), away(0), some(25, 10)), "z", "x");
    let two = |dx, dy| {
        typed(
            DType::Bf16,
            modulo::Backward { x: away(0), y: away(0), dz: away(0), dx: Some(dx), dy: Some(dy) },
        )
    };
    overlap(&noop.error(two(some(1, 10), some(11, 10))), "dx", "dy");
    assert!(noop.kernels.bind(two(some(1, 10), some(12, 10))).is_ok(), "words of their own");
    // An input with a layout other than the output's is not in place, whatever its range.
    let square = |layout: Layout| Operand::new(&arena, 20, 9).layout(layout);
    let rows = Layout::contiguous(&[3, 3]);
    let spiky = |layout| noop.kernels.bind(spiky::Forward { x: square(layout), z: square(rows.clone()) });
    assert!(matches!(spiky(rows.transposed()), Err(Error::Overlap { .. })));
    assert!(spiky(rows.clone()).is_ok());
    // Allowed: neighbours, exactly in place, and inputs that overlap each other.
    let right =
        modulo::Fused { x: at(0), y: at(5), dz: at(20), z: at(30), dx: Some(at(20)), dy: Some(at(40)) };
    assert!(noop.kernels.bind(right).is_ok());
}

#[test]
fn shapes_that_do_not_fit() {
    let noop = Noop::new();
    let buffers = [0; 5].map(|_| noop.buffer(12));
    let at = |i: usize, shape: &[u64]| Operand::new(&buffers[i], 0, shape.iter().product()).shape(shape);
    let call = |x: &[u64], y: &[u64], dz: &[u64], z: &[u64], dy: &[u64]| {
        let (reads, writes) = ([x, y, dz], [Some(z), None, Some(dy)]);
        let reads = (0..).zip(reads).map(|(i, shape)| Some(at(i, shape))).collect();
        let writes = (3..).zip(writes).map(|(i, shape)| Some(at(i.min(4), shape?))).collect();
        Args::new(ops::modulo(), reads, writes)
    };
    assert!(noop.kernels.bind(call(&[3, 4], &[4], &[3, 4], &[3, 4], &[4])).is_ok());
    let wrong = |args: Args<'static, _, _>, argument: &str, got: &str, need: &str| {
        let message = format!("mod: {argument} has the shape {got}, which does not fit {need}");
        assert_error(&noop.error(args), |e| matches!(e, Error::Shape { .. }), &message);
    };
    wrong(call(&[3, 4], &[3], &[3, 4], &[3, 4], &[3]), "y", "(3,)", "(3, 4) of x");
    wrong(call(&[3, 4], &[2, 1], &[3, 4], &[3, 4], &[2, 1]), "y", "(2, 1)", "(3, 4) of x");
    wrong(call(&[0], &[3], &[0], &[0], &[3]), "y", "(3,)", "(0,) of x");
    wrong(call(&[3, 4], &[4], &[4], &[3, 4], &[4]), "dz", "(4,)", "(3, 4) of z");
    wrong(call(&[3, 4], &[4], &[4, 3], &[3, 4], &[4]), "dz", "(4, 3)", "(3, 4) of z");
    wrong(call(&[3, 4], &[4], &[3, 4], &[12], &[4]), "z", "(12,)", "(3, 4) of the output, contiguous");
    wrong(call(&[3, 4], &[4], &[3, 4], &[3, 4], &[1, 4]), "dy", "(1, 4)", "(4,) of the output, contiguous");
}

#[test]
fn layouts_that_leave_their_range() {
    let noop = Noop::new();
    let (x, z) = (noop.buffer(12), noop.buffer(6));
    let call = |strides: &[i64], offset| spiky::Forward {
        x: Operand::from(&x).layout(Layout::strided(&[2, 3], strides, offset)),
        z: Operand::from(&z).shape(&[2, 3]),
    };
    for (strides, offset) in [([6, 2], 1), ([-6, 2], 6), ([0, 0], 11), ([-3, -1], 11)] {
        assert!(noop.kernels.bind(call(&strides, offset)).is_ok(), "{strides:?}");
    }
    for (strides, offset) in
        [([6, 2], 2), ([-6, 2], 5), ([0, 0], 12), ([i64::MAX, 1], 0), ([i64::MIN, 1], 0), ([1, 1], u64::MAX)]
    {
        let says = format!("strides {strides:?} and offset {offset} reach outside of them");
        let message = format!("spiky: x has 12 elements, and its shape (2, 3), {says}");
        assert_error(&noop.error(call(&strides, offset)), |e| matches!(e, Error::Layout { .. }), &message);
    }
}

#[test]
fn shapes_that_nobody_can_count() {
    let noop = Noop::new();
    let buffer = noop.buffer(4);
    let wide =
        |shape: &[u64]| Operand::new(&buffer, 0, 1).layout(Layout::strided(shape, &vec![0; shape.len()], 0));
    let many = |e: &Error| matches!(e, Error::TooMany { .. });
    let z = || Operand::new(&buffer, 1, 1);
    assert_error(
        &noop.error(modulo::Forward { x: wide(&[1 << 32, 1]), y: wide(&[1 << 31]), z: z() }),
        many,
        "mod: the shape (4294967296, 2147483648) has too many elements",
    );
    // A sum has fewer than 2^31 terms.
    let sum = |x: &[u64]| modulo::Backward {
        x: wide(x),
        y: wide(&[]),
        dz: wide(x),
        dx: None,
        dy: Some(z().shape(&[])),
    };
    assert!(noop.kernels.bind(sum(&[(1 << 31) - 1])).is_ok());
    assert_error(&noop.error(sum(&[1 << 31])), many, "mod: the shape (2147483648,) has too many elements");
}

#[test]
fn outputs_that_cannot_be_accumulated() {
    let noop = Noop::new();
    let [x, z, other] = [0; 3].map(|_| noop.buffer(8));
    let kind = |e: &Error| matches!(e, Error::Accumulate { .. });
    let says = "is not a gradient: only gradients can be accumulated";
    let added = || Operand::from(&z).accumulate();
    assert_error(&noop.error(spiky::Forward { x: &x, z: added() }), kind, &format!("spiky: z {says}"));
    let saving = spiky::ForwardSaving { x: &x, z: &other, mask: Operand::new(&z, 0, 1).accumulate() };
    let q = modulo::DivMod { x: &x, y: &x, z: None, q: added() };
    assert_error(&noop.error(saving), kind, &format!("spiky: mask {says}"));
    assert_error(&noop.error(q), kind, &format!("mod: q {says}"));
    assert!(noop.kernels.bind(spiky::Backward { x: &x, dz: &x, dx: added() }).is_ok());
}

/// One lane cannot own words that begin at even and at odd elements, and neither dispatch can run first.
#[test]
fn outputs_in_place_at_even_and_at_odd_elements() {
    let noop = Noop::new();
    let buffers = [0; 3].map(|_| noop.buffer(8));
    let at = |i: usize, start| Operand::new(&buffers[i], start, 9);
    // `swapped`: each output is in place of an input that the other output needs. `own`: dx is in place of dz, which
    // only dx needs, so dx is written first.
    let swapped = |x, dz| spiky::Fused { x: at(0, x), dz: at(1, dz), z: at(1, dz), dx: at(0, x) };
    let own = |x, dz| spiky::Fused { x: at(0, x), dz: at(1, dz), z: at(0, x), dx: at(1, dz) };
    for dtype in [DType::F16, DType::Bf16] {
        for (x, dz, first, second) in [(0, 1, "dx", "z"), (3, 2, "z", "dx")] {
            let message = format!(
                "spiky: {first} and {second} start in different halves of a word, and both are written in place: \
                 move one by one element"
            );
            assert_error(
                &noop.error(typed(dtype, swapped(x, dz))),
                |e| matches!(e, Error::InPlace { .. }),
                &message,
            );
            let bound = noop.kernels.bind(typed(dtype, own(x, dz))).expect("dx can be first");
            assert_eq!(bound.dispatches(), 2);
        }
        let bound = noop.kernels.bind(typed(dtype, swapped(1, 3))).expect("both start within words");
        assert_eq!(bound.dispatches(), 1);
    }
}

/// Layouts for which the windows that the device binds would be absurdly small.
#[test]
fn layouts_that_need_a_copy() {
    let noop = Noop::limited(|l| l.max_storage_buffer_binding_size = 1 << 16);
    let (x, z) = (noop.buffer(1 << 20), noop.buffer(1 << 20));
    let call = |layout: Layout| spiky::Forward {
        z: Operand::from(&z).shape(layout.shape()),
        x: Operand::from(&x).layout(layout),
    };
    let rows = Layout::contiguous(&[1 << 10, 1 << 10]);
    assert!(noop.kernels.bind(call(rows.clone())).is_ok());
    assert_error(
        &noop.error(call(rows.transposed())),
        |e| matches!(e, Error::NeedsCopy { .. }),
        "spiky: x is too large for one binding of 65536 bytes, and its strides would force tiny \
         dispatches: make it contiguous first",
    );
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
    assert_error(
        &noop.kernels.compile(ops::spiky(), Outputs::Z, DType::F32).expect_err("too few"),
        limit,
        message,
    );
    // In place, one binding is enough.
    let buffer = noop.buffer(8);
    assert!(noop.kernels.bind(spiky::Forward { x: &buffer, z: &buffer }).is_ok());

    let noop = Noop::limited(|l| l.max_compute_invocations_per_workgroup = 64);
    let message = "spiky: the device's max_compute_invocations_per_workgroup is 64, the kernel needs 256";
    assert_error(&forward(&noop, 8), limit, message);
    assert_error(
        &noop.kernels.compile(ops::spiky(), Outputs::Z, DType::F32).expect_err("too few"),
        limit,
        message,
    );

    let noop = Noop::limited(|l| l.max_compute_workgroup_size_x = 128);
    let message = "spiky: the device's max_compute_workgroup_size_x is 128, the kernel needs 256";
    assert_error(&forward(&noop, 8), limit, message);

    let noop = Noop::limited(|l| l.max_storage_buffer_binding_size = 4092);
    let message = "spiky: the device's max_storage_buffer_binding_size is 4092, the kernel needs 4096";
    assert_error(&forward(&noop, 50_000), limit, message);

    let noop = Noop::limited(|l| l.max_compute_workgroups_per_dimension = 2);
    let message = "spiky: the device's max_compute_workgroups_per_dimension is 2, the kernel needs 3";
    assert_error(&forward(&noop, 4097), limit, message);
}

/// Limits so odd that only wgpu sees them are errors too. None of them causes a panic.
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

/// An op with the given WGSL.
fn broken(functions: &[&'static str], z: &str) -> Result<Op, Error> {
    let signature = Signature::builder("spiky", ["x"]).z(z, "").gradient("x", "dz", "");
    let signature = functions.iter().fold(signature, |all, function| all.function(*function)).build()?;
    Op::raw(signature, |_, _, _| {})
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
        let compiled = broken(functions, z).and_then(|op| noop.kernels.compile(&op, Outputs::Z, DType::F32));
        let error = compiled.expect_err("no such kernel");
        let told = matches!(&error, Error::Shader { op, message } if op == "spiky" && message.contains(says));
        assert!(told, "{functions:?}, {z}: {error}");
        assert!(error.to_string().starts_with("spiky: the shader does not compile: "), "{error}");
    }
    // Texts too deep for a compiler that recurses. A stack overflow cannot be caught as an error.
    let chain = |link: &str, count| format!("x{}", link.repeat(count));
    let nested = |count| format!("{}x{}", "(".repeat(count), ")".repeat(count));
    let branches = |count| {
        format!(
            "fn f(x: u32) -> u32 {{ if (x == 0u) {{ }} {} return x; }}",
            "else if (x == 1u) { } ".repeat(count)
        )
    };
    for (text, z, says) in [
        (String::new(), chain(" + x", 10_000), "nests"),
        (String::new(), chain(".x[0]", 5000), "nests"),
        (String::new(), nested(5000), "nests"),
        (String::new(), "-".repeat(5000) + "x", "nests"),
        (branches(2000), "f(x)".into(), "nests"),
        (branches(2000).replace("else", "/* } */ else"), "f(x)".into(), "nests"),
        (format!("// {}\n", "long ".repeat(220_000)), "x".into(), "bytes"),
    ] {
        let error = broken(&[text.leak()], &z).expect_err("too much");
        assert!(matches!(&error, Error::Shader { message, .. } if message.contains(says)), "{error}");
    }
    for (text, z) in [
        (String::new(), chain(" + x", 120)),
        (String::new(), nested(120)),
        (branches(15), "f(x)".into()),
        // Comments and statements in sequence are not deep.
        (format!("// {}\n/* {} */ const A = 1u;\n", "((".repeat(500), "/* ( */".repeat(100)), "x".into()),
        (
            format!("fn f(y: u32) -> u32 {{ var x = y; {} return x; }}", "x += x * 2u; ".repeat(1000)),
            "f(x)".into(),
        ),
    ] {
        let op = broken(&[text.leak()], &z);
        let compiled = op.and_then(|op| noop.kernels.compile(&op, Outputs::Z, DType::F32));
        compiled.expect("no more than there may be");
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
        assert_eq!(error.to_string(), "mod: y has the shape (7,), which does not fit (8,) of x");
        let error = runner.run(spiky::Forward { x: &y, z: &mut *z }).expect_err("lengths differ");
        assert_eq!(error.to_string(), "spiky: z has 8 elements, needs 7, as many as the broadcast inputs");
        let error = runner.forward(ops::modulo(), &[&x]).expect_err("y is missing");
        assert_eq!(error.to_string(), "mod: y is missing: the wanted outputs need it");
        let error = runner
            .run(Args::new(ops::modulo(), vec![Some(&x), None, None], vec![Some(&mut *z), None, None]))
            .expect_err("y is missing");
        assert_eq!(error.to_string(), "mod: y is missing: the wanted outputs need it");
        let none: Vec<Option<&mut [f32]>> = vec![None, None];
        let error = runner.run(Args::new(ops::spiky(), vec![Some(&x), None], none));
        assert!(matches!(error, Err(Error::NothingWanted { .. })));
        let message = |got: &str, need: &str, argument: &str| {
            format!("mod: {argument} holds {got}, needs {need}: every operand of a call has one storage type")
        };
        let (half, brain) = ([f16::ONE; 8], [bf16::ONE; 8]);
        let error = runner.run(modulo::Forward { x: View::from(&x), y: &half, z: Output::from(&mut *z) });
        assert_eq!(error.expect_err("two types").to_string(), message("f16", "f32", "y"));
        let error = runner.run(modulo::Forward { x: View::from(&half), y: &half, z: Output::from(&mut *z) });
        assert_eq!(error.expect_err("two types").to_string(), message("f32", "f16", "z"));
        let mut out = [bf16::ONE; 8];
        let args: Args<View, Output> =
            modulo::Forward { x: &brain, y: &brain, z: &mut out }.dtype(DType::F16);
        let error = runner.run(args).expect_err("not what was said");
        assert_eq!(error.to_string(), message("bf16", "f16", "x"));
        let words = [0_u32; 8];
        let error =
            runner.run(modulo::Forward { x: View::from(&x), y: &words[..], z: Output::from(&mut *z) });
        assert_eq!(error.expect_err("a mask").to_string(), message("words of a mask (u32)", "f32", "y"));
        let mut vec = vec![5.0];
        let error = runner.run(modulo::Forward { x: &x[..], y: &y[..], z: &mut vec });
        assert!(error.is_err() && vec == [5.0], "a call that is wrong touches nothing");
    }
}

#[test]
fn a_device_that_is_not_there() {
    let error = Runner::open(&Choice::Named("no such device".into())).expect_err("not found");
    let message = error.to_string();
    assert!(message.starts_with("no device matches 'no such device'; found: "), "{message}");
}

/// A shape must have as many elements as its operand.
#[test]
fn a_shape_of_another_length() {
    let (x, mut z) = ([1.0_f32; 7], [0.0_f32; 6]);
    let error = Runner::cpu().run(spiky::Forward { x: View::from(&x).shape(&[2, 3]), z: &mut z });
    let error = error.expect_err("7 elements are not 6");
    assert_eq!(error.to_string(), "spiky: x has 7 elements, needs 6, as many as its shape has");
    let noop = Noop::new();
    let (x, z) = (noop.buffer(7), noop.buffer(6));
    let x = elemgrad::gpu::Operand::from(&x).shape(&[2, 3]);
    let error = noop.kernels.bind(spiky::Forward { x, z: &z }).expect_err("7 elements are not 6");
    assert!(matches!(error, Error::Length { got: 7, need: 6, .. }), "{error}");
}

/// If the host lacks memory, the error names the output that the memory was for.
#[test]
fn memory_that_the_host_lacks() {
    let (x, mut z) = ([1.0_f32], Vec::<f32>::new());
    let many = Layout::strided(&[1 << 60], &[0], 0);
    let error = Runner::cpu().run(spiky::Forward { x: View::from(&x).layout(many), z: &mut z });
    let error = error.expect_err("4 EiB");
    assert!(matches!(&error, Error::HostMemory { argument, .. } if argument == "z"), "{error}");
    assert!(z.is_empty());
}

/// Literals of different lengths broadcast. A gradient that is not wanted needs no type.
#[test]
fn operands_have_types_of_their_own() -> Result<(), Error> {
    let (mut z, mut dy) = (Vec::<f32>::new(), vec![0.0_f32]);
    let runner = Runner::cpu();
    runner.run(modulo::Forward { x: &[1.0, 2.0, 3.0], y: &[2.0], z: &mut z })?;
    assert_eq!(z, [1.0, 0.0, 1.0]);
    let dz = vec![1.0; 3];
    runner.run(modulo::Backward { x: &[1.0, 2.0, 5.0], y: &[2.0], dz: &dz, dx: None, dy: Some(&mut dy) })?;
    assert_eq!(dy, [-3.0]);
    runner.run(modulo::DivMod { x: &[7.0, 8.0], y: &[2.0], z: None, q: &mut z })?;
    assert_eq!(z, [3.0, 4.0]);
    Ok(())
}

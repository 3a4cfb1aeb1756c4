//! Kernels against the scalar reference on every adapter that wgpu finds: one trial per adapter and case.

use std::{
    future::Future,
    ops::ControlFlow,
    pin::pin,
    process::Command,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::{Duration, Instant},
};

use crate::common::{
    Draw, LENGTHS, Table, bits,
    calls::{Call, Place, draw_call, shuffle},
    compare, drawn, drawn_from, floats, in_every_type, is_full, output_sets, tables_for_calls, vectors,
};
use elemgrad::{
    Args, Choice, DType, Error, IntoArgs, Layout, Op, Output, Outputs, Pass, Runner, View,
    check::{Data, Inputs, verify},
    gpu::{Bound, Kernels, Operand},
    ops::{
        self, modulo,
        spiky::{self, MASK},
    },
    signature::{Signature, SignatureBuilder},
    wgpu,
};
use libtest_mimic::{Completion, Failed, Trial};

type Case = fn(&wgpu::Adapter) -> Result<Completion, Failed>;

const CASES: [(&str, Case); 33] = [
    ("vectors", |a| done(vectors_in_every_set_of_outputs(a))),
    ("drawn", |a| done(drawn_rows(a))),
    ("lengths", |a| done(lengths(a))),
    ("offsets", |a| done(offsets(a))),
    ("masks", |a| done(masks(a))),
    ("drawn_calls", |a| done(drawn_calls(a))),
    ("drawn_calls_in_windows", |a| done(drawn_calls_in_windows(a))),
    ("drawn_calls_on_the_host", |a| done(drawn_calls_on_the_host(a))),
    ("sums", |a| done(sums(a))),
    ("in_place", |a| done(in_place(a))),
    ("arenas", |a| done(arenas(a))),
    ("overlapping_inputs", |a| done(overlapping_inputs(a))),
    ("windows", |a| done(windows(a))),
    ("two_dimensional_grid", |a| done(two_dimensional_grid(a))),
    ("more_than_65535_workgroups", more_than_65535_workgroups),
    ("recorded_again", |a| done(recorded_again(a))),
    ("drawn_calls_recorded_again", |a| done(drawn_calls_recorded_again(a))),
    ("pipeline_cache", pipeline_cache),
    ("between_other_passes", |a| done(between_other_passes(a))),
    ("sum", |a| done(sum(a))),
    ("storage_types", |a| done(storage_types(a))),
    ("naive_formula_is_seen", |a| done(naive_formula_is_seen(a))),
    ("streaming", |a| done(streaming(a))),
    ("any_executor", |a| done(any_executor(a))),
    ("two_threads", |a| done(two_threads(a))),
    ("owner_polls_too", |a| done(owner_polls_too(a))),
    ("probes", |a| done(probes(a))),
    ("name_finds_the_adapter", |a| done(name_finds_the_adapter(a))),
    ("stray_error_is_no_loss", |a| done(stray_error_is_no_loss(a))),
    ("borrowed_device_keeps_its_handlers", |a| done(borrowed_device_keeps_its_handlers(a))),
    ("lost_device", |a| done(lost_device(a))),
    ("lost_in_the_middle", |a| done(lost_in_the_middle(a))),
    ("auto_falls_back_to_the_cpu", |a| done(auto_falls_back_to_the_cpu(a))),
];

pub(crate) fn on_adapter(name: &str, adapter: &wgpu::Adapter) -> Vec<Trial> {
    let trial = |(case, run): (&str, Case)| {
        let adapter = adapter.clone();
        Trial::ignorable_test(format!("{name}: {case}"), move || run(&adapter))
    };
    CASES.map(trial).into()
}

fn done(result: Result<(), String>) -> Result<Completion, Failed> {
    Ok(result.map(|()| Completion::Completed)?)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

// A device and calls on it.

struct Gpu {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    kernels: Kernels,
}

impl Gpu {
    fn open(adapter: &wgpu::Adapter) -> Self {
        Self::limited(adapter, |_| {})
    }

    /// A device of its own, with some limits lower than the adapter's.
    fn limited(adapter: &wgpu::Adapter, lower: impl FnOnce(&mut wgpu::Limits)) -> Self {
        let mut required_limits = adapter.limits();
        lower(&mut required_limits);
        let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).expect("an adapter gives a device");
        Self { name: adapter.get_info().name, kernels: Kernels::new(&device), device, queue }
    }

    fn buffer(&self, words: &[u32]) -> wgpu::Buffer {
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: (words.len() * 4) as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        });
        buffer
            .get_mapped_range_mut(..)
            .expect("mapped at creation")
            .copy_from_slice(bytemuck::cast_slice(words));
        buffer.unmap();
        buffer
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Vec<u32> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: buffer.size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.submit(|encoder| encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size()));
        staging.map_async(wgpu::MapMode::Read, .., |result| result.expect("a buffer can be read"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device answers");
        bytemuck::cast_slice(&staging.get_mapped_range(..).expect("mapped")).to_vec()
    }

    fn submit(&self, record: impl FnOnce(&mut wgpu::CommandEncoder)) {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        record(&mut encoder);
        self.queue.submit([encoder.finish()]);
    }
}

impl Gpu {
    /// Binds a call.
    fn bind(&self, call: &Call, buffers: &[wgpu::Buffer]) -> Result<Bound, Error> {
        let operand = |place: &Place, unsaid: &Layout| {
            let operand = Operand::new(&buffers[place.buffer], place.start as u64, place.len() as u64);
            match place.said(unsaid) {
                Some(layout) => operand.layout(layout),
                None => operand,
            }
        };
        let signature = call.op().signature();
        let contiguous = Layout::contiguous(&call.shape());
        // Without inputs, dz gives the shape.
        let has_shape = call.reads[..signature.upstream()].iter().any(Option::is_some);
        let reads = call.reads.iter().enumerate().map(|(i, place)| {
            let place = place.as_ref()?;
            let line = Layout::contiguous(&[place.len() as u64]);
            Some(match i {
                _ if i < signature.upstream() => operand(place, &line),
                _ if i == signature.upstream() && has_shape => operand(place, &contiguous),
                _ if i == signature.upstream() => operand(place, &line),
                _ => Operand::new(&buffers[place.buffer], place.start as u64, place.len() as u64),
            })
        });
        let writes = call.writes.iter().enumerate().map(|(w, place)| {
            let place = place.as_ref()?;
            let is_mask = signature.mask() == Some(w);
            let operand = if is_mask {
                Operand::new(&buffers[place.buffer], place.start as u64, place.len() as u64)
            } else {
                operand(place, &place.layout)
            };
            Some(if call.added.contains(w) { operand.accumulate() } else { operand })
        });
        let mut args = Args::new(call.op(), reads.collect(), writes.collect());
        args.dtype = Some(call.dtype());
        self.kernels.bind(args)
    }

    /// Binds and records the call, and compares every word of every buffer.
    fn check(&self, call: &Call) -> Result<(), String> {
        let buffers: Vec<_> = call.images().iter().map(|image| self.buffer(image)).collect();
        let bound = match self.bind(call, &buffers) {
            Err(Error::InPlace { .. }) if call.has_no_order() => return Ok(()),
            Ok(_) if call.has_no_order() => {
                return Err(format!("{}: bound in no order: {call:?}", self.name));
            }
            bound => bound.map_err(|e| format!("{}: {e}: {call:?}", self.name))?,
        };
        self.submit(|encoder| bound.encode(encoder));
        call.compare(&self.name, &buffers.iter().map(|buffer| self.read(buffer)).collect::<Vec<_>>())
    }
}

// Bits, wherever the operands are.

/// Rows of every op in every storage type.
fn tables(len: usize, seed: u64) -> Vec<Table> {
    in_every_type().map(|(op, dtype)| drawn(op, dtype, len, seed)).collect()
}

fn all_outputs(op: &Op) -> Outputs {
    op.signature().all_outputs(Pass::Fused)
}

fn vectors_in_every_set_of_outputs(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    for table in DType::ALL.iter().flat_map(|dtype| vectors(*dtype)) {
        for outputs in output_sets(table.op) {
            // Both kernels: by vec4, and by word.
            for (len, start) in [(table.len() / 4 * 4, 0), (table.len(), 1)] {
                gpu.check(&Call::apart(&table, len, outputs, |_| start))?;
            }
        }
    }
    Ok(())
}

fn drawn_rows(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    for table in tables(1 << 19, 11) {
        gpu.check(&Call::apart(&table, table.len(), all_outputs(table.op), |_| 0))?;
    }
    Ok(())
}

fn lengths(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    for table in tables(5000, 12) {
        for outputs in output_sets(table.op) {
            for len in LENGTHS {
                for start in [4, 5] {
                    gpu.check(&Call::apart(&table, len, outputs, |_| start))?;
                }
            }
        }
        // Outputs that begin at even and at odd elements, in one call.
        for len in LENGTHS {
            gpu.check(&Call::apart(&table, len, all_outputs(table.op), |i| i))?;
        }
    }
    Ok(())
}

/// Every element offset over more than one alignment, with operands out of step with each other.
fn offsets(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    for table in tables(1100, 13) {
        let all = all_outputs(table.op);
        for offset in 0..=70 {
            gpu.check(&Call::apart(&table, 1100, all, |_| offset))?;
            gpu.check(&Call::apart(&table, 1021, all, |i| (offset * (i + 1) + 13 * i) % 71))?;
        }
    }
    Ok(())
}

/// The mask that forward saves, and backward from any mask, with unused bits that are not zero.
fn masks(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    let dx = Outputs::gradient(0);
    for &dtype in DType::ALL {
        let table = drawn(ops::spiky(), dtype, 5000, 31);
        for len in LENGTHS.into_iter().chain([31, 32, 33, 63, 64, 65, 1055, 1056, 1057]) {
            for start in [0, 1, 3] {
                let mut saving = Call::apart(&table, len, Outputs::Z | MASK, |i| start * (i + 1));
                gpu.check(&saving)?;
                // z in place of x, since backward needs no x.
                saving.writes[0].clone_from(&saving.reads[0]);
                gpu.check(&saving)?;
                let mut backward = Call::backward_from(&table, len, dx, true, |i| start * (i + 1));
                gpu.check(&backward)?;
                backward.added = dx;
                gpu.check(&backward)?;
                backward.writes[1].clone_from(&backward.reads[1]);
                gpu.check(&backward)?;
            }
        }
        // All in one: backward takes what forward saves.
        let (x, dz, len) =
            (gpu.buffer(&packed(dtype, &table.reads[0])), gpu.buffer(&packed(dtype, &table.reads[1])), 4999);
        let (mask, dx) = (gpu.buffer(&[!0; 157]), gpu.buffer(&vec![!0; 5000]));
        let [x, dz, dx_range] = [&x, &dz, &dx].map(|buffer| Operand::new(buffer, 0, len));
        let forward = spiky::ForwardSaving { x: x.clone(), z: x, mask: &mask };
        let backward = spiky::BackwardSaved { mask: &mask, dz, dx: dx_range };
        let [forward, backward] =
            [typed(dtype, forward), typed(dtype, backward)].map(|call| gpu.kernels.bind(call));
        let (forward, backward) = (forward.map_err(text)?, backward.map_err(text)?);
        gpu.submit(|encoder| {
            forward.encode(encoder);
            backward.encode(encoder);
        });
        let got: Vec<u32> = (0..len as usize).map(|i| unpacked(dtype, &gpu.read(&dx)[..], i)).collect();
        compare(&gpu.name, ops::spiky(), 1, &table.rows(), &got, &table.writes[1][..len as usize])?;
    }
    Ok(())
}

/// A call on a storage type other than f32.
fn typed<'a>(
    dtype: DType,
    args: impl IntoArgs<'static, Operand<'a>, Operand<'a>>,
) -> Args<'static, Operand<'a>, Operand<'a>> {
    args.dtype(dtype)
}

/// The words of a buffer.
fn packed(dtype: DType, column: &[u32]) -> Vec<u32> {
    match dtype {
        DType::F32 => column.to_vec(),
        _ => column.chunks(2).map(|pair| pair[0] | pair.get(1).unwrap_or(&0) << 16).collect(),
    }
}

fn unpacked(dtype: DType, words: &[u32], i: usize) -> u32 {
    match dtype {
        DType::F32 => words[i],
        _ => words[i / 2] >> (i % 2 * 16) & 0xffff,
    }
}

/// Ways to put wanted outputs in place of inputs, with at most one output per input.
fn in_place(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    let mut turn = 0;
    for table in tables(2048, 14) {
        let op = table.op;
        let (reads, writes) = (op.signature().upstream() + 1, op.signature().write_count());
        for outputs in
            output_sets(op).into_iter().filter(|set| set.iter().count() <= 2 || *set == all_outputs(op))
        {
            for choice in 0..(reads + 1).pow(writes as u32) {
                // Digit `w` of `choice` is the read that write `w` replaces. A digit past the last read means none.
                let over = |w: usize| choice / (reads + 1).pow(w as u32) % (reads + 1);
                let chosen: Vec<_> = (0..writes).map(over).filter(|r| *r < reads).collect();
                let unique = (1..chosen.len()).all(|i| !chosen[..i].contains(&chosen[i]));
                let needed = op.signature().reads_for(outputs, false);
                let wanted =
                    (0..writes).all(|w| over(w) == reads || outputs.contains(w) && needed.contains(&over(w)));
                let mask = op.signature().mask();
                if !unique || !wanted || mask.is_some_and(|w| over(w) < reads) {
                    continue;
                }
                // There are many choices, and each needs a kernel or two, so the types take turns.
                if outputs.iter().count() > 1 && choice % 3 != table.dtype as usize {
                    continue;
                }
                for (len, start) in [(2048, 0), (1027, 3)] {
                    // Vector kernels and operands that begin within words take turns too.
                    turn += 1;
                    if !is_full() && turn % 4 != 0 {
                        continue;
                    }
                    let mut call = Call::apart(&table, len, outputs, |i| start * (i + 1));
                    for w in (0..writes).filter(|w| over(*w) < reads) {
                        call.writes[w].clone_from(&call.reads[over(w)]);
                    }
                    gpu.check(&call)?;
                }
            }
        }
    }
    Ok(())
}

/// Calls of any kind.
fn drawn_calls(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    let tables = tables_for_calls(20_000, 15);
    let mut draw = Draw::new(15);
    (0..drawn_count()).try_for_each(|_| gpu.check(&draw_call(&mut draw, &tables)))
}

/// The number of calls that a trial draws. Many calls need kernels of their own.
fn drawn_count() -> usize {
    if is_full() { 180 } else { 60 }
}

/// Calls of any kind, split by a small binding limit.
fn drawn_calls_in_windows(adapter: &wgpu::Adapter) -> Result<(), String> {
    let tables = tables_for_calls(20_000, 32);
    let mut draw = Draw::new(32);
    let mut dispatches = [0; 3];
    let count = drawn_count();
    for size in [1 << 13, 1 << 14] {
        let gpu = Gpu::limited(adapter, |limits| {
            limits.max_storage_buffer_binding_size = size;
            limits.min_storage_buffer_offset_alignment = 256;
        });
        for _ in 0..count / 2 {
            let call = draw_call(&mut draw, &tables);
            let buffers: Vec<_> = call.images().iter().map(|image| gpu.buffer(image)).collect();
            match gpu.bind(&call, &buffers) {
                // An elementwise call on contiguous operands never needs a copy.
                Err(Error::NeedsCopy { .. }) if !call.is_plain() => dispatches[0] += 1,
                Ok(bound) => {
                    dispatches[if bound.dispatches() > 3 { 2 } else { 1 }] += 1;
                    gpu.check(&call)?;
                }
                Err(_) => gpu.check(&call)?,
            }
        }
    }
    let [refused, few, many] = dispatches;
    if many < count / 20 || refused > count / 10 {
        return Err(format!("{refused} calls need a copy, {few} take few dispatches, {many} take many"));
    }
    Ok(())
}

/// Calls of any kind on host memory, in one window and in many.
fn drawn_calls_on_the_host(adapter: &wgpu::Adapter) -> Result<(), String> {
    // The elements of a window, and the windows in flight at once.
    const WINDOW: u64 = 2048;
    const RING: u64 = 3;
    let gpu = Gpu::limited(adapter, |limits| limits.max_storage_buffer_binding_size = 4 * WINDOW);
    let tables = tables_for_calls(20_000, 33);
    let mut draw = Draw::new(33);
    let count = drawn_count();
    let mut longer_than_the_ring = 0;
    for runner in [Runner::on_adapter(adapter).map_err(text)?, Runner::on_device(&gpu.device, &gpu.queue)] {
        for _ in 0..count / 3 {
            let call = draw_call(&mut draw, &tables);
            call.check_on_host(&runner)?;
            let streams = call.outputs.iter().any(|w| !call.is_sum(w));
            let windows = call.shape().iter().product::<u64>().div_ceil(WINDOW);
            longer_than_the_ring += usize::from(streams && windows > RING);
        }
    }
    assert!(longer_than_the_ring > 0, "no call of {} has windows to wait for", 2 * (count / 3));
    Ok(())
}

/// Gradients of broadcast inputs, in every form, over several levels of the tree, under any binding limit.
fn sums(adapter: &wgpu::Adapter) -> Result<(), String> {
    const SHAPES: [[&[u64]; 2]; 9] = [
        [&[100_000], &[]],
        [&[300, 400], &[400]],
        [&[30, 4000], &[30, 1]],
        [&[4001, 30], &[1, 30]],
        [&[30, 4001], &[30, 1]],
        [&[7, 30, 500], &[30, 1]],
        [&[20, 3, 700], &[20, 1, 700]],
        [&[40_000, 1], &[1, 3]],
        [&[3, 1], &[1, 10_000]],
    ];
    let tables = [DType::F32, DType::F16, DType::Bf16]
        .map(|dtype| drawn_from(Data::Ordinary, ops::modulo(), dtype, 120_000, 34));
    for limit in [1 << 16, 1 << 18, adapter.limits().max_storage_buffer_binding_size] {
        let gpu = Gpu::limited(adapter, |limits| limits.max_storage_buffer_binding_size = limit);
        for (turn, shapes) in SHAPES.iter().enumerate() {
            let table = &tables[turn % 3];
            let mut call = Call::apart(table, 0, all_outputs(ops::modulo()), |i| i * turn);
            let [x, y] = shapes.map(Layout::contiguous);
            let lay = |places: &mut [Option<Place>], i: usize, layout: &Layout| {
                places[i].as_mut().expect("every operand has a place").layout = layout.clone();
            };
            lay(&mut call.reads, 0, &x);
            lay(&mut call.reads, 1, &y);
            let z = Layout::contiguous(&call.shape());
            lay(&mut call.reads, 2, &z);
            for (w, layout) in [&z, &x, &y, &z].into_iter().enumerate() {
                lay(&mut call.writes, w, layout);
            }
            gpu.check(&call)?;
        }
        long_sums(&gpu)?;
    }
    Ok(())
}

/// Sums of so many terms that workgroups also add partial sums, up to three levels. A few numbers repeat over and
/// over.
fn long_sums(gpu: &Gpu) -> Result<(), String> {
    const SHAPES: [([u64; 3], [i64; 3], &[u64]); 3] = [
        ([1, 1000, 1000], [0, 0, 1], &[]),
        ([4, 601, 999], [999, 0, 1], &[4, 1, 1]),
        ([1, 1100, 1001], [0, 0, 1], &[]),
    ];
    let table = drawn_from(Data::Ordinary, ops::modulo(), DType::F32, 4000, 35);
    let buffers: Vec<_> = table.rows().into_iter().map(|column| gpu.buffer(column)).collect();
    for (shape, strides, own) in SHAPES {
        let (layout, own) = (Layout::strided(&shape, &strides, 0), Layout::contiguous(own));
        let len = own.len().expect("a few");
        let layouts = [&layout, &own, &layout];
        let [x, y, dz] = [0, 1, 2].map(|i| Operand::from(&buffers[i]).layout(layouts[i].clone()));
        let dy = gpu.buffer(&vec![0; len as usize]);
        let out = Operand::from(&dy).layout(own.clone());
        let call = gpu.kernels.bind(modulo::Backward { x, y, dz, dx: None, dy: Some(out) }).map_err(text)?;
        gpu.submit(|encoder| call.encode(encoder));
        let [x, y, dz] = [0, 1, 2].map(|i| View::from(floats(&table.reads[i])).layout(layouts[i].clone()));
        let mut right = vec![0.0; len as usize];
        let dy_right = Some(Output::from(right.as_mut_slice()));
        Runner::cpu().run(modulo::Backward { x, y, dz, dx: None, dy: dy_right }).map_err(text)?;
        if gpu.read(&dy) != bits(&right) {
            return Err(format!("{}: {shape:?} to {own:?}: {:x?}, not {right:x?}", gpu.name, gpu.read(&dy)));
        }
    }
    Ok(())
}

/// All operands in one or two buffers, in any order, adjacent or not, at any element.
fn arenas(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    let mut draw = Draw::new(15);
    for (op, dtype) in in_every_type() {
        let table = drawn(op, dtype, 3000, 15);
        let sets = output_sets(op);
        let (signature, per_word) = (op.signature(), 4 / dtype.size() as usize);
        for trial in 0..if is_full() { 32 } else { 12 } {
            let outputs = sets[draw.below(sets.len())];
            let len = [1, 4, 60, 64, 1000, 1023, 2048, 3000][draw.below(8)];
            let mut call = Call::apart(&table, len, outputs, |_| 0);
            let buffers = 1 + draw.below(2);
            // In words.
            let mut ends = [0; 2];
            let mut order: Vec<usize> = (0..call.reads.len() + call.writes.len()).collect();
            shuffle(&mut draw, &mut order);
            for operand in order {
                let reads = call.reads.len();
                let (place, is_mask) = match operand.checked_sub(reads) {
                    None => (&mut call.reads[operand], operand > signature.upstream()),
                    Some(write) => (&mut call.writes[write], signature.mask() == Some(write)),
                };
                let Some(place) = place else { continue };
                let per_word = if is_mask { 1 } else { per_word };
                place.buffer = draw.below(buffers);
                // No word belongs to two operands.
                place.start = ends[place.buffer] * per_word
                    + match trial % 4 {
                        0 => 0,
                        1 => 64 * draw.below(3),
                        _ => draw.below(70),
                    };
                ends[place.buffer] = (place.start + place.len()).div_ceil(per_word);
            }
            gpu.check(&call)?;
        }
    }
    Ok(())
}

/// Inputs may overlap each other in any way, even in a buffer that the same call writes.
fn overlapping_inputs(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    for &dtype in DType::ALL {
        let table = drawn(ops::modulo(), dtype, 2000, 16);
        for (y, dz) in [(0, 0), (0, 1), (1, 2), (4, 8), (64, 1999), (1936, 1000), (2000, 1)] {
            for start in [0, 3] {
                let place = |start| Some(Place::new(0, start, 2000));
                let mut call = Call::apart(&table, 2000, all_outputs(ops::modulo()), |_| 0);
                call.reads = [0, y, dz].map(|i| place(start + i)).to_vec();
                call.writes = [4002, 6006, 8010, 10_014].map(|i| place(start + i)).to_vec();
                gpu.check(&call)?;
                // The same inputs in a read-only buffer.
                call.writes.iter_mut().flatten().for_each(|w| w.buffer = 1);
                gpu.check(&call)?;
            }
        }
    }
    Ok(())
}

/// Buffers larger than the largest binding.
fn windows(adapter: &wgpu::Adapter) -> Result<(), String> {
    const WINDOW: usize = 4096;
    let gpu = Gpu::limited(adapter, |limits| limits.max_storage_buffer_binding_size = 4 * WINDOW as u64);
    for table in tables(4 * WINDOW, 17) {
        let all = all_outputs(table.op);
        for len in [WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW - 4, 2 * WINDOW, 3 * WINDOW + 1, 4 * WINDOW] {
            for start in [0, 1, 64] {
                gpu.check(&Call::apart(&table, len, all, |i| start * i))?;
                let mut in_place = Call::apart(&table, len, all, |i| start * i);
                let upstream = table.op.signature().upstream();
                for w in 0..=upstream {
                    in_place.writes[w].clone_from(&in_place.reads[upstream - w]);
                }
                gpu.check(&in_place)?;
                // One arena: the next window of one operand may be where another operand begins.
                let mut arena = Call::apart(&table, len, all, |_| 0);
                let places = arena.reads.iter_mut().chain(&mut arena.writes).flatten();
                let step = (len + start).next_multiple_of(2);
                places.zip(0..).for_each(|(p, i)| *p = Place { buffer: 0, start: i * step, ..p.clone() });
                gpu.check(&arena)?;
            }
        }
    }
    Ok(())
}

fn two_dimensional_grid(adapter: &wgpu::Adapter) -> Result<(), String> {
    const ROW: usize = 7;
    let gpu = Gpu::limited(adapter, |limits| limits.max_compute_workgroups_per_dimension = ROW as u32);
    let table = drawn(ops::modulo(), DType::F32, 1024 * ROW * ROW, 18);
    let outputs = Outputs::Z | Outputs::gradient(1);
    for groups in [ROW, 2 * ROW, 3 * ROW, ROW * ROW] {
        for len in [groups * 1024 - 1, groups * 1024, groups * 1024 + 1] {
            if len <= table.len() {
                gpu.check(&Call::apart(&table, len, outputs, |_| 0))?;
            }
        }
    }
    let len = 1024 * ROW * ROW + 1;
    match gpu.check(&Call::apart(&drawn(ops::spiky(), DType::F32, len, 18), len, Outputs::Z, |_| 0)) {
        Err(e) if e.contains("max_compute_workgroups_per_dimension is 7, the kernel needs 8") => Ok(()),
        other => Err(format!("expected the limit's error, got {other:?}")),
    }
}

/// In one dispatch if the adapter binds that much, else in windows.
fn more_than_65535_workgroups(adapter: &wgpu::Adapter) -> Result<Completion, Failed> {
    let gpu = Gpu::open(adapter);
    let len = 65535 * 1024 + 1;
    if gpu.device.limits().max_buffer_size < 4 * len as u64 {
        return Ok(Completion::ignored_with("the adapter's largest buffer is smaller than that"));
    }
    let mut draw = Draw::new(19);
    let x = draw.take(len, Draw::bits);
    let mut right = vec![0.0; len];
    Runner::cpu().run(spiky::Forward { x: floats(&x), z: right.as_mut_slice() })?;
    // In place, to halve the memory.
    let buffer = gpu.buffer(&x);
    let bound = gpu.kernels.bind(spiky::Forward { x: &buffer, z: &buffer })?;
    gpu.submit(|encoder| bound.encode(encoder));
    compare(&gpu.name, ops::spiky(), 0, &[&x], &gpu.read(&buffer), bits(&right))?;
    Ok(Completion::Completed)
}

// Recording.

fn recorded_again(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    let table = drawn(ops::spiky(), DType::F32, 5000, 20);
    let x = gpu.buffer(&table.reads[0]);
    let z = gpu.buffer(&vec![0; 5000]);
    let forward = gpu.kernels.bind(spiky::Forward { x: &x, z: &z }).map_err(text)?;
    for turn in ["once", "again"] {
        gpu.submit(|encoder| forward.encode(encoder));
        compare(turn, ops::spiky(), 0, &[&table.reads[0]], &gpu.read(&z), &table.writes[0])?;
    }
    // In place, two recordings in one pass are two steps, with the caller's own step between them.
    let numbers: Vec<u32> = (0..5000).map(|i| (i as f32 * 0.37 - 900.0).to_bits()).collect();
    let buffer = gpu.buffer(&numbers);
    let flip = flip_kernel(&gpu, &buffer);
    let in_place = gpu.kernels.bind(spiky::Forward { x: &buffer, z: &buffer }).map_err(text)?;
    gpu.submit(|encoder| {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        in_place.record(&mut pass);
        flip.record(&mut pass);
        in_place.record(&mut pass);
    });
    let twice: Vec<u32> = numbers
        .iter()
        .map(|x| {
            spiky::forward(f32::from_bits(spiky::forward(f32::from_bits(*x)).to_bits() ^ FLIP)).to_bits()
        })
        .collect();
    compare("twice in one pass", ops::spiky(), 0, &[&numbers], &gpu.read(&buffer), &twice)
}

/// Calls of any kind that do not change what they read. Recorded again, they give the same again, including partial
/// sums.
fn drawn_calls_recorded_again(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    let tables = tables_for_calls(20_000, 36);
    let mut draw = Draw::new(36);
    let count = drawn_count();
    let mut recorded = 0;
    for _ in 0..count / 2 {
        let call = draw_call(&mut draw, &tables);
        let in_place = call.writes.iter().flatten().any(|w| call.reads.iter().flatten().any(|r| r == w));
        if in_place || call.added != Outputs::NONE {
            continue;
        }
        let buffers: Vec<_> = call.images().iter().map(|image| gpu.buffer(image)).collect();
        let bound = gpu.bind(&call, &buffers).map_err(text)?;
        for _ in 0..2 {
            gpu.submit(|encoder| bound.encode(encoder));
            call.compare(&gpu.name, &buffers.iter().map(|buffer| gpu.read(buffer)).collect::<Vec<_>>())?;
        }
        recorded += 1;
    }
    assert!(recorded > count / 10, "{recorded} calls were recorded again");
    Ok(())
}

/// Kernels that an earlier run compiled, from its saved data.
fn pipeline_cache(adapter: &wgpu::Adapter) -> Result<Completion, Failed> {
    if !adapter.features().contains(wgpu::Features::PIPELINE_CACHE) {
        return Ok(Completion::ignored_with("the adapter has no pipeline cache"));
    }
    let table = drawn(ops::modulo(), DType::F32, 3000, 37);
    let call = Call::apart(&table, table.len(), all_outputs(ops::modulo()), |_| 0);
    let mut saved = None;
    for run in ["first", "second"] {
        // Devices that the library opens have the feature.
        let runner = Runner::on_adapter(adapter)?;
        let (kernels, queue) = runner.gpu().ok_or("a GPU")?;
        let device = kernels.device();
        let descriptor =
            wgpu::PipelineCacheDescriptor { label: None, data: saved.as_deref(), fallback: false };
        #[expect(unsafe_code, reason = "the data is what a cache of this adapter gave")]
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        let kernels = Kernels::new(device).with_pipeline_cache(&cache);
        let gpu = Gpu { name: format!("{run} run"), device: device.clone(), queue: queue.clone(), kernels };
        gpu.check(&call)?;
        saved = cache.get_data();
        if saved.as_ref().is_none_or(Vec::is_empty) {
            return Err(format!("the {run} run has nothing to save").into());
        }
    }
    Ok(Completion::Completed)
}

/// The bits that the caller's own kernel flips in every word.
const FLIP: u32 = 0x8040_0001;

struct Flip {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    groups: u32,
}

/// A kernel of the caller, for calls before and after ours.
fn flip_kernel(gpu: &Gpu, buffer: &wgpu::Buffer) -> Flip {
    let source = format!(
        "@group(0) @binding(0) var<storage, read_write> data: array<u32>;
        @compute @workgroup_size(64) fn flip(@builtin(global_invocation_id) id: vec3<u32>) {{
            if (id.x < arrayLength(&data)) {{ data[id.x] ^= {FLIP}u; }}
        }}"
    );
    let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
    });
    Flip { pipeline, group, groups: (buffer.size() / 4).div_ceil(64) as u32 }
}

impl Flip {
    fn record(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(self.groups, 1, 1);
    }
}

/// One encoder, one submit: a pass before, a pass shared with the caller's own dispatches, a pass after.
fn between_other_passes(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    let table = drawn(ops::spiky(), DType::F32, 3000, 21);
    let flipped = |words: &[u32]| words.iter().map(|w| w ^ FLIP).collect::<Vec<_>>();
    let x = gpu.buffer(&flipped(&table.reads[0]));
    let dz = gpu.buffer(&flipped(&table.reads[1]));
    let (z, dx) = (gpu.buffer(&vec![1; 3000]), gpu.buffer(&vec![2; 3000]));
    let [flip_x, flip_dz, flip_z, flip_dx] = [&x, &dz, &z, &dx].map(|buffer| flip_kernel(&gpu, buffer));
    let fused = gpu.kernels.bind(spiky::Fused { x: &x, dz: &dz, z: &z, dx: &dx }).map_err(text)?;
    gpu.submit(|encoder| {
        let pass = wgpu::ComputePassDescriptor::default();
        flip_x.record(&mut encoder.begin_compute_pass(&pass));
        {
            let mut pass = encoder.begin_compute_pass(&pass);
            flip_dz.record(&mut pass);
            fused.record(&mut pass);
            flip_z.record(&mut pass);
        }
        flip_dx.record(&mut encoder.begin_compute_pass(&pass));
    });
    let reads = table.rows();
    for (i, buffer) in [&z, &dx].into_iter().enumerate() {
        compare(&gpu.name, ops::spiky(), i, &reads, &flipped(&gpu.read(buffer)), &table.writes[i])?;
    }
    Ok(())
}

// Functions that ops are made of.

/// An op that exposes functions of `shaders` unchanged. Its reference is their twins, on bits.
fn functions(signature: SignatureBuilder, twin: fn(reads: &[u32], writes: &mut [u32])) -> Op {
    let signature = signature.build().expect("a right signature");
    Op::raw(signature, move |_, reads, writes| twin(bits(reads), bytemuck::cast_slice_mut(writes)))
        .expect("WGSL of few bytes")
}

/// Checks all writes for these inputs. The upstream gradient is not used and is all zeros.
fn check_functions(gpu: &Gpu, op: &'static Op, source: &str, inputs: &[Vec<u32>]) -> Result<(), String> {
    let mut reads = inputs.to_vec();
    reads.push(vec![0; inputs[0].len()]);
    let table = Table { op, dtype: DType::F32, source: source.into(), reads, writes: Vec::new() };
    gpu.check(&Call::apart(&table, table.len(), all_outputs(op), |_| 0))
}

static SUM: LazyLock<Op> = LazyLock::new(|| {
    let signature = Signature::builder("sum", ["x", "y"])
        .z("f32_add(x, y)", "")
        .gradient("x", "f32_add(y, x)", "")
        .gradient("y", "f32_add(x, y ^ 0x80000000u)", "");
    functions(signature, |reads, writes| {
        let [x, y] = [0, 1].map(|i| f32::from_bits(reads[i]));
        for (write, sum) in writes.iter_mut().zip([x + y, y + x, x - y]) {
            *write = if sum.is_nan() { 0x7fc0_0000 } else { sum.to_bits() };
        }
    })
});

fn sum(adapter: &wgpu::Adapter) -> Result<(), String> {
    // Values around each end of the significand, and of its upper half.
    const FRACTIONS: [u32; 8] = [0, 1, 2, 0x3f_ffff, 0x40_0000, 0x40_0001, 0x7f_fffe, 0x7f_ffff];
    let gpu = Gpu::open(adapter);

    // All pairs of special values: zeros, subnormals, the ends of the exponents, infinities, NaNs, of both signs.
    let special = |sign: u32| {
        let exponents = [0, 1, 2, 24, 126, 127, 150, 253, 254, 255];
        exponents.into_iter().flat_map(move |e| FRACTIONS.map(|fraction| sign << 31 | e << 23 | fraction))
    };
    let special: Vec<u32> = special(0).chain(special(1)).collect();
    let pairs = || special.iter().flat_map(|x| special.iter().map(move |y| (*x, *y)));
    let inputs = [pairs().map(|(x, _)| x).collect(), pairs().map(|(_, y)| y).collect()];
    check_functions(&gpu, &SUM, "special values", &inputs)?;

    // Every exponent with those that the sum depends on, both signs of the one by the difference: ties, their
    // neighbours, cancellation, carries, overflow, subnormals, infinities and NaNs.
    let [mut x, mut y] = [const { Vec::new() }; 2];
    for e in 0..=255_u32 {
        for distance in (0..=28).chain([31, 32, 33, 254, 255]).filter(|d| *d <= e) {
            for fraction in FRACTIONS {
                for other in FRACTIONS {
                    x.push(e << 23 | fraction | (fraction ^ other ^ e) << 31);
                    y.push((e - distance) << 23 | other | e << 31);
                }
            }
        }
    }
    check_functions(&gpu, &SUM, "every exponent", &[x, y])?;

    let table = drawn(ops::modulo(), DType::F32, 1 << 19, 27);
    check_functions(&gpu, &SUM, &table.source, &table.reads[..2])?;

    // Much cancels, so the last bits of the smaller number decide, as far as they remain.
    let mut draw = Draw::new(28);
    let x = draw.take(1 << 19, Draw::bits);
    let near = |x: &u32| {
        let (apart, fraction) = (draw.below(4) as u32, draw.bits() >> 9 >> draw.below(24));
        (x ^ fraction).wrapping_sub(apart << 23)
    };
    let y = x.iter().map(near).collect();
    check_functions(&gpu, &SUM, "close exponents", &[x, y])
}

/// The functions of a storage type under other names, because a kernel on f32 has its own.
fn storage(source: &str, twin: fn(&[u32], &mut [u32])) -> Op {
    let renamed = source
        .replace("storage_", "other_")
        .replace("STORAGE_", "OTHER_")
        .replace("BELOW_HALF", "OTHER_BELOW_HALF");
    let signature = Signature::builder("storage", ["x"]).function(renamed).z("other_round(x)", "").gradient(
        "x",
        "other_widen(x)",
        "",
    );
    functions(signature, twin)
}

macro_rules! storage {
    ($dtype:expr, $file:literal) => {
        LazyLock::new(|| {
            storage(include_str!(concat!("../../shaders/storage/", $file)), |reads, writes| {
                writes[0] = $dtype.round(f32::from_bits(reads[0]));
                writes[1] = $dtype.widen(reads[0]).to_bits();
            })
        })
    };
}

static STORAGE: [(DType, LazyLock<Op>); 3] = [
    (DType::F32, storage!(DType::F32, "f32.wgsl")),
    (DType::F16, storage!(DType::F16, "f16.wgsl")),
    (DType::Bf16, storage!(DType::Bf16, "bf16.wgsl")),
];

fn storage_types(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    let mut draw = Draw::new(29);
    for (dtype, op) in &STORAGE {
        // Every pattern of the low half, with any upper half.
        let halves = (0..=0xffff).map(|low| draw.bits() << 16 | low).collect();
        let check = |source: &str, x| check_functions(&gpu, op, &format!("{}, {source}", dtype.name()), &[x]);
        check("every half", halves)?;
        // Around every number that fits in a half, and around every tie.
        let mut near = Vec::new();
        for half in 0..=0xffff {
            let [here, next] = [half, half + 1].map(|half| dtype.widen(half));
            for steps in -3..=3 {
                near.push(here.to_bits().wrapping_add_signed(steps));
                near.push(here.midpoint(next).to_bits().wrapping_add_signed(steps));
            }
        }
        check("numbers and ties", near)?;
        // Includes 65520, the tie between the largest f16 and infinity.
        let mut any = draw.take(1 << 20, Draw::bits);
        any.extend((0x477f_eff0..=0x477f_f010).flat_map(|bits| [bits, bits | 0x8000_0000]));
        check("any bits", any)?;
    }
    Ok(())
}

// The suite sees wrong kernels.

/// `mod` by the formula that everyone writes first.
static NAIVE: LazyLock<Op> = LazyLock::new(|| {
    let function = "
        struct NaiveMod { z: u32, q: u32 }
        fn naive_mod(x: u32, y: u32) -> NaiveMod {
            let q = floor(bitcast<f32>(x) / bitcast<f32>(y));
            return NaiveMod(bitcast<u32>(bitcast<f32>(x) - bitcast<f32>(y) * q), bitcast<u32>(q));
        }
        fn naive_dy(m: NaiveMod, dz: u32) -> u32 {
            return bitcast<u32>(bitcast<f32>(dz) * -bitcast<f32>(m.q));
        }
    ";
    let signature = Signature::builder("mod", ["x", "y"])
        .function(function)
        .bind("m", "naive_mod(x, y)")
        .z("m.z", "x - y * floor(x / y)")
        .gradient("x", "dz", "dz")
        .gradient("y", "naive_dy(m, dz)", "dz * -floor(x / y)")
        .value("q", "m.q", "floor(x / y)")
        .build()
        .expect("a right signature");
    Op::raw(signature, |dtype, reads, writes| ops::modulo().reference(dtype, reads, writes))
        .expect("WGSL of few bytes")
});

fn naive_formula_is_seen(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    let [_, vectors] = vectors(DType::F32);
    for table in [vectors, drawn(ops::modulo(), DType::F32, 1 << 14, 22)] {
        let table = Table { op: &NAIVE, ..table };
        for outputs in [Outputs::Z, Outputs::gradient(1), Outputs::Z | Outputs::gradient(1)] {
            match gpu.check(&Call::apart(&table, table.len(), outputs, |_| 0)) {
                Err(message) if message.contains(" words are wrong)") => {}
                other => return Err(format!("{}, {outputs:?}: not seen: {other:?}", table.source)),
            }
        }
    }
    Ok(())
}

// Host slices.

/// Runs the first `len` rows and compares all outputs.
fn check_slices(runner: &Runner, table: &Table, len: usize) -> Result<(), String> {
    let reads: Vec<&[u32]> = table.rows().iter().map(|column| &column[..len]).collect();
    let inputs: Vec<&[f32]> = reads.iter().map(|column| floats(column)).collect();
    let (dz, inputs) = inputs.split_last().expect("an op has an upstream gradient");
    let (z, gradients) = runner.fused(table.op, inputs, *dz).map_err(text)?;
    let what = format!("{}, {}, {len} elements", runner.name(), table.source);
    for (i, got) in std::iter::once(&z).chain(&gradients).enumerate() {
        compare(&what, table.op, i, &reads, bits(got), &table.writes[i][..len])?;
    }
    Ok(())
}

fn streaming(adapter: &wgpu::Adapter) -> Result<(), String> {
    let own = Runner::on_adapter(adapter).map_err(text)?;
    // A small binding limit makes small windows: many, and more than are in flight at once.
    let gpu = Gpu::limited(adapter, |limits| limits.max_storage_buffer_binding_size = 4 * 8192);
    let small = Runner::on_device(&gpu.device, &gpu.queue);
    for &op in ops::mods() {
        let table = drawn(op, DType::F32, 200_000, 23);
        for len in LENGTHS.into_iter().chain([8191, 8192, 8193, 24_576, 24_577, 40_960, 200_000]) {
            check_slices(&own, &table, len)?;
            check_slices(&small, &table, len)?;
        }
        for dtype in [DType::F16, DType::Bf16] {
            let table = drawn(op, dtype, 50_000, 23);
            for len in [1, 8191, 8193, 24_577, 50_000] {
                let call = Call::apart(&table, len, all_outputs(op), |i| i);
                call.check_on_host(&own)?;
                call.check_on_host(&small)?;
            }
        }
    }
    Ok(())
}

/// An executor that knows nothing of wgpu. Its thread sleeps until it is woken, and gives up if it is never woken.
struct Sleeper {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, SeqCst);
        self.thread.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let sleeper = Arc::new(Sleeper { thread: std::thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(sleeper.clone());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let asleep = Instant::now();
        while !sleeper.woken.swap(false, SeqCst) {
            std::thread::park_timeout(Duration::from_secs(1));
            assert!(asleep.elapsed() < Duration::from_secs(30), "the future was never woken");
        }
    }
}

/// The future moves to another thread, completes there, and may be dropped at any point.
fn any_executor(adapter: &wgpu::Adapter) -> Result<(), String> {
    let runner = Runner::on_adapter(adapter).map_err(text)?;
    let table = drawn(ops::spiky(), DType::F32, 100_000, 24);
    let [x, dz] = [0, 1].map(|i| floats(&table.reads[i]));
    let (mut z, mut dx) = (Vec::<f32>::new(), Vec::<f32>::new());
    let future = runner.run_async(spiky::Fused { x, dz, z: &mut z, dx: &mut dx });
    std::thread::scope(|scope| scope.spawn(|| block_on(future)).join().expect("no panic")).map_err(text)?;
    let reads = table.rows();
    compare("run_async", ops::spiky(), 0, &reads, bits(&z), &table.writes[0])?;
    compare("run_async", ops::spiky(), 1, &reads, bits(&dx), &table.writes[1])?;

    for polls in 0..3 {
        let mut z = vec![0.0; x.len()];
        let mut future = Box::pin(runner.run_async(spiky::Forward { x, z: z.as_mut_slice() }));
        for _ in 0..polls {
            if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                break;
            }
        }
        drop(future);
        check_slices(&runner, &table, table.len())?;
    }
    Ok(())
}

fn two_threads(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    let runner = Runner::on_device(&gpu.device, &gpu.queue);
    let work = |seed: u64| {
        for &op in ops::mods() {
            let table = drawn(op, DType::F32, 3000, seed);
            for outputs in output_sets(op) {
                gpu.check(&Call::apart(&table, table.len(), outputs, |i| i * seed as usize))?;
            }
            check_slices(&runner, &table, table.len())?;
        }
        Ok::<_, String>(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || work(seed))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })
}

/// Polling a device fires the callbacks of all its users. If our callback comes late, the call must not be taken for
/// lost. The race is rare, so there are many calls.
fn owner_polls_too(adapter: &wgpu::Adapter) -> Result<(), String> {
    let gpu = Gpu::open(adapter);
    let runner = Runner::on_device(&gpu.device, &gpu.queue);
    let (finished, x) = (AtomicBool::new(false), [0.25; 100]);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !finished.load(SeqCst) {
                    drop(gpu.device.poll(wgpu::PollType::Poll));
                }
            });
        }
        let results: Result<Vec<_>, _> = (0..1000).map(|_| runner.forward(ops::spiky(), &[&x])).collect();
        finished.store(true, SeqCst);
        results.map(drop).map_err(text)
    })
}

/// The probes run, and find what is known of an adapter. WGSL leaves the direction of rounding open, and bounds
/// quotients by the size of the divisor, so nothing is known of others.
fn probes(adapter: &wgpu::Adapter) -> Result<(), String> {
    let runner = Runner::on_adapter(adapter).map_err(text)?;
    let found = elemgrad::check::probe(&runner).map_err(text)?;
    let name = adapter.get_info().name.to_lowercase();
    let is_swiftshader = name.contains("swiftshader");
    if is_swiftshader || name.contains("llvmpipe") {
        assert!(found.rounds_to_nearest_even && found.division_error_ulp <= 3, "{found:?}");
        assert_eq!(found.flushes_subnormals, is_swiftshader, "{found:?}");
    }
    Ok(())
}

/// `--device` takes the name in a report.
fn name_finds_the_adapter(adapter: &wgpu::Adapter) -> Result<(), String> {
    let runner = Runner::on_adapter(adapter).map_err(text)?;
    let again = Runner::open(&Choice::Named(runner.name().into())).map_err(text)?;
    assert_eq!(again.name(), runner.name());
    Ok(())
}

// Errors and loss.

/// Writes to a buffer without the usage for it.
fn make_a_mistake(device: &wgpu::Device, queue: &wgpu::Queue, label: &str) {
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: 4,
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    });
    queue.write_buffer(&buffer, 0, &[0; 4]);
}

/// The errors that the library has logged.
struct Logged(Mutex<Vec<String>>);

static LOGGED: Logged = Logged(Mutex::new(Vec::new()));

impl log::Log for Logged {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.level() == log::Level::Error && metadata.target().starts_with("elemgrad")
    }

    fn log(&self, record: &log::Record) {
        if self.enabled(record.metadata()) {
            self.0.lock().expect("no panic").push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// If the caller makes a mistake with the device that a runner opened, it is logged and fails no call of the runner.
fn stray_error_is_no_loss(adapter: &wgpu::Adapter) -> Result<(), String> {
    // The trial of another adapter may have set the logger already.
    let _ = log::set_logger(&LOGGED);
    log::set_max_level(log::LevelFilter::Error);
    let runner = Runner::on_adapter(adapter).map_err(text)?;
    let (kernels, queue) = runner.gpu().expect("a GPU");
    let label = format!("a mistake on {}", runner.name());
    make_a_mistake(kernels.device(), queue, &label);
    let logged = LOGGED.0.lock().expect("no panic").iter().filter(|error| error.contains(&label)).count();
    assert_eq!(logged, 1, "the mistake is logged once");
    assert_eq!(runner.forward(ops::spiky(), &[&[0.25]]).map_err(text)?, [0.25]);
    Ok(())
}

fn borrowed_device_keeps_its_handlers(adapter: &wgpu::Adapter) -> Result<(), String> {
    let (gpu, other) = (Gpu::open(adapter), Gpu::open(adapter));
    let (errors, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (on_error, on_loss) = (errors.clone(), lost.clone());
    gpu.device.on_uncaptured_error(Arc::new(move |_| {
        on_error.fetch_add(1, SeqCst);
    }));
    gpu.device.set_device_lost_callback(move |_, _| on_loss.store(true, SeqCst));

    let (ours, foreign) = (gpu.buffer(&[0; 64]), other.buffer(&[0; 64]));
    let runner = Runner::on_device(&gpu.device, &gpu.queue);
    let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let error = gpu.kernels.bind(spiky::Forward { x: &foreign, z: &ours }).err();
    assert!(matches!(error, Some(Error::Gpu { .. })), "a foreign buffer gives {error:?}");
    runner.forward(ops::spiky(), &[&[0.25; 100]]).map_err(text)?;
    assert!(pollster::block_on(scope.pop()).is_none(), "the caller's scope saw an error that was ours");
    assert_eq!(errors.load(SeqCst), 0, "the caller's handler saw an error that was ours");

    drop(gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::INDEX,
        mapped_at_creation: false,
    }));
    assert_eq!(errors.load(SeqCst), 1, "the caller's handler is still there");
    gpu.device.destroy();
    drop(gpu.device.poll(wgpu::PollType::Poll));
    let error = runner.forward(ops::spiky(), &[&[0.25; 100]]).err();
    assert!(matches!(error, Some(Error::DeviceLost { .. })), "a destroyed device gives {error:?}");
    assert!(lost.load(SeqCst), "the caller's callback is still there");
    Ok(())
}

fn lost_device(adapter: &wgpu::Adapter) -> Result<(), String> {
    let x = vec![1.25; 5000];
    for runs_before in [0, 2] {
        let runner = Runner::on_adapter(adapter).map_err(text)?;
        for _ in 0..runs_before {
            runner.forward(ops::spiky(), &[&x]).map_err(text)?;
        }
        let (kernels, _) = runner.gpu().expect("a GPU");
        kernels.device().destroy();
        for _ in 0..2 {
            let mut z = vec![7.0_f32];
            let error = runner.run(spiky::Forward { x: &x, z: &mut z }).err();
            assert!(matches!(error, Some(Error::DeviceLost { .. })), "a destroyed device gives {error:?}");
            assert!(z.is_empty(), "no result is left");
            let error = block_on(runner.run_async(spiky::Forward { x: &x, z: &mut z })).err();
            assert!(matches!(error, Some(Error::DeviceLost { .. })), "a destroyed device gives {error:?}");
        }
    }
    Ok(())
}

/// Destroys the device during a call, sooner or later. The call gives the right result or says that the device is
/// lost.
fn lost_in_the_middle(adapter: &wgpu::Adapter) -> Result<(), String> {
    let table = drawn(ops::spiky(), DType::F32, 1 << 21, 25);
    let mut outcomes = [0; 2];
    for delay in [0, 1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 300] {
        let gpu = Gpu::limited(adapter, |limits| limits.max_storage_buffer_binding_size = 1 << 20);
        // The caller of a borrowed device hears of its loss too.
        gpu.device.on_uncaptured_error(Arc::new(|_| {}));
        let runner = Runner::on_device(&gpu.device, &gpu.queue);
        let device = gpu.device.clone();
        let (mut z, x) = (Vec::<f32>::new(), floats(&table.reads[0]));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(delay));
                device.destroy();
            });
            match runner.run(spiky::Forward { x, z: &mut z }) {
                Ok(()) => {
                    outcomes[0] += 1;
                    compare(
                        "a result in spite of the loss",
                        ops::spiky(),
                        0,
                        &[&table.reads[0]],
                        bits(&z),
                        &table.writes[0],
                    )
                }
                Err(Error::DeviceLost { .. }) => {
                    outcomes[1] += 1;
                    if z.is_empty() { Ok(()) } else { Err("a result is left".into()) }
                }
                Err(other) => Err(format!("after {delay} ms: {other}")),
            }
        })?;
    }
    assert!(outcomes[1] > 0, "no call was hit");
    Ok(())
}

/// Set in the environment of a process that tests the fallback.
pub(crate) const FALL_BACK: &str = "ELEMGRAD_TEST_FALL_BACK";

/// `auto` takes a software adapter only if the environment names it, so this test runs its own process.
fn auto_falls_back_to_the_cpu(adapter: &wgpu::Adapter) -> Result<(), String> {
    let info = adapter.get_info();
    let process = Command::new(std::env::current_exe().map_err(text)?)
        .env(FALL_BACK, "1")
        .env("WGPU_ADAPTER_NAME", &info.name)
        .env("WGPU_BACKEND", info.backend.to_str())
        .output()
        .map_err(text)?;
    if process.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&process.stderr).into_owned()) }
}

pub(crate) fn fall_back() -> Result<(), String> {
    let table = drawn(ops::modulo(), DType::F32, 100_000, 26);
    for lost in [false, true] {
        let runner = Runner::auto();
        let (kernels, queue) = runner.gpu().ok_or("auto does not take the adapter that is named")?;
        if lost {
            // The loss is the reason, even if an error of ours is still to be reported.
            make_a_mistake(kernels.device(), queue, "a mistake");
            kernels.device().destroy();
            // `verify` must not take the CPU's word for the device.
            let sample = Inputs::Sample { count: 1000, seed: 1 };
            let report = verify(&runner, ops::modulo(), DType::F32, &sample, Pass::ALL, &mut |_| {
                ControlFlow::Continue(())
            });
            assert!(matches!(report, Err(Error::DeviceLost { .. })), "verify says {report:?}");
        }
        check_slices(&runner, &table, table.len())?;
        assert_eq!(runner.fell_back(), lost);
    }
    Ok(())
}

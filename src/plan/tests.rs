//! Simulates plans: what each lane of each dispatch reads and writes, indexed as in the shaders. Each value is a hash
//! of the values that it is computed from, so a wrong operand, element, order or tree gives a wrong value.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::common::{
    Draw,
    calls::{Call as Drawn, Place as Spot, draw_call},
    drawn, in_every_type,
};

use super::{
    Access, Bind, Dispatch, Form, Held, Kernel, Limits, Map, Memory, Place, Plan, Request, Source, WORD, plan,
};
use crate::{
    call::check::{Call, Given, check},
    dtype::DType,
    error::Error,
    ops, shader,
    shape::Layout,
    signature::Signature,
};

/// A stored value; `None` is a missing term.
type Value = Option<u64>;

/// An empty sum, and the contents of scratch before it is written.
const ZERO: u64 = 0;

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn add(a: Value, b: Value) -> Value {
    match (a, b) {
        (Some(a), Some(b)) => Some(hash(("+", a, b))),
        (one, None) | (None, one) => one,
    }
}

/// The sum of the leaves of a perfect tree.
fn tree(leaves: &[Value]) -> Value {
    if let [one] = leaves {
        return *one;
    }
    let (first, second) = leaves.split_at(leaves.len() / 2);
    add(tree(first), tree(second))
}

/// One output of an element, from the reads that it needs.
#[expect(clippy::unnecessary_wraps, reason = "a value is one that may not be there")]
fn output(write: usize, reads: &BTreeMap<usize, u64>) -> Value {
    Some(hash((write, reads)))
}

/// The address of an element: a buffer and a bit in it. Masks and numbers never share words.
type At = (Memory, u64);

fn bits(element: Held) -> u64 {
    8 * WORD / element.per_word()
}

#[derive(Default)]
struct Memories(HashMap<At, u64>);

impl Memories {
    fn get(&self, at: At) -> u64 {
        let before = if matches!(at.0, Memory::Scratch(_)) { ZERO } else { hash(("before", at)) };
        self.0.get(&at).copied().unwrap_or(before)
    }
}

/// Identifies an invocation: elements of a workgroup with equal values belong to one invocation.
type Lane = (u64, u64);

/// A running dispatch.
struct Machine<'a> {
    signature: &'a Signature,
    limits: &'a Limits,
    kernel: &'a Kernel,
    dispatch: &'a Dispatch,
    params: HashMap<String, u32>,
    memories: &'a Memories,
    /// For each word, the lanes that read it and the lane that writes it.
    readers: HashMap<At, HashSet<Lane>>,
    writers: HashMap<At, Lane>,
    stores: Vec<(At, u64)>,
}

impl Machine<'_> {
    fn param(&self, name: &str) -> u32 {
        self.params[name]
    }

    fn sizes(&self, prefix: &str, axes: usize) -> Vec<u64> {
        (1..axes).map(|a| u64::from(self.param(&format!("{prefix}{a}")))).collect()
    }

    /// The address of an element in an operand's binding. Asserts that the access is within the binding.
    fn at(&self, operand: usize, element: u32) -> At {
        let slot = self.kernel.slots.iter().position(|s| s.operands.contains(&operand)).expect("a slot");
        let Bind { memory, offset, size } = self.dispatch.bindings[slot];
        let bits = bits(self.kernel.operands[operand].element);
        let bit = u64::from(element) * bits;
        assert!(bit / 8 < size, "{} is out of its binding", self.kernel.operands[operand].name);
        (memory, 8 * offset + bit)
    }

    /// The element of an operand at the coordinates of all axes. `index` is the flat index of these coordinates.
    fn element(&self, operand: usize, index: u64, coordinates: &[u64]) -> u32 {
        let o = &self.kernel.operands[operand];
        let base = self.param(&format!("base_{}", o.name));
        let vector = matches!(self.kernel.form, Form::Elementwise(Access::Vec4) | Form::Runs(Access::Vec4));
        let steps = |axes: usize| {
            (0..axes).fold(base, |at, a| {
                let stride = self.param(&format!("stride_{}_{a}", o.name));
                at.wrapping_add((coordinates[a] as u32).wrapping_mul(stride))
            })
        };
        let (index, last) = (index as u32, *coordinates.last().unwrap_or(&0) as u32);
        match (o.element, o.map) {
            (Held::Bit, _) => 32 * base + index,
            (_, Map::Linear) if vector => base.wrapping_add(index / 4).wrapping_mul(4) + index % 4,
            (_, Map::Linear) => base.wrapping_add(index),
            (_, Map::Row) => steps(coordinates.len() - 1).wrapping_add(last / 4).wrapping_mul(4) + last % 4,
            (_, Map::Splat) => steps(coordinates.len() - 1),
            (_, Map::Gather) => steps(coordinates.len()),
        }
    }

    fn load(&mut self, operand: usize, element: u32, lane: Lane) -> u64 {
        let at = self.at(operand, element);
        self.readers.entry(word(at)).or_default().insert(lane);
        self.memories.get(at)
    }

    fn store(&mut self, operand: usize, element: u32, lane: Lane, value: Value) {
        let at = self.at(operand, element);
        let owner = *self.writers.entry(word(at)).or_insert(lane);
        // A mask's word belongs to a whole workgroup.
        let same = if self.kernel.operands[operand].element == Held::Bit {
            owner.0 == lane.0
        } else {
            owner == lane
        };
        assert!(same, "{} has a word of two lanes", self.kernel.operands[operand].name);
        self.stores.push((at, value.expect("a value")));
    }

    /// Computes one element, or one term: all loads, then all stores except that of the sum, which is returned.
    fn compute(&mut self, index: u64, coordinates: &[u64], lane: Lane) -> Value {
        let kernel = self.kernel;
        let mut reads = BTreeMap::new();
        let mut sum = None;
        let mut stores = Vec::new();
        for (i, o) in kernel.operands.iter().enumerate().filter(|(_, o)| !o.write) {
            let element = self.element(i, index, coordinates);
            reads.insert(o.index, self.load(i, element, lane));
        }
        for (i, o) in kernel.operands.iter().enumerate().filter(|(_, o)| o.write) {
            let value = match kernel.source {
                Source::Partials => reads.values().next().copied(),
                Source::Op { from_mask, .. } => {
                    let needed = self.signature.reads_for(crate::Outputs::of(o.index), from_mask);
                    output(
                        o.index,
                        &reads.iter().filter(|(r, _)| needed.contains(r)).map(|(r, v)| (*r, *v)).collect(),
                    )
                }
            };
            if kernel.is_sums(i) {
                sum = value;
                continue;
            }
            let element = self.element(i, index, coordinates);
            let old = if o.accumulate { Some(self.load(i, element, lane)) } else { None };
            stores.push((i, element, add(old, value)));
        }
        for (i, element, value) in stores {
            self.store(i, element, lane, value);
        }
        sum
    }

    fn run(&mut self) {
        let kernel = self.kernel;
        let [columns, rows] = self.dispatch.grid.map(u64::from);
        let most = u64::from(self.limits.max_compute_workgroups_per_dimension);
        assert!((1..=most).contains(&columns) && (1..=most).contains(&rows), "{columns} x {rows} workgroups");
        assert_eq!(u64::from(self.param("groups_per_row")), columns);
        let len = u64::from(self.param("len"));
        let covered = |group: u64| assert!(group < columns * rows, "workgroup {group} of {columns} x {rows}");
        if let Form::Elementwise(access) = kernel.form {
            let half = kernel.operands.iter().any(|o| o.write && o.element.per_word() == 2);
            let (parity, sizes) = (u64::from(self.param("parity")), self.sizes("size_", kernel.axes));
            for i in 0..len {
                let lane = match access {
                    Access::Vec4 => (i / 1024, i % 1024 / 4),
                    Access::Word if half => ((i + parity) / 1024, (i + parity) % 512 / 2),
                    Access::Word => (i / 1024, i % 256),
                };
                covered(lane.0);
                self.compute(i, &coordinates(i, &sizes, kernel.axes), lane);
            }
            assert!(access == Access::Word || len % 4 == 0 && parity == 0);
            return;
        }
        let [sums, first_sum, first_block, terms, steps] =
            ["sums", "first_sum", "first_block", "terms", "steps"].map(|name| u64::from(self.param(name)));
        let (kept, summed) = (self.sizes("size_", kernel.axes), self.sizes("terms_", kernel.summed));
        let runs = kernel.form != Form::Columns;
        let block_size = if runs { 1024 } else { 4 * steps };
        let last = kernel.operands.len() - 1;
        for item in 0..len {
            covered(if runs { item } else { item / 256 });
            let (sum, block) = (first_sum + item % sums, first_block + item / sums);
            let lane = |term: u64| if runs { (item, term % 1024 / 4) } else { (item / 256, item % 256) };
            let mut leaves = vec![None; block_size as usize];
            for (leaf, term) in leaves.iter_mut().zip(block * block_size..terms) {
                let mut all = coordinates(sum, &kept, kernel.axes);
                all.extend(coordinates(term, &summed, kernel.summed));
                *leaf = self.compute(term, &all, lane(term));
            }
            let [by_sum, by_block] = [0, 1].map(|a| u64::from(self.param(&format!("stride_sums_{a}"))));
            // A base may be before the binding.
            let element = self.param("base_sums").wrapping_add((sum * by_sum + block * by_block) as u32);
            self.store(last, element, lane(block * block_size), tree(&leaves));
        }
    }
}

fn word((memory, bit): At) -> At {
    (memory, bit / 32)
}

/// The coordinates of an index over axes. `sizes` has the sizes of all axes but the first.
fn coordinates(mut index: u64, sizes: &[u64], axes: usize) -> Vec<u64> {
    let mut all = vec![0; axes];
    for (a, size) in sizes.iter().enumerate().rev() {
        (all[a + 1], index) = (index % size, index / size);
    }
    if let Some(first) = all.first_mut() {
        *first = index;
    }
    all
}

/// A random call, as the planner sees it.
struct Case {
    signature: &'static Signature,
    call: Call,
    dtype: DType,
    reads: Vec<Option<Place>>,
    writes: Vec<Option<Place>>,
}

fn given(spot: Option<&Spot>, is_mask: bool, accumulate: bool) -> Option<Given<'_>> {
    let spot = spot?;
    let layout = (!is_mask).then_some(&spot.layout);
    Some(Given { len: Some(spot.len() as u64), layout, accumulate, whole: false })
}

impl Case {
    fn new(drawn: &Drawn) -> Self {
        let (signature, dtype) = (drawn.op().signature(), drawn.dtype());
        let is_mask_read = |i: usize| i > signature.upstream();
        let is_mask_write = |w: usize| signature.mask() == Some(w);
        let place = |spot: &Option<Spot>, is_mask: bool| {
            let spot = spot.as_ref()?;
            let size = if is_mask { WORD } else { dtype.size() };
            Some(Place { buffer: spot.buffer, offset: spot.start as u64 * size })
        };
        let (reads, writes) = (drawn.reads.iter().enumerate(), drawn.writes.iter().enumerate());
        let given_reads: Vec<_> =
            reads.clone().map(|(i, s)| given(s.as_ref(), is_mask_read(i), false)).collect();
        let given_writes: Vec<_> = writes
            .clone()
            .map(|(w, s)| given(s.as_ref(), is_mask_write(w), drawn.added.contains(w)))
            .collect();
        Self {
            signature,
            call: check(signature, &given_reads, &given_writes).expect("a right call"),
            dtype,
            reads: reads.map(|(i, s)| place(s, is_mask_read(i))).collect(),
            writes: writes.map(|(w, s)| place(s, is_mask_write(w))).collect(),
        }
    }

    fn request<'a>(&'a self, limits: &'a Limits) -> Request<'a> {
        let Self { signature, call, dtype, reads, writes } = self;
        Request { signature, call, dtype: *dtype, reads, writes, limits }
    }

    /// The contents of memory after the call, computed from its signature.
    fn expected(&self, drawn: &Drawn) -> Memories {
        let before = Memories::default();
        let mut after = Memories::default();
        let mut terms: BTreeMap<(usize, At), Vec<Value>> = BTreeMap::new();
        let element = |is_mask: bool| if is_mask { Held::Bit } else { Held::Number(self.dtype) };
        let at = |spot: &Spot, is_mask: bool, i: usize, index: &[u64]| {
            let place = if is_mask { 32 * spot.start + i } else { spot.at(index) };
            (Memory::Caller(spot.buffer), place as u64 * bits(element(is_mask)))
        };
        let added = |w: usize, at: At| drawn.added.contains(w).then(|| before.get(at));
        for (w, spot) in drawn.writes.iter().enumerate().filter(|(w, _)| drawn.is_sum(*w)) {
            let spot = spot.as_ref().expect("a place");
            for i in 0..spot.len() {
                let at = (Memory::Caller(spot.buffer), (spot.start + i) as u64 * bits(element(false)));
                terms.insert((w, at), Vec::new());
            }
        }
        let shape = drawn.shape();
        for i in 0..shape.iter().product::<u64>() {
            let index = coordinates(i, shape.get(1..).unwrap_or_default(), shape.len());
            for w in drawn.outputs.iter() {
                let needed = self.signature.reads_for(crate::Outputs::of(w), drawn.from_mask);
                let read = |r: usize| {
                    let spot = drawn.reads[r].as_ref().expect("a read that is needed");
                    before.get(at(spot, r > self.signature.upstream(), i as usize, &index))
                };
                let value = output(w, &needed.into_iter().map(|r| (r, read(r))).collect());
                let at = at(
                    drawn.writes[w].as_ref().expect("a place"),
                    self.signature.mask() == Some(w),
                    i as usize,
                    &index,
                );
                if drawn.is_sum(w) {
                    terms.get_mut(&(w, at)).expect("a sum").push(value);
                } else {
                    after.0.insert(at, add(added(w, at), value).expect("a value"));
                }
            }
        }
        for ((w, at), mut terms) in terms {
            terms.resize(terms.len().next_power_of_two(), None);
            let sum = tree(&terms).or(Some(ZERO));
            after.0.insert(at, add(added(w, at), sum).expect("a value"));
        }
        after
    }
}

/// Simulates a plan, and checks what every device requires.
fn carry_out(plan: &Plan, signature: &Signature, limits: &Limits) -> Memories {
    let mut memories = Memories::default();
    let mut written = HashSet::new();
    for dispatch in &plan.dispatches {
        let kernel = &plan.kernels[dispatch.kernel];
        let slots = || kernel.slots.iter().zip(&dispatch.bindings);
        assert_eq!(kernel.slots.len(), dispatch.bindings.len());
        assert!(kernel.slots.len() <= limits.max_storage_buffers_per_shader_stage as usize);
        for (i, (slot, bind)) in slots().enumerate() {
            assert!(bind.size <= limits.max_storage_buffer_binding_size, "{bind:?} is too large");
            assert!(bind.offset % limits.min_storage_buffer_offset_alignment == 0, "{bind:?} is not aligned");
            assert!(bind.size > 0 && bind.size % WORD == 0);
            if let Memory::Scratch(n) = bind.memory {
                assert!(bind.offset + bind.size <= plan.scratch[n], "{bind:?} is out of its buffer");
            }
            for (other, with) in slots().skip(i + 1).filter(|(_, with)| with.memory == bind.memory) {
                assert_eq!(slot.write, other.write, "a buffer is bound for reading and for writing");
                let apart = bind.offset + bind.size <= with.offset || with.offset + with.size <= bind.offset;
                assert!(!slot.write || apart, "{bind:?} and {with:?} overlap");
            }
            assert!(slot.write || slot.operands.iter().all(|o| !kernel.operands[*o].write));
        }
        let names = shader::params(kernel);
        assert_eq!(names.len(), dispatch.params.len(), "{names:?}");
        let params = names.into_iter().zip(dispatch.params.iter().copied()).collect();
        let mut machine = Machine {
            signature,
            limits,
            kernel,
            dispatch,
            params,
            memories: &memories,
            readers: HashMap::new(),
            writers: HashMap::new(),
            stores: Vec::new(),
        };
        machine.run();
        for (word, writer) in &machine.writers {
            let alone = machine.readers.get(word).is_none_or(|readers| readers.iter().all(|r| r == writer));
            assert!(alone, "a lane reads {word:?}, which another writes");
        }
        for (at, value) in machine.stores {
            assert!(written.insert(at), "{at:?} is written twice");
            memories.0.insert(at, value);
        }
    }
    memories.0.retain(|(memory, _), _| matches!(memory, Memory::Caller(_)));
    memories
}

fn limits(binding: u64, align: u64, workgroups: u32, bindings: u32) -> Limits {
    Limits {
        max_storage_buffer_binding_size: binding,
        max_buffer_size: 1 << 40,
        min_storage_buffer_offset_alignment: align,
        max_compute_workgroups_per_dimension: workgroups,
        max_storage_buffers_per_shader_stage: bindings,
        max_compute_invocations_per_workgroup: 256,
        max_compute_workgroup_size_x: 256,
    }
}

/// Plans a call. If that succeeds, asserts that the plan is right.
fn verify(drawn: &Drawn, limits: &Limits) -> Result<Plan, Error> {
    let case = Case::new(drawn);
    let plan = plan(&case.request(limits))?;
    let (got, expected) = (carry_out(&plan, case.signature, limits), case.expected(drawn));
    assert!(
        got.0 == expected.0,
        "{drawn:?}: {} right places",
        expected.0.iter().filter(|(at, v)| got.0.get(at) == Some(v)).count()
    );
    Ok(plan)
}

#[test]
fn every_plan_does_what_the_call_says() {
    let tables: Vec<_> = in_every_type().map(|(op, dtype)| drawn(op, dtype, 6000, 1)).collect();
    let mut draw = Draw::new(2);
    let [mut planned, mut refused, mut cut] = [0; 3];
    for turn in 0..3000 {
        let call = draw_call(&mut draw, &tables);
        let binding = draw.pick(&[1 << 11, 1 << 12, 1 << 13, 1 << 27]);
        // Each single output has enough bindings.
        let bindings = draw.pick(&[4, 5, 8]);
        let limits = limits(binding, draw.pick(&[4, 32, 256]), draw.pick(&[3, 7, 65535]), bindings);
        let result = catch_unwind(AssertUnwindSafe(|| verify(&call, &limits)));
        match result.unwrap_or_else(|_| panic!("call {turn}, {limits:?}: {call:?}")) {
            Ok(plan) => {
                planned += 1;
                cut += usize::from(plan.dispatches.len() > 3);
            }
            // Outputs that are written separately may each overwrite what the other one reads.
            Err(Error::InPlace { .. }) => assert!(bindings < 8 || call.has_no_order(), "{call:?}"),
            Err(Error::NeedsCopy { .. }) if !call.is_plain() => refused += 1,
            Err(Error::Limit { limit: "max_compute_workgroups_per_dimension", .. })
                if limits.max_compute_workgroups_per_dimension == 3 =>
            {
                refused += 1;
            }
            Err(error) => panic!("call {turn}: {error}: {limits:?}: {call:?}"),
        }
    }
    assert!(planned > 2500 && cut > 150 && refused < 300, "{planned} planned, {cut} cut, {refused} refused");
}

/// So many terms that a workgroup adds partial sums too, and then the partial sums of those.
#[test]
fn sums_of_many_terms_take_several_levels() {
    let table = drawn(ops::modulo(), DType::F32, 1000, 3);
    let mut call = Drawn::apart(&table, 0, crate::Outputs::gradient(1), |_| 0);
    let lay = |place: &mut Option<Spot>, shape: &[u64], strides: &[i64]| {
        place.as_mut().expect("a place").layout = Layout::strided(shape, strides, 0);
    };
    let shape = [1200, 500];
    lay(&mut call.reads[0], &shape, &[0, 1]);
    lay(&mut call.reads[1], &[], &[]);
    lay(&mut call.reads[2], &shape, &[0, 1]);
    lay(&mut call.writes[2], &[], &[]);
    let plan = verify(&call, &limits(1 << 27, 256, 65535, 8)).expect("a plan");
    let runs_of_partials = |k: &&Kernel| k.source == Source::Partials && matches!(k.form, Form::Runs(_));
    assert_eq!(plan.kernels.iter().filter(runs_of_partials).count(), 1);
}

/// Sizes that do not fit in the memory here.
#[test]
fn calls_of_many_elements_are_cut() {
    let (small, large) = (limits(128 << 20, 256, 65535, 8), limits(1 << 33, 256, 65535, 8));
    for &dtype in DType::ALL {
        for (len, limits, dispatches) in [
            (1 << 28, &large, 1),
            ((1 << 28) + 1, &large, 2),
            (1 << 26, &small, (1_u64 << 26).div_ceil((128 << 20) / dtype.size())),
        ] {
            let signature = ops::modulo().signature();
            let layout = Layout::contiguous(&[len]);
            let given = || Some(Given { len: Some(len), layout: Some(&layout), ..Given::default() });
            let call = check(signature, &[given(), given()], &[given()]).expect("a right call");
            let place = |buffer| Some(Place { buffer, offset: 0 });
            let (reads, writes) = ([place(0), place(1), None], [place(2), None, None, None]);
            let request = Request { signature, call: &call, dtype, reads: &reads, writes: &writes, limits };
            let plan = plan(&request).expect("a plan");
            assert_eq!(plan.dispatches.len() as u64, dispatches, "{dtype:?} {len}");
            let lens: u64 = plan.dispatches.iter().map(|d| u64::from(d.params[0])).sum();
            assert_eq!(lens, len);
            // The cuts are at even elements, so each word belongs to one dispatch.
            assert!(plan.dispatches.iter().all(|d| d.params[2] == 0));
        }
    }
}

/// The plan of spiky's forward pass on an x of any layout, with a binding limit of 128 MiB.
fn forward(dtype: DType, x: &Layout, saving: bool) -> Result<Plan, Error> {
    let signature = ops::spiky().signature();
    let z = Layout::contiguous(x.shape());
    let [x, z] = [x, &z].map(|layout| {
        let len = layout.extent().map(|(_, high)| high + 1);
        Some(Given { len, layout: Some(layout), ..Given::default() })
    });
    let mask = saving.then(Given::default);
    let call = check(signature, &[x], &[z, None, mask]).expect("a right call");
    let place = |buffer| Some(Place { buffer, offset: 0 });
    let (reads, writes) = ([place(0), None, None], [place(1), None, place(2).filter(|_| saving)]);
    let limits = limits(128 << 20, 256, 65535, 8);
    plan(&Request { signature, call: &call, dtype, reads: &reads, writes: &writes, limits: &limits })
}

/// The place in `z` where each window of a plan begins, and its number of elements.
fn windows(plan: &Plan, dtype: DType) -> Vec<(u64, u64)> {
    let window = |d: &Dispatch| {
        let kernel = &plan.kernels[d.kernel];
        let z = kernel.operands.iter().position(|o| o.name == "z").expect("z");
        let slot = kernel.slots.iter().position(|s| s.operands.contains(&z)).expect("its slot");
        let names = shader::params(kernel);
        let base = names.iter().position(|name| name == "base_z").expect("its base");
        let unit = if kernel.form.is_vector() { 4 } else { 1 };
        (d.bindings[slot].offset / dtype.size() + unit * u64::from(d.params[base]), d.params[0].into())
    };
    plan.dispatches.iter().map(window).collect()
}

#[test]
fn windows_of_strided_reads_begin_at_whole_words() {
    // Rows of an odd number of elements, with a gap between them.
    let rows = |count| Layout::strided(&[count, 3_100_001], &[3_100_002, 1], 0);
    for &dtype in DType::ALL {
        let plan = forward(dtype, &rows(60), false).expect("a plan");
        let mut end = 0;
        for (start, len) in windows(&plan, dtype) {
            assert_eq!((start, start % 2), (end, 0), "{dtype:?}");
            end += len;
        }
        assert_eq!(end, 60 * 3_100_001);
    }
    // A mask's words span 32 rows at a time, if a binding holds as many.
    let plan = forward(DType::F32, &Layout::strided(&[90, 1_000_001], &[1_000_002, 1], 0), true);
    let windows = windows(&plan.expect("a plan"), DType::F32);
    assert_eq!(windows.iter().map(|w| w.0 / 1_000_001).collect::<Vec<_>>(), [0, 32, 64]);
}

#[test]
fn a_refused_call_names_the_read_to_copy() {
    let rows = Layout::strided(&[60, 3_100_001], &[3_100_002, 1], 0);
    let columns = Layout::strided(&[16384, 16383], &[1, 16384], 0);
    for (dtype, x, saving) in
        [(DType::F16, columns, false), (DType::F32, rows.clone(), true), (DType::F16, rows, true)]
    {
        let error = forward(dtype, &x, saving).expect_err("no window begins at a word");
        assert!(matches!(&error, Error::NeedsCopy { argument, .. } if argument == "x"), "{error}");
    }
}

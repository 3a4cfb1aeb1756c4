//! The building blocks in exact arithmetic, each as its own op, against IEEE arithmetic, bit for bit, on the CPU path
//! and on every adapter that wgpu finds. In native arithmetic every block must keep its bounds on every adapter.
//!
//! `ELEMGRAD_BLOCKS` is the number of drawn elements per block. Native arithmetic gets a tenth of it. From 2^32 on, a
//! block of one operand goes through all f32 instead.

use std::{cmp::Ordering, ops::ControlFlow};

use crate::common::{Draw, bits, edited, floats, is_full};
use elemgrad::{
    Args, Arithmetic, DType, Error, Op, Output, Pass, Primitive, Runner, View,
    check::{Inputs, verify},
    ops::modulo,
    wgpu,
};
use libtest_mimic::Trial;
use rayon::prelude::*;

/// A building block as an op. One of its outputs is compared.
struct Block {
    op: Op,
    output: usize,
    /// The operand of each read.
    reads: Vec<usize>,
    twin: Twin,
}

/// The names of the operands. If an upstream gradient is read, it is the last operand.
const OPERANDS: [&str; 3] = ["x", "y", "w"];

/// The bits that an op must give for its operands.
type Twin = fn([f32; 3]) -> u32;

/// The result of IEEE arithmetic for the operands of a block's example, by the name of the block.
fn twin(block: &str) -> Option<Twin> {
    let twin: Twin = match block {
        "add" => |[x, y, _]| number(x + y),
        "sub" => |[x, y, _]| number(x - y),
        "mul" => |[x, y, _]| number(x * y),
        "div" => |[x, y, _]| number(x / y),
        "neg" => |[x, ..]| number(-x),
        "abs" => |[x, ..]| number(x.abs()),
        "min" => |[x, y, _]| number(minimum(x, y)),
        "max" => |[x, y, _]| number(-minimum(-x, -y)),
        "floor" => |[x, ..]| number(x.floor()),
        "ceil" => |[x, ..]| number(x.ceil()),
        "round" => |[x, ..]| number(x.round_ties_even()),
        "trunc" => |[x, ..]| number(x.trunc()),
        "floor_mod" => |[x, y, _]| number(modulo::forward(x, y)),
        "floor_quotient" => |[x, y, _]| number(modulo::quotient(x, y)),
        "trunc_mod" => |[x, y, _]| number(x % y),
        "sqrt" => |[x, ..]| number(x.sqrt()),
        "clamp" => |[x, y, w]| number(minimum(-minimum(-x, -y), w)),
        "quantizeToF16" => |[x, ..]| number(f32::from(half::f16::from_f32(x))),
        "high_part" => |[x, ..]| number(if x.is_nan() { x } else { f32::from_bits(x.to_bits() >> 12 << 12) }),
        // Operands are stored as f32.
        "round_to_storage" => |[x, ..]| x.to_bits(),
        "lt" => |[x, y, _]| truth(x < y),
        "le" => |[x, y, _]| truth(x <= y),
        "eq" => |[x, y, _]| truth(x == y),
        "not" => |[x, ..]| truth(x <= 0.0 || x.is_nan()),
        "and" => |[x, y, _]| truth(x > 0.0 && y > 0.0),
        "or" => |[x, y, _]| truth(x > 0.0 || y > 0.0),
        "select" => |[x, y, w]| if w > 0.0 { x.to_bits() } else { y.to_bits() },
        _ => return None,
    };
    Some(twin)
}

/// Combinations of blocks: name, expression, the output that is compared, the right result.
const TOGETHER: [(&str, &str, usize, Twin); 4] = [
    ("select of negated", "select(-y, -w, x < y)", 0, |[x, y, w]| number(-if x < y { w } else { y })),
    ("and or not", "select(0.0, 1.0, !(x < y) && y <= w || x == w)", 0, |[x, y, w]| {
        let is_less = x < y;
        truth(!is_less && y <= w || x == w)
    }),
    ("fraction", "floor_mod(x, 1.0)", 0, fraction),
    ("mod_dy", "floor_mod(x, y)", 2, |[x, y, dz]| number(modulo::backward(x, y, dz).1)),
];

/// Blocks with estimates that are made worse than those of any device. Integers must repair them all the same.
const DAMAGED: [(&str, &str, &str); 8] = [
    ("mul", "+ 8388608.0", "+ 8388638.0"),
    ("mul", "+ 8388608.0", "+ 8388578.0"),
    ("div", "16384.0 /", "16384.25 /"),
    ("div", "16384.0 /", "16383.75 /"),
    ("sqrt", "inverseSqrt(f)", "(1.000003 * inverseSqrt(f))"),
    ("sqrt", "inverseSqrt(f)", "(0.999997 * inverseSqrt(f))"),
    ("sqrt", "f32(i32(missed))", "(f32(i32(missed)) - 8e6)"),
    ("sqrt", "f32(i32(missed))", "(f32(i32(missed)) + 8e6)"),
];

/// The functions of a block that estimates, except those that it shares with others.
fn functions(block: &str) -> Option<(&'static str, &'static [&'static str])> {
    const ARITHMETIC: &str = include_str!("../../shaders/blocks/arithmetic.wgsl");
    const DIVISION: &str = include_str!("../../shaders/blocks/division.wgsl");
    Some(match block {
        "mul" => (ARITHMETIC, &["f32_mul", "f32_mul_rare", "significand_product"]),
        "div" => (DIVISION, &["f32_div", "f32_div_rare", "significand_quotient"]),
        "sqrt" => (ARITHMETIC, &["f32_sqrt"]),
        _ => return None,
    })
}

/// The bits of a number. A NaN must be the canonical one.
fn number(v: f32) -> u32 {
    if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() }
}

fn truth(v: bool) -> u32 {
    f32::from(v).to_bits()
}

/// IEEE 754-2019 minimum.
fn minimum(x: f32, y: f32) -> f32 {
    match x.partial_cmp(&y) {
        None => f32::NAN,
        Some(Ordering::Equal) => f32::from_bits(x.to_bits() | y.to_bits()),
        Some(Ordering::Less) => x,
        Some(Ordering::Greater) => y,
    }
}

fn fraction([x, ..]: [f32; 3]) -> u32 {
    number(modulo::forward(x, 1.0))
}

impl Block {
    fn new(op: Op, output: usize, twin: Twin) -> Result<Self, String> {
        let place = |name: &str| OPERANDS.iter().position(|operand| *operand == name);
        let inputs = op.signature().inputs().iter().map(|input| place(input));
        let upstream = (output > 0).then_some(OPERANDS.len() - 1);
        let reads = inputs.chain(upstream.map(Some)).collect::<Option<_>>();
        let reads = reads.ok_or_else(|| format!("{op:?} has an operand that is none of {OPERANDS:?}"))?;
        Ok(Self { op, output, reads, twin })
    }

    /// A block of the library, alone.
    fn of(primitive: Primitive) -> Result<Self, String> {
        let twin = twin(primitive.name())
            .ok_or_else(|| format!("nothing here says what `{}` must give", primitive.name()))?;
        let example = primitive.example().ok_or("no text can write it")?;
        Self::new(exact(&example)?, 0, twin)
    }

    /// `x mod 1`, computed by the function for any divisor.
    fn fraction_as_mod() -> Result<Self, String> {
        let as_mod = |text: &str| text.replace("f32_fraction(x)", "f32_floor_mod_wide(x, F32_ONE).z");
        Self::new(edited(&exact("floor_mod(x, 1.0)")?, as_mod, &[])?, 0, fraction)
    }

    /// A block with a part of its WGSL replaced.
    fn damaged(block: &str, part: &str, other: &str) -> Result<Self, String> {
        let primitive = Primitive::ALL.iter().find(|primitive| primitive.name() == block);
        let whole = Self::of(*primitive.ok_or_else(|| format!("there is no block `{block}`"))?)?;
        let (source, names) = functions(block).ok_or_else(|| format!("`{block}` has no functions here"))?;
        let mut texts = String::new();
        for name in names {
            texts += function(source, name).ok_or_else(|| format!("shaders/blocks lacks {name}"))?;
        }
        if !texts.contains(part) {
            return Err(format!("`{block}` has no {part}"));
        }
        texts = texts.replace(part, other);
        for name in names {
            texts = texts.replace(&format!("{name}("), &format!("damaged_{name}("));
        }
        let damage = |text: &str| text.replace(&format!("f32_{block}("), &format!("damaged_f32_{block}("));
        Ok(Self { op: edited(&whole.op, damage, &[&texts])?, ..whole })
    }

    /// The number of operands.
    fn operands(&self) -> usize {
        self.reads.iter().max().map_or(0, |last| last + 1)
    }
}

fn exact(expression: &str) -> Result<Op, String> {
    let op = Op::from_expression("block", expression);
    op.and_then(|op| op.with_arithmetic(Arithmetic::Exact)).map_err(|e| e.to_string())
}

/// The text of a WGSL function.
fn function(source: &'static str, name: &str) -> Option<&'static str> {
    const END: &str = "\n}\n";
    let text = &source[source.find(&format!("fn {name}("))?..];
    Some(&text[..text.find(END)? + END.len()])
}

/// All blocks that have an exact form, and the combinations of blocks.
fn blocks() -> Vec<(String, Result<Block, String>)> {
    let is_exact = |primitive: &&Primitive| primitive.has_exact_form() && primitive.example().is_some();
    let exact_ones = Primitive::ALL.iter().filter(is_exact);
    let alone = exact_ones.map(|primitive| (primitive.name(), Block::of(*primitive)));
    let together = TOGETHER.into_iter().map(|(name, expression, output, twin)| {
        (name, exact(expression).and_then(|op| Block::new(op, output, twin)))
    });
    let all = alone.chain(together).chain([("fraction as mod", Block::fraction_as_mod())]);
    all.map(|(name, block)| (name.to_owned(), block)).collect()
}

pub(crate) fn on_adapter(name: &str, adapter: &wgpu::Adapter) -> Vec<Trial> {
    let damaged = DAMAGED
        .into_iter()
        .map(|(block, part, other)| (format!("{block} with {other}"), Block::damaged(block, part, other)));
    let open = {
        let adapter = adapter.clone();
        move || Runner::on_adapter(&adapter)
    };
    let native = Primitive::ALL.iter().filter(|primitive| primitive.example().is_some()).map(|primitive| {
        let open = open.clone();
        let check = move || Ok(check_native(&open()?, *primitive, count() / 10)?);
        Trial::test(format!("{name}: native {}", primitive.name()), check)
    });
    let mut all: Vec<Trial> = native.collect();
    for arithmetic in [Arithmetic::Native, Arithmetic::Exact] {
        let open = open.clone();
        let title = format!("{name}: {} choices between constants", arithmetic.name());
        all.push(Trial::test(title, move || Ok(check_choices(&open()?, arithmetic)?)));
    }
    all.extend(trials(name, blocks().into_iter().chain(damaged), open));
    all
}

pub(crate) fn on_the_cpu(name: &str) -> Vec<Trial> {
    trials(name, blocks(), || Ok(Runner::cpu()))
}

fn trials(
    device: &str,
    blocks: impl IntoIterator<Item = (String, Result<Block, String>)>,
    open: impl Fn() -> Result<Runner, Error> + Clone + Send + 'static,
) -> Vec<Trial> {
    let trial = |(name, block): (String, Result<Block, String>)| {
        let (title, open) = (format!("{device}: {name}"), open.clone());
        Trial::test(title, move || Ok(check(&open()?, &name, &block?, count())?))
    };
    blocks.into_iter().map(trial).collect()
}

fn count() -> u64 {
    match std::env::var("ELEMGRAD_BLOCKS") {
        Err(_) => 100_000,
        Ok(text) => text.parse().expect("ELEMGRAD_BLOCKS is a number"),
    }
}

/// What a device gives in native arithmetic lies within the bounds: every output for moderate operands, and the value
/// for special ones and for numbers of any size.
fn check_native(runner: &Runner, primitive: Primitive, count: u64) -> Result<(), String> {
    let example = primitive.example().ok_or("no text can write it")?;
    let op = Op::from_expression(primitive.name(), &example);
    let op = op.and_then(|op| op.with_arithmetic(Arithmetic::Native)).map_err(|e| e.to_string())?;
    let passes = if is_full() { Pass::ALL } else { &[Pass::Fused] };
    let verify = |inputs: &Inputs, passes: &[Pass]| {
        let report = verify(runner, &op, DType::F32, inputs, passes, &mut |_| ControlFlow::Continue(()));
        let report = report.map_err(|e| e.to_string())?;
        match report.first.first() {
            Some(mismatch) => Err(mismatch.to_string()),
            None => Ok(report),
        }
    };
    let report = verify(&Inputs::Sample { count, seed: 41 }, passes)?;
    if report.checked != count || report.left_out >= count {
        return Err(format!("{} of {count} checked, {} left out", report.checked, report.left_out));
    }
    let special = specials();
    let draw = |seed: u64, special: &[u32]| {
        let len = count as usize;
        Draw::new(seed)
            .take(len, |draw| if special.is_empty() { finite(draw) } else { anything(draw, special) })
    };
    let _ = verify(&given(&op, |column| draw(column, &special)), &[Pass::Forward])?;
    let report = verify(&given(&op, |column| draw(column, &[])), &[Pass::Forward])?;
    // Elementary functions say something nearly everywhere.
    if !primitive.has_exact_form() && report.left_out * 20 > report.checked {
        return Err(format!("of {} numbers of any size, {} are left out", report.checked, report.left_out));
    }
    Ok(())
}

/// A choice between constants has the bits of one of them, whatever a compiler knows of these constants.
fn check_choices(runner: &Runner, arithmetic: Arithmetic) -> Result<(), String> {
    type Kind = (&'static str, fn(f32) -> bool);
    const CONSTANTS: [f32; 5] = [0.0, -0.0, 1.0, -1.0, f32::NAN];
    let x = [-2.0, -0.0, 0.0, 1.0, 3.5, f32::NAN, f32::INFINITY];
    let pairs = CONSTANTS.iter().flat_map(|a| CONSTANTS.map(|b| (*a, b)));
    let kinds: [Kind; 3] = [("above", |x| x > 0.0), ("below", |x| x <= 0.0), ("unequal", |x| x != 1.0)];
    for ((a, b), (kind, holds)) in pairs.flat_map(|pair| kinds.map(|kind| (pair, kind))) {
        let op = Op::new("choice", ["x"], |[x]| {
            let condition = match kind {
                "above" => x.gt(0.0),
                "below" => x.le(0.0),
                _ => x.ne(1.0),
            };
            condition.select(x.constant(a), b)
        });
        let op = op.and_then(|op| op.with_arithmetic(arithmetic)).map_err(|e| e.to_string())?;
        let z = runner.forward(&op, &[&x]).map_err(|e| e.to_string())?;
        let right = x.map(|x| number(if holds(x) { a } else { b }));
        if bits(&z) != right {
            return Err(format!("{a} where {kind}, else {b}: {z:?} of {x:?}"));
        }
    }
    Ok(())
}

/// Operands of an op, and an upstream gradient, from the bits of a column.
fn given(op: &Op, bits: impl Fn(u64) -> Vec<u32>) -> Inputs {
    Inputs::Given(
        (0..=op.signature().inputs().len() as u64).map(|column| floats(&bits(column)).to_vec()).collect(),
    )
}

/// A finite number of any size and sign.
fn finite(draw: &mut Draw) -> u32 {
    std::iter::repeat_with(|| draw.bits()).find(|v| v >> 23 & 0xff != 0xff).unwrap_or_default()
}

/// The number of elements that are compared at a time.
const CHUNK: u64 = 1 << 20;

/// Compares all pairs of special values, then drawn operands, or all operands.
fn check(runner: &Runner, name: &str, block: &Block, count: u64) -> Result<(), String> {
    let special = specials();
    let pairs = || special.iter().flat_map(|x| special.iter().map(move |y| (*x, *y)));
    let len = special.len() * special.len();
    let columns = [
        pairs().map(|(x, _)| x).collect(),
        pairs().map(|(_, y)| y).collect(),
        Draw::new(1).take(len, |draw| anything(draw, &special)),
    ];
    compare(runner, name, block, &columns)?;

    let exhaustive = block.operands() == 1 && count >= 1 << 32;
    let count = if exhaustive { 1 << 32 } else { count };
    for start in (0..count).step_by(CHUNK as usize) {
        let len = CHUNK.min(count - start) as usize;
        let mut columns: [Vec<u32>; 3] = std::array::from_fn(|_| vec![0; len]);
        if exhaustive {
            columns[0].par_iter_mut().enumerate().for_each(|(i, x)| *x = start as u32 + i as u32);
        } else {
            fill(&mut columns, block.operands(), start, &special);
        }
        compare(runner, name, block, &columns)?;
    }
    Ok(())
}

fn compare(runner: &Runner, name: &str, block: &Block, columns: &[Vec<u32>; 3]) -> Result<(), String> {
    // Bits that no block gives, so an element that is not written counts as wrong.
    let mut got = vec![f32::from_bits(0xffed_cba9); columns[0].len()];
    let reads = block.reads.iter().map(|operand| Some(View::from(floats(&columns[*operand])))).collect();
    let mut writes: Vec<Option<Output>> = (0..block.output).map(|_| None).collect();
    writes.push(Some(Output::from(&mut got[..])));
    runner.run(Args::new(&block.op, reads, writes)).map_err(|e| e.to_string())?;

    let row = |i: usize| [0, 1, 2].map(|operand: usize| f32::from_bits(columns[operand][i]));
    let expected = |i: usize| (block.twin)(row(i));
    let wrong: Vec<usize> =
        (0..got.len()).into_par_iter().filter(|i| bits(&got)[*i] != expected(*i)).collect();
    let Some(&i) = wrong.first() else { return Ok(()) };
    let operands: Vec<_> =
        row(i)[..block.operands()].iter().map(|v| format!("{v:e} ({:08x})", v.to_bits())).collect();
    Err(format!(
        "{name} of {} is {:08x}, not {:08x} ({} of {} are wrong)",
        operands.join(", "),
        got[i].to_bits(),
        expected(i),
        wrong.len(),
        got.len(),
    ))
}

// Operands.

/// Of both signs: zeros, subnormals, the ends of the exponents, of the significand and of its upper half, numbers
/// whose unit is 2, 1, a half and a quarter, infinities, and NaNs of many payloads.
fn specials() -> Vec<u32> {
    const FRACTIONS: [u32; 8] = [0, 1, 2, 0x3f_ffff, 0x40_0000, 0x40_0001, 0x7f_fffe, 0x7f_ffff];
    const EXPONENTS: [u32; 17] =
        [0, 1, 2, 23, 24, 102, 125, 126, 127, 128, 129, 148, 149, 150, 151, 254, 255];
    let magnitudes = || EXPONENTS.into_iter().flat_map(|e| FRACTIONS.map(|fraction| e << 23 | fraction));
    magnitudes().chain(magnitudes().map(|v| v | 1 << 31)).collect()
}

/// Drawn operands. Each follows from its number.
fn fill(columns: &mut [Vec<u32>; 3], operands: usize, start: u64, special: &[u32]) {
    const ROWS: usize = 1 << 12;
    let [x, y, w] = columns;
    let blocks = x.par_chunks_mut(ROWS).zip(y.par_chunks_mut(ROWS)).zip(w.par_chunks_mut(ROWS));
    blocks.enumerate().for_each(|(block, ((x, y), w))| {
        let draw = &mut Draw::new(start + (block * ROWS) as u64);
        for ((x, y), w) in x.iter_mut().zip(y).zip(w) {
            if operands == 1 && !draw.one_in(4) {
                *x = single(draw);
            } else {
                [*x, *y] = pair(draw, special);
                *w = anything(draw, special);
            }
        }
    });
}

/// Any operand: special, of any bits, or of ordinary size.
fn anything(draw: &mut Draw, special: &[u32]) -> u32 {
    match draw.below(4) {
        0 => draw.pick(special),
        1 => draw.bits(),
        _ => signed(draw, 107, 147),
    }
}

/// A number with an exponent field in a range.
fn signed(draw: &mut Draw, low: u32, high: u32) -> u32 {
    let e = low + draw.below((high - low) as usize) as u32;
    draw.bits() & 0x807f_ffff | e << 23
}

/// A fraction with few ones or few zeros.
fn sparse(draw: &mut Draw) -> u32 {
    let (fraction, place) = (draw.bits() >> 9, draw.below(23));
    match draw.below(3) {
        0 => fraction >> place << place,
        1 => fraction | ((1 << place) - 1),
        _ => 1 << place,
    }
}

/// A significand in [2^23, 2^24).
fn significand(draw: &mut Draw) -> u32 {
    draw.bits() >> 9 | 1 << 23
}

/// The number with this significand and exponent field, at most two steps off.
fn near(draw: &mut Draw, significand: u32, e: u32) -> u32 {
    ((significand & 0x7f_ffff | e << 23) + 2 - draw.below(5) as u32) | draw.bits() & 1 << 31
}

/// An operand that is hard for a function of one operand.
fn single(draw: &mut Draw) -> u32 {
    match draw.below(4) {
        // Around a square of 25 bits, which gives a tie of the root.
        0 => {
            let root = u64::from(significand(draw) << 1 | 1);
            let square = root * root;
            let e = 1 + draw.below(253) as u32;
            near(draw, (square >> (40 - square.leading_zeros())) as u32, e)
        }
        // Around a multiple of a half.
        1 => {
            let half = (draw.bits() >> draw.below(32)) as f32 / 2.0;
            half.to_bits().wrapping_add(draw.below(5) as u32).wrapping_sub(2) ^ draw.bits() & 1 << 31
        }
        2 => signed(draw, 90, 155),
        _ => draw.bits(),
    }
}

/// Operands that are hard for a function of two operands, and others.
fn pair(draw: &mut Draw, special: &[u32]) -> [u32; 2] {
    let (a, b) = (1 + draw.below(254) as u32, 1 + draw.below(254) as u32);
    let sign = draw.bits() & 1 << 31;
    match draw.below(10) {
        0 => [draw.bits(), draw.bits()],
        1 => [draw.pick(special), draw.bits()],
        2 => [draw.bits(), draw.pick(special)],
        3 => [anything(draw, special), anything(draw, special)],
        // Exponents at most as far apart as affects a sum: ties, carries, cancellation.
        4 => {
            let b = a.saturating_sub(draw.below(28) as u32);
            let pair = [sparse(draw) | a << 23 | sign, sparse(draw) | b << 23 | draw.bits() & 1 << 31];
            if draw.one_in(2) { pair } else { [pair[1], pair[0]] }
        }
        // A product whose 23 lower bits are a half, or slightly more or less. One factor is odd, so it has an
        // inverse.
        5 => {
            let factor = significand(draw) | 1;
            let inverse =
                (0..5).fold(1_u32, |v, _| v.wrapping_mul(2_u32.wrapping_sub(factor.wrapping_mul(v))));
            let lower = (1_u32 << 22).wrapping_add(draw.below(9) as u32).wrapping_sub(4);
            let other = lower.wrapping_mul(inverse) & 0x7f_ffff;
            [factor & 0x7f_ffff | a << 23 | sign, other | b << 23]
        }
        // A quotient near a number of 25 bits, which is a tie, or near an integer.
        6 => {
            let quotient = u64::from(significand(draw) << 1 | 1) >> (draw.below(2) * draw.below(25));
            let divisor = significand(draw);
            let product = quotient * u64::from(divisor);
            let size = 64 - product.leading_zeros();
            // An integer quotient, if the exponents fit.
            let x = b + size - 24;
            let a = if x < 254 && draw.one_in(2) { x } else { a };
            [near(draw, (product >> (size - 24)) as u32, a) ^ sign, divisor & 0x7f_ffff | b << 23]
        }
        // A product or a quotient around the smallest normal number or the largest number.
        7 => {
            let field = if draw.one_in(3) { 250 + draw.below(8) as i32 } else { draw.below(36) as i32 - 30 };
            let (a, b) =
                (a as i32, if draw.one_in(2) { field + 127 - a as i32 } else { a as i32 + 127 - field });
            let b = b.clamp(0, 254);
            [sparse(draw) | (a as u32) << 23 | sign, sparse(draw) | (b as u32) << 23]
        }
        // A quotient whose bits from the 26th on are ones. One more in its last place may make a tie.
        8 => {
            let divisor = significand(draw) | 1;
            let mut dividend = divisor - 1 - draw.below(3) as u32;
            for _ in 0..25 {
                dividend = if dividend.is_multiple_of(2) { dividend } else { dividend + divisor } / 2;
            }
            let zeros = dividend.max(1).leading_zeros() - 8;
            let (b, apart) = (1 + draw.below(200) as u32, 25 + draw.below(26) as u32);
            let dividend = dividend << zeros & 0x7f_ffff | (b + apart - zeros) << 23;
            [dividend | sign, divisor & 0x7f_ffff | b << 23 | draw.bits() & 1 << 31]
        }
        _ => [signed(draw, 107, 147), signed(draw, 107, 147)],
    }
}

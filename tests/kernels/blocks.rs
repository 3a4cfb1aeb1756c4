//! The building blocks of user-defined ops, each a function of `shaders/numeric`, against IEEE arithmetic, bit for bit, on
//! every adapter that wgpu finds.
//!
//! `ELEMGRAD_BLOCKS` is the number of drawn elements for each block; from 2^32 on a block of one operand goes through all of
//! them instead.

use crate::common::{Draw, bits, floats};
use elemgrad::{
    Args, DType, Op, Output, Runner, View,
    op::Text,
    ops::modulo,
    signature::{Signature, SignatureBuilder},
    wgpu,
};
use libtest_mimic::Trial;
use rayon::prelude::*;

/// A building block: WGSL on the bits of `x`, `y` and `w`, and what it must give. A NaN is to be the canonical one.
struct Block {
    name: &'static str,
    operands: usize,
    expression: &'static str,
    functions: &'static [&'static str],
    twin: fn(&[f32]) -> f32,
}

macro_rules! numeric {
    ($($file:literal)*) => {
        &[$(include_str!(concat!("../../shaders/", $file, ".wgsl"))),*]
    };
}

const ADD: &[&str] = numeric!("numeric/add");
const MUL: &[&str] = numeric!("numeric/mul");
const DIV: &[&str] = numeric!("numeric/division" "numeric/div");
const SQRT: &[&str] = numeric!("numeric/sqrt");
const SIGN: &[&str] = numeric!("numeric/sign");
const ROUND: &[&str] = numeric!("numeric/round");
const COMPARE: &[&str] = numeric!("numeric/compare");
const SELECT: &[&str] = numeric!("numeric/sign" "numeric/compare");
const FRACTION: &[&str] = numeric!("numeric/fraction");
const MODS: &[&str] = numeric!(
    "numeric/sign" "numeric/mul" "numeric/division" "numeric/floor_mod" "numeric/trunc_mod" "ops/mod"
);

static BLOCKS: [Block; 24] = [
    block("add", 2, "f32_add(x, y)", ADD, |v| v[0] + v[1]),
    block("sub", 2, "f32_sub(x, y)", ADD, |v| v[0] - v[1]),
    block("mul", 2, "f32_mul(x, y)", MUL, |v| v[0] * v[1]),
    block("div", 2, "f32_div(x, y)", DIV, |v| v[0] / v[1]),
    block("sqrt", 1, "f32_sqrt(x)", SQRT, |v| v[0].sqrt()),
    block("neg", 1, "f32_neg(x)", SIGN, |v| -v[0]),
    block("abs", 1, "f32_abs(x)", SIGN, |v| v[0].abs()),
    block("floor", 1, "f32_floor(x)", ROUND, |v| v[0].floor()),
    block("ceil", 1, "f32_ceil(x)", ROUND, |v| v[0].ceil()),
    block("round", 1, "f32_round(x)", ROUND, |v| v[0].round_ties_even()),
    block("trunc", 1, "f32_trunc(x)", ROUND, |v| v[0].trunc()),
    block("lt", 2, "select(0u, F32_ONE, f32_lt(x, y))", COMPARE, |v| f32::from(v[0] < v[1])),
    block("le", 2, "select(0u, F32_ONE, f32_le(x, y))", COMPARE, |v| f32::from(v[0] <= v[1])),
    block("eq", 2, "select(0u, F32_ONE, f32_eq(x, y))", COMPARE, |v| f32::from(v[0] == v[1])),
    block("min", 2, "f32_min(x, y)", COMPARE, |v| minimum(v[0], v[1])),
    block("max", 2, "f32_max(x, y)", COMPARE, |v| -minimum(-v[0], -v[1])),
    block("select", 3, "select(f32_neg(y), f32_neg(w), f32_lt(x, y))", SELECT, |v| {
        -if v[0] < v[1] { v[2] } else { v[1] }
    }),
    block(
        "and or not",
        3,
        "select(0u, F32_ONE, (!f32_lt(x, y) && f32_le(y, w)) || f32_eq(x, w))",
        COMPARE,
        |v| {
            let is_less = v[0] < v[1];
            f32::from(!is_less && v[1] <= v[2] || v[0] == v[2])
        },
    ),
    block("fraction", 1, "f32_fraction(x)", FRACTION, |v| modulo::forward(v[0], 1.0)),
    block("fraction as mod", 1, "f32_floor_mod_wide(x, F32_ONE).z", MODS, |v| modulo::forward(v[0], 1.0)),
    block("floor_mod", 2, "f32_floor_mod_wide(x, y).z", MODS, |v| modulo::forward(v[0], v[1])),
    block("floor_quotient", 2, "f32_floor_quotient(f32_floor_mod_wide(x, y))", MODS, |v| {
        modulo::quotient(v[0], v[1])
    }),
    block("mod_dy", 3, "mod_dy_wide(f32_floor_mod_wide(x, y), w)", MODS, |v| {
        modulo::backward(v[0], v[1], v[2]).1
    }),
    block("trunc_mod", 2, "f32_trunc_mod(x, y)", MODS, |v| v[0] % v[1]),
];

/// Blocks whose estimates are made worse than any device's: integers must repair them all the same.
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

const fn block(
    name: &'static str,
    operands: usize,
    expression: &'static str,
    functions: &'static [&'static str],
    twin: fn(&[f32]) -> f32,
) -> Block {
    Block { name, operands, expression, functions, twin }
}

/// IEEE 754-2019 minimum.
fn minimum(x: f32, y: f32) -> f32 {
    match x.partial_cmp(&y) {
        None => f32::NAN,
        Some(std::cmp::Ordering::Equal) => f32::from_bits(x.to_bits() | y.to_bits()),
        Some(order) => {
            if order.is_lt() {
                x
            } else {
                y
            }
        }
    }
}

/// A block as an op.
struct BlockOp {
    signature: Signature,
    twin: fn(&[f32]) -> f32,
}

impl BlockOp {
    fn new(block: &Block, edit: impl Fn(&'static str) -> Text) -> Self {
        let inputs = &["x", "y", "w"][..block.operands];
        // A signature has a gradient for each input; nobody asks for these.
        let unused = inputs.iter().map(|input| SignatureBuilder::gradient(input, "0u", "0"));
        let signature = Signature {
            name: "block".into(),
            inputs: inputs.iter().map(|input| (*input).into()).collect(),
            functions: block.functions.iter().map(|functions| edit(functions)).collect(),
            lets: Vec::new(),
            outputs: std::iter::once(SignatureBuilder::z(block.expression, block.name))
                .chain(unused)
                .collect(),
        };
        Self { signature, twin: block.twin }
    }
}

impl Op for BlockOp {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn reference(&self, _: DType, reads: &[f32], writes: &mut [f32]) {
        let value = (self.twin)(&reads[..self.signature.upstream()]);
        writes.fill(0.0);
        writes[0] = if value.is_nan() { f32::from_bits(0x7fc0_0000) } else { value };
    }
}

pub(crate) fn on_adapter(name: &str, adapter: &wgpu::Adapter) -> Vec<Trial> {
    let count = match std::env::var("ELEMGRAD_BLOCKS") {
        Err(_) => 100_000,
        Ok(text) => text.parse().expect("ELEMGRAD_BLOCKS is a number"),
    };
    let trial = |name: String, block: &'static Block, op: BlockOp| {
        let adapter = adapter.clone();
        Trial::test(name, move || Ok(check(&adapter, block, &op, count)?))
    };
    let whole = BLOCKS
        .iter()
        .map(|block| trial(format!("{name}: {}", block.name), block, BlockOp::new(block, Text::Borrowed)));
    let damaged = DAMAGED.iter().map(|(damaged, part, other)| {
        let block = BLOCKS.iter().find(|block| block.name == *damaged).expect("a block");
        let op = BlockOp::new(block, |functions| functions.replace(part, other).into());
        let whole = BlockOp::new(block, Text::Borrowed);
        assert_ne!(op.signature.functions, whole.signature.functions, "{damaged} has no {part}");
        trial(format!("{name}: {damaged} with {other}"), block, op)
    });
    whole.chain(damaged).collect()
}

/// Elements that are compared at a time.
const CHUNK: u64 = 1 << 20;

/// All pairs of special values, then drawn operands, or all of them.
fn check(adapter: &wgpu::Adapter, block: &Block, op: &BlockOp, count: u64) -> Result<(), String> {
    let runner = Runner::on_adapter(adapter).map_err(|e| e.to_string())?;
    let special = specials();
    let pairs = || special.iter().flat_map(|x| special.iter().map(move |y| (*x, *y)));
    let len = special.len() * special.len();
    let columns = [
        pairs().map(|(x, _)| x).collect(),
        pairs().map(|(_, y)| y).collect(),
        Draw::new(1).take(len, |draw| number(draw, &special)),
    ];
    compare(&runner, op, block, &columns)?;

    let exhaustive = block.operands == 1 && count >= 1 << 32;
    let count = if exhaustive { 1 << 32 } else { count };
    for start in (0..count).step_by(CHUNK as usize) {
        let len = CHUNK.min(count - start) as usize;
        let mut columns: [Vec<u32>; 3] = std::array::from_fn(|_| vec![0; len]);
        if exhaustive {
            columns[0].par_iter_mut().enumerate().for_each(|(i, x)| *x = start as u32 + i as u32);
        } else {
            fill(&mut columns, block.operands, start, &special);
        }
        compare(&runner, op, block, &columns)?;
    }
    Ok(())
}

fn compare(runner: &Runner, op: &BlockOp, block: &Block, columns: &[Vec<u32>; 3]) -> Result<(), String> {
    let columns = &columns[..block.operands];
    // Bits that no block gives, so that what is not written counts as wrong.
    let mut z = vec![f32::from_bits(0xffed_cba9); columns[0].len()];
    let reads = columns.iter().map(|column| Some(View::from(floats(column)))).collect();
    runner.run(Args::new(op, reads, vec![Some(Output::from(&mut z[..]))])).map_err(|e| e.to_string())?;

    let row = |i: usize| columns.iter().map(|column| f32::from_bits(column[i])).collect::<Vec<_>>();
    let expected = |i: usize| {
        let (mut reads, mut writes) = ([0.0; 4], [0.0; 4]);
        reads.iter_mut().zip(columns).for_each(|(read, column)| *read = f32::from_bits(column[i]));
        op.reference(DType::F32, &reads, &mut writes);
        writes[0].to_bits()
    };
    let wrong: Vec<usize> = (0..z.len()).into_par_iter().filter(|i| bits(&z)[*i] != expected(*i)).collect();
    let Some(&i) = wrong.first() else { return Ok(()) };
    let operands: Vec<_> = row(i).iter().map(|v| format!("{v:e} ({:08x})", v.to_bits())).collect();
    Err(format!(
        "{} of {} is {:08x}, not {:08x} ({} of {} are wrong)",
        block.name,
        operands.join(", "),
        z[i].to_bits(),
        expected(i),
        wrong.len(),
        z.len(),
    ))
}

// Operands.

/// With both signs: zeros, subnormals, the ends of the exponents and of the significand and of its upper half, numbers
/// whose unit is 2, 1, a half and a quarter, infinities, and NaNs of many payloads.
fn specials() -> Vec<u32> {
    const FRACTIONS: [u32; 8] = [0, 1, 2, 0x3f_ffff, 0x40_0000, 0x40_0001, 0x7f_fffe, 0x7f_ffff];
    const EXPONENTS: [u32; 17] =
        [0, 1, 2, 23, 24, 102, 125, 126, 127, 128, 129, 148, 149, 150, 151, 254, 255];
    let magnitudes = || EXPONENTS.into_iter().flat_map(|e| FRACTIONS.map(|fraction| e << 23 | fraction));
    magnitudes().chain(magnitudes().map(|v| v | 1 << 31)).collect()
}

/// Drawn operands, which follow from their number.
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
                *w = number(draw, special);
            }
        }
    });
}

/// Anything: special, any bits, of ordinary size.
fn number(draw: &mut Draw, special: &[u32]) -> u32 {
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

/// A fraction of few ones, or of few zeros.
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

/// An operand that is hard for a function of one.
fn single(draw: &mut Draw) -> u32 {
    match draw.below(4) {
        // Around a square of 25 bits, which is a tie of the root.
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

/// Operands that are hard for a function of two, and others.
fn pair(draw: &mut Draw, special: &[u32]) -> [u32; 2] {
    let (a, b) = (1 + draw.below(254) as u32, 1 + draw.below(254) as u32);
    let sign = draw.bits() & 1 << 31;
    match draw.below(10) {
        0 => [draw.bits(), draw.bits()],
        1 => [draw.pick(special), draw.bits()],
        2 => [draw.bits(), draw.pick(special)],
        3 => [number(draw, special), number(draw, special)],
        // Exponents as far apart as a sum can see, or less: ties, carries, cancellation.
        4 => {
            let b = a.saturating_sub(draw.below(28) as u32);
            let pair = [sparse(draw) | a << 23 | sign, sparse(draw) | b << 23 | draw.bits() & 1 << 31];
            if draw.one_in(2) { pair } else { [pair[1], pair[0]] }
        }
        // A product whose 23 lower bits are a half and little more or less: the one factor is odd and has an inverse.
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
            // An integer quotient where the exponents fit.
            let x = b + size - 24;
            let a = if x < 254 && draw.one_in(2) { x } else { a };
            [near(draw, (product >> (size - 24)) as u32, a) ^ sign, divisor & 0x7f_ffff | b << 23]
        }
        // A product or a quotient around the least normal number or the largest.
        7 => {
            let field = if draw.one_in(3) { 250 + draw.below(8) as i32 } else { draw.below(36) as i32 - 30 };
            let (a, b) =
                (a as i32, if draw.one_in(2) { field + 127 - a as i32 } else { a as i32 + 127 - field });
            let b = b.clamp(0, 254);
            [sparse(draw) | (a as u32) << 23 | sign, sparse(draw) | (b as u32) << 23]
        }
        // A quotient whose bits from the 26th on are ones: one more in its last place may make a tie.
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

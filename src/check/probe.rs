//! What a device does with floating point: the reasons why kernels use integer arithmetic.
//!
//! Each probe is an op of one float operation. It runs like any other op and is compared with IEEE arithmetic.

use super::data::Data;
use crate::{
    call::host::{Output, View},
    dtype::DType,
    error::Error,
    op::{Op, args::Args},
    run::Runner,
    signature::Signature,
};

/// The results of the probes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is the answer to a question of its own")]
#[non_exhaustive]
#[must_use]
pub struct Probes {
    /// Subnormal operands or results become zero.
    pub flushes_subnormals: bool,
    /// `fma(x, y, w)` rounds once.
    pub fma_is_fused: bool,
    /// `x * y + w` rounds once, although the source asks for two roundings.
    pub contracts: bool,
    /// Sums and products of normal numbers round to nearest, ties to even.
    pub rounds_to_nearest_even: bool,
    /// The largest error of `x / y` in units in the last place, over normal operands and results.
    pub division_error_ulp: u32,
}

/// Probes the device of a runner.
///
/// # Errors
/// What the device reports.
pub fn probe(runner: &Runner) -> Result<Probes, Error> {
    let bits = |op: &Op, inputs: &[&[f32]]| -> Result<Vec<u32>, Error> {
        let mut z = Vec::new();
        let reads = inputs.iter().map(|input| Some(View::from(*input))).collect();
        runner.run_here(Args::new(op, reads, vec![Some(Output::from(&mut z))]))?;
        Ok(z.into_iter().map(f32::to_bits).collect())
    };
    // The sum of a subnormal and a normal operand would show flushing, and so would a subnormal product of two normal
    // factors.
    let (tiny, least) = (f32::from_bits(1), f32::MIN_POSITIVE);
    let sum = bits(&add()?, &[&[tiny, least], &[tiny, tiny]])?;
    let product = bits(&multiply()?, &[&[least], &[0.5]])?;
    let flushes_subnormals = sum != [2, 0x0080_0001] || product != [0x0040_0000];

    // (1 + e)(1 - e) - 1 is -e^2 in one rounding. In two, the product is nearer to 1 than to 1's neighbour, and the
    // result is 0.
    let e = 1.0 / 8192.0;
    let [x, y, w]: [&[f32]; 3] = [&[1.0 + e], &[1.0 - e], &[-1.0]];
    let once = [(-e * e).to_bits()];
    let fma_is_fused = bits(&fma()?, &[x, y, w])? == once;
    let contracts = bits(&multiply_add()?, &[x, y, w])? == once;

    let (x, y) = normal_operands();
    let expected =
        |f: fn(f32, f32) -> f32| x.iter().zip(&y).map(|(x, y)| f(*x, *y).to_bits()).collect::<Vec<_>>();
    let rounds_to_nearest_even = bits(&add()?, &[&x, &y])? == expected(|x, y| x + y)
        && bits(&multiply()?, &[&x, &y])? == expected(|x, y| x * y);
    let quotients = bits(&divide()?, &[&x, &y])?;
    let errors = quotients.iter().zip(expected(|x, y| x / y)).map(|(q, exact)| q.abs_diff(exact));
    let division_error_ulp = errors.max().unwrap_or(0);
    Ok(Probes { flushes_subnormals, fma_is_fused, contracts, rounds_to_nearest_even, division_error_ulp })
}

/// Random normal numbers with normal sums, products and quotients, and ties.
fn normal_operands() -> (Vec<f32>, Vec<f32>) {
    let mut operands = vec![vec![0.0; 1 << 16]; 3];
    Data::Ordinary.fill(DType::F32, 1, 0, &mut operands);
    let (mut x, mut y) = (operands.swap_remove(0), operands.swap_remove(1));
    let half = f32::EPSILON / 2.0;
    for one in [1.0, 1.0 + f32::EPSILON, -1.0, -1.0 - f32::EPSILON] {
        x.extend([one, one]);
        y.extend([half, -half * 3.0]);
    }
    (x, y)
}

/// An op of one expression. An op needs a gradient for each input; nothing uses these.
fn op<const N: usize>(inputs: [&str; N], z: &str, exact: fn(&[f32]) -> f32) -> Result<Op, Error> {
    let signature = Signature::builder("probe", inputs).z(z, z);
    let signature = inputs.iter().fold(signature, |all, input| all.gradient(input, "0u", "0")).build()?;
    Op::raw(signature, move |_, reads, writes| {
        writes.fill(0.0);
        writes[0] = exact(reads);
    })
}

const TWO: [&str; 2] = ["x", "y"];
const THREE: [&str; 3] = ["x", "y", "w"];

fn add() -> Result<Op, Error> {
    op(TWO, "bitcast<u32>(bitcast<f32>(x) + bitcast<f32>(y))", |r| r[0] + r[1])
}

fn multiply() -> Result<Op, Error> {
    op(TWO, "bitcast<u32>(bitcast<f32>(x) * bitcast<f32>(y))", |r| r[0] * r[1])
}

fn divide() -> Result<Op, Error> {
    op(TWO, "bitcast<u32>(bitcast<f32>(x) / bitcast<f32>(y))", |r| r[0] / r[1])
}

fn fma() -> Result<Op, Error> {
    let z = "bitcast<u32>(fma(bitcast<f32>(x), bitcast<f32>(y), bitcast<f32>(w)))";
    op(THREE, z, |r| r[0].mul_add(r[1], r[2]))
}

fn multiply_add() -> Result<Op, Error> {
    let z = "bitcast<u32>(bitcast<f32>(x) * bitcast<f32>(y) + bitcast<f32>(w))";
    op(THREE, z, |r| r[0] * r[1] + r[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference follows IEEE and fuses exactly what is to be fused, so the probes' verdict on it is known.
    #[test]
    fn the_reference_is_ieee() -> Result<(), Error> {
        let ieee = Probes {
            flushes_subnormals: false,
            fma_is_fused: true,
            contracts: false,
            rounds_to_nearest_even: true,
            division_error_ulp: 0,
        };
        assert_eq!(probe(&Runner::reference())?, ieee);
        Ok(())
    }
}

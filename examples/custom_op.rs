//! Your own ops, each in a few lines: `cargo run --example custom_op`.
//!
//! In TensorFlow, each of these ops took a NumPy function per direction, a node that called back into Python, and a
//! gradient registered by hand under a unique name. It ran on the CPU, one element at a time.

use elemgrad::{Arithmetic, Error, Op, Runner};

fn main() -> Result<(), Error> {
    // Uses a GPU if there is one.
    let runner = Runner::auto();
    println!("on {}\n", runner.name());

    // In TensorFlow: a NumPy function in a node, and a function that multiplies the upstream gradient by 2 x,
    // registered for that node. Here the gradient follows from the expression: dz * x + dz * x.
    let square = Op::new("square", ["x"], |[x]| x * x)?;
    show(&runner, &square, &[&[-1.5, 0.0, 2.0]])?;

    // In TensorFlow: a second node, and a function that returns one gradient per input, in order. Here: dz and -dz.
    let difference = Op::new("difference", ["a", "b"], |[a, b]| a - b)?;
    show(&runner, &difference, &[&[3.0, 1.0], &[1.0, 4.0]])?;

    // The activation that the project began with: r = x mod 1, and the result is r if r <= 0.5, else 0. In
    // TensorFlow: Python functions of one number for the activation and its slope, each vectorized, cast to float32
    // and put into its own node; a function that multiplies the upstream gradient by the slope's node; a random name
    // to register that function under; and a graph that overrides the gradient of its nodes with that name.
    let spiky = Op::new("spiky", ["x"], |[x]| {
        let r = x.floor_mod(1.0).round_to_storage();
        r.le(0.5).select(r, 0.0)
    })?;
    show(&runner, &spiky, &[&[0.2, 0.7, 1.2, 1.7]])?;

    // Python's %. In TensorFlow: np.mod in a node, and -floor(x / y) as further nodes, in floats that need not agree
    // with np.mod. Here one division gives both remainder and floor, to the bit in exact arithmetic.
    let modulo = Op::new("mod", ["x", "y"], |[x, y]| x.floor_mod(y))?.with_arithmetic(Arithmetic::Exact)?;
    show(&runner, &modulo, &[&[0.3, 0.7, 1.2, 1.7], &[0.2, 0.5, 1.0, 2.9]])?;

    // A step is flat, so its own gradient teaches nothing. A written gradient replaces it. In TensorFlow, every
    // gradient was written, whether it had to be or not.
    let step = Op::new("step", ["x"], |[x]| x.gt(0.0).select(1.0, 0.0))?
        .with_gradient("x", |[x], _, dz| (x.abs().le(1.0)).select(dz * 0.5, 0.0))?;
    show(&runner, &step, &[&[-2.0, -0.5, 0.5, 2.0]])?;

    // In TensorFlow: a node for each op, and memory between them. Here ops in ops are one kernel and one pass over
    // memory. A scale that changes from call to call is an input of one element. It broadcasts: nothing is compiled
    // again, and its gradient is the sum.
    let scaled =
        Op::new("scaled", ["x", "y", "scale"], |[x, y, scale]| spiky.call([modulo.call([x, y])]) * scale)?;
    show(&runner, &scaled, &[&[0.3, 0.7, 1.2, 1.7], &[0.2, 0.5, 1.0, 2.9], &[10.0]])?;

    // An op from WGSL text, with its gradient written in WGSL too.
    let leaky = Op::from_wgsl(
        "leaky",
        "fn forward(x: f32) -> f32 {
            if x < 0.0 { return 0.01 * x; }
            return x;
        }

        fn d_x(x: f32, z: f32, dz: f32) -> f32 {
            return select(dz, 0.01 * dz, x < 0.0);
        }",
    )?;
    show(&runner, &leaky, &[&[-2.0, 3.0]])
}

/// Prints an op's formulas, and its output and gradients for an upstream gradient of ones.
fn show(runner: &Runner, op: &Op, inputs: &[&[f32]]) -> Result<(), Error> {
    let elements = inputs.iter().map(|input| input.len()).max().unwrap_or(0);
    let (z, gradients) = runner.fused(op, inputs, &vec![1.0; elements][..])?;
    let signature = op.signature();
    println!("{}({})", signature.name(), signature.inputs().join(", "));
    for (output, values) in signature.outputs().iter().zip([z].iter().chain(&gradients)) {
        println!("  {} = {:30} {values:?}", output.name, output.formula);
    }
    println!();
    Ok(())
}

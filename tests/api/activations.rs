//! Activations, ready-made and written by hand, against f64: finite everywhere, and within 4e-6.

use elemgrad::{DType, Op, ops};

/// A function and its slope in f64, by formulas that do not cancel.
type Truth = fn(f64) -> (f64, f64);

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `1 - tanh²`.
fn sech2(x: f64) -> f64 {
    let p = (-2.0 * x.abs()).exp();
    4.0 * p / ((1.0 + p) * (1.0 + p))
}

fn gelu(x: f64) -> (f64, f64) {
    let half = libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2) / 2.0;
    (x * half, half + x * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt())
}

fn gelu_tanh(x: f64) -> (f64, f64) {
    let c = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    let (u, slope) = (c * x * (1.0 + 0.044715 * x * x), c * (1.0 + 3.0 * 0.044715 * x * x));
    let (s, r) = (sigmoid(u), sigmoid(-u));
    // e^-u wins against any power of x.
    let rest = if r == 0.0 || s == 0.0 { 0.0 } else { x * s * r * slope };
    (if s == 0.0 { -0.0 } else { x * s }, s + rest)
}

fn mish(x: f64) -> (f64, f64) {
    let t = softplus(x).tanh();
    (x * t, t + x * sech2(softplus(x)) * sigmoid(x))
}

fn silu(x: f64, c: f64) -> (f64, f64) {
    let (s, r) = (sigmoid(c * x), sigmoid(-c * x));
    (x * s, s + c * x * s * r)
}

struct Activation {
    /// The ready-made op.
    name: &'static str,
    /// The forms in which people write it.
    texts: &'static [&'static str],
    truth: Truth,
    /// Whether value and slope are sums that cancel. Their errors count beside 1.
    cancels: [bool; 2],
}

const ACTIVATIONS: &[Activation] = &[
    Activation {
        name: "sigmoid",
        texts: &["1.0 / (1.0 + exp(-x))", "1.0 / (exp(-x) + 1.0)", "exp(x) / (1.0 + exp(x))", "sigmoid(x)"],
        truth: |x| (sigmoid(x), sigmoid(x) * sigmoid(-x)),
        cancels: [false, false],
    },
    Activation {
        name: "silu",
        texts: &["x / (1.0 + exp(-x))", "x * (1.0 / (1.0 + exp(-x)))", "x * sigmoid(x)"],
        truth: |x| silu(x, 1.0),
        cancels: [false, true],
    },
    Activation {
        name: "quick_gelu",
        texts: &["x / (1.0 + exp(-1.702 * x))", "x * sigmoid(1.702 * x)"],
        truth: |x| silu(x, 1.702_f32.into()),
        cancels: [true, true],
    },
    Activation {
        name: "softplus",
        texts: &["log(1.0 + exp(x))", "log(exp(x) + 1.0)", "log1p(exp(x))", "softplus(x)"],
        truth: |x| (softplus(x), sigmoid(x)),
        cancels: [false, false],
    },
    Activation {
        name: "log_sigmoid",
        texts: &["-log(1.0 + exp(-x))", "-softplus(-x)"],
        truth: |x| (-softplus(-x), sigmoid(-x)),
        cancels: [false, false],
    },
    Activation {
        name: "mish",
        texts: &["x * tanh(log(1.0 + exp(x)))", "x * tanh(softplus(x))"],
        truth: mish,
        cancels: [false, true],
    },
    Activation {
        name: "gelu",
        texts: &[
            "0.5 * x * (1.0 + erf(x * 0.70710678))",
            "x * (0.5 * erfc(-0.70710678 * x))",
            "x * 0.5 * erfc(-x / sqrt(2.0))",
        ],
        truth: gelu,
        cancels: [true, true],
    },
    Activation {
        name: "gelu_tanh",
        texts: &[
            "0.5 * x * (1.0 + tanh(0.7978845608 * (x + 0.044715 * x * x * x)))",
            "x * sigmoid(1.5957691216 * (x + 0.044715 * pow(x, 3.0)))",
        ],
        truth: gelu_tanh,
        cancels: [true, true],
    },
    Activation {
        name: "tanh",
        texts: &[
            "tanh(x)",
            "(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
            "(exp(2.0 * x) - 1.0) / (exp(2.0 * x) + 1.0)",
            "(1.0 - exp(-2.0 * x)) / (1.0 + exp(-2.0 * x))",
            "2.0 / (1.0 + exp(-2.0 * x)) - 1.0",
            "1.0 - 2.0 / (exp(2.0 * x) + 1.0)",
            "2.0 * sigmoid(2.0 * x) - 1.0",
        ],
        truth: |x| (x.tanh(), sech2(x)),
        cancels: [false, false],
    },
    Activation {
        name: "tanh_shrink",
        texts: &["x - tanh(x)"],
        truth: |x| (x - x.tanh(), x.tanh() * x.tanh()),
        cancels: [true, true],
    },
    Activation {
        name: "softsign",
        texts: &["x / (1.0 + abs(x))"],
        truth: |x| (x / (1.0 + x.abs()), 1.0 / (1.0 + x.abs()).powi(2)),
        cancels: [false, true],
    },
    Activation {
        name: "elu",
        texts: &["select(exp(x) - 1.0, x, x > 0.0)"],
        truth: |x| if x > 0.0 { (x, 1.0) } else { (x.exp_m1(), x.exp()) },
        cancels: [false, false],
    },
    Activation {
        name: "selu",
        texts: &["select(1.7580993 * (exp(x) - 1.0), 1.050701 * x, x > 0.0)"],
        truth: |x| {
            let (scale, below) = (f64::from(1.050_701_f32), f64::from(1.758_099_3_f32));
            if x > 0.0 { (scale * x, scale) } else { (below * x.exp_m1(), below * x.exp()) }
        },
        cancels: [false, false],
    },
    Activation {
        name: "relu",
        texts: &["select(x, 0.0, x <= 0.0)"],
        truth: |x| if x > 0.0 { (x, 1.0) } else { (0.0, 0.0) },
        cancels: [false, false],
    },
    Activation {
        name: "relu6",
        texts: &[],
        truth: |x| if x > 0.0 && x < 6.0 { (x, 1.0) } else { (x.clamp(0.0, 6.0), 0.0) },
        cancels: [false, false],
    },
    Activation {
        name: "hard_tanh",
        texts: &[],
        truth: |x| if x > -1.0 && x < 1.0 { (x, 1.0) } else { (x.clamp(-1.0, 1.0), 0.0) },
        cancels: [false, false],
    },
    Activation {
        name: "leaky_relu",
        texts: &["select(0.01 * x, x, x > 0.0)"],
        truth: |x| {
            let slope = f64::from(0.01_f32);
            if x > 0.0 { (x, 1.0) } else { (slope * x, slope) }
        },
        cancels: [false, false],
    },
    Activation {
        name: "hard_sigmoid",
        texts: &[],
        truth: |x| if x.abs() < 3.0 { ((x + 3.0) / 6.0, 1.0 / 6.0) } else { (f64::from(x > 0.0), 0.0) },
        cancels: [true, false],
    },
    Activation {
        name: "hard_swish",
        texts: &[],
        truth: |x| match x {
            _ if x.abs() < 3.0 => (x * (x + 3.0) / 6.0, (2.0 * x + 3.0) / 6.0),
            _ if x > 0.0 => (x, 1.0),
            _ => (0.0, 0.0),
        },
        cancels: [true, true],
    },
    Activation {
        name: "asinh",
        texts: &["asinh(x)"],
        truth: |x| (x.asinh(), 1.0 / x.hypot(1.0)),
        cancels: [false, false],
    },
];

/// Numbers of both signs from the smallest to the largest of a type.
fn numbers(dtype: DType) -> Vec<f32> {
    let (least, greatest) = match dtype {
        DType::F16 => (-24, 15),
        _ => (-126, 127),
    };
    let mut all = vec![0.0, -0.0];
    for exponent in least..=greatest {
        for fraction in [1.0, 1.113, 1.37, 1.71, 1.9] {
            let size = (f64::from(exponent).exp2() * fraction) as f32;
            all.extend([size, -size].map(|v| dtype.widen(dtype.round(v))));
        }
    }
    // Where exponentials overflow, and around it.
    all.extend((-1200..1200).map(|i| dtype.widen(dtype.round(i as f32 / 10.0))));
    all
}

/// Below this, an intermediate number may be subnormal, and have fewer bits.
const SMALL: f64 = f32::MIN_POSITIVE as f64 * 64.0;

/// Checks values and slopes of an op.
fn check(op: &Op, name: &str, dtype: DType, activation: &Activation) -> Result<(), String> {
    let mut writes = vec![0.0; op.signature().write_count()];
    for x in numbers(dtype) {
        op.reference(DType::F32, &[x, 1.0], &mut writes);
        let (z, slope) = (activation.truth)(x.into());
        let outputs = [("z", writes[0], z), ("dx", writes[1], slope)];
        for ((what, got, right), cancels) in outputs.into_iter().zip(activation.cancels) {
            let size = if cancels { right.abs().max(1.0) } else { right.abs().max(SMALL) };
            let is_near = (f64::from(got) - right).abs() <= 4e-6 * size;
            if !is_near && right.abs() < f32::MAX.into() {
                return Err(format!("{name} at {x:e}: {what} is {got:e}, not {right:e}"));
            }
        }
    }
    Ok(())
}

#[test]
fn activations_are_right_everywhere() -> Result<(), String> {
    let mut wrong = Vec::new();
    for activation in ACTIVATIONS {
        let written = activation.texts.iter().map(|text| (*text, Op::from_expression("op", text)));
        let mut ops: Vec<(&str, Op)> = written
            .map(|(text, op)| Ok((text, op.map_err(|e| e.to_string())?)))
            .collect::<Result<_, String>>()?;
        ops.extend(ops::find(activation.name).map(|op| (activation.name, op.clone())));
        for (name, op) in &ops {
            wrong.extend(DType::ALL.iter().filter_map(|dtype| check(op, name, *dtype, activation).err()));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// At 0, and for NaN: `sign`, zeros and NaN are PyTorch's.
#[test]
fn ready_made_ops_keep_nan() {
    for op in ops::activations::all() {
        let mut writes = vec![0.0; op.signature().write_count()];
        let reads = vec![f32::NAN; op.signature().read_names().count()];
        op.reference(DType::F32, &reads, &mut writes);
        assert!(writes[0].is_nan() || op.name().starts_with("heaviside"), "{}", op.name());
    }
}

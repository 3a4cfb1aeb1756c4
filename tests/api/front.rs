//! The WGSL front end: what it accepts, which errors it returns, and that no text crashes it.

use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use elemgrad::{DType, Error, Op, Pass, Runner, shader::Shader, signature::Signature};

/// Values of all kinds: ordinary values, ties, range ends and special values.
const VALUES: [f32; 20] = [
    0.0,
    -0.0,
    0.25,
    0.5,
    -0.5,
    0.75,
    1.0,
    -1.0,
    1.5,
    2.5,
    -2.75,
    3.0,
    10.0,
    -40.5,
    1e-3,
    1e6,
    3e38,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

fn function(body: &str) -> String {
    format!("fn forward(x: f32, y: f32) -> f32 {{ {body} }}")
}

fn wgsl(text: &str) -> Op {
    Op::from_wgsl("op", text).unwrap_or_else(|error| panic!("{error}"))
}

fn expression(text: &str) -> Op {
    Op::from_expression("op", text).unwrap_or_else(|error| panic!("{error}"))
}

/// `z` and the gradients for one element.
fn element(op: &Op, reads: &[f32]) -> Vec<f32> {
    let mut writes = vec![0.0; op.signature().outputs().len()];
    op.reference(DType::F32, reads, &mut writes);
    writes
}

/// Compares an op of two inputs with a Rust function for all pairs of values.
fn assert_computes(op: &Op, wanted: impl Fn(f32, f32) -> f32) {
    for x in VALUES {
        for y in VALUES {
            let (z, wanted) = (element(op, &[x, y, 1.0])[0], wanted(x, y));
            let same = z.to_bits() == wanted.to_bits() || z.is_nan() && wanted.is_nan();
            assert!(same, "{}: ({x}, {y}) gives {z}, not {wanted}", op.signature().outputs()[0].formula);
        }
    }
}

fn assert_same(wgsl: &Op, rust: &Op) {
    let (a, b) = (wgsl.signature(), rust.signature());
    assert_eq!(a.inputs(), b.inputs());
    let all = a.all_outputs(Pass::Fused);
    let text = |signature: &Signature| Shader::functions(signature, all, DType::F32);
    assert_eq!(text(a), text(b));
    let outputs = |op: &Op| {
        let outputs = op.signature().outputs().iter();
        outputs.map(|o| (o.name.clone(), o.expression.clone(), o.formula.clone())).collect::<Vec<_>>()
    };
    assert_eq!(outputs(wgsl), outputs(rust));
}

#[test]
fn both_front_ends_give_the_same_definition() {
    let rust = Op::new("op", ["x"], |[x]| x.spiky()).unwrap();
    assert_same(&expression("spiky(x)"), &rust);
    let text = "fn forward(x: f32) -> f32 {
        let r = round_to_storage(floor_mod(x, 1.0));
        if r <= 0.5 { return r; }
        return 0.0;
    }";
    assert_same(&wgsl(text), &rust);

    let rust = Op::new("op", ["x", "y"], |[x, y]| x * x - y.trunc_mod(2.0)).unwrap();
    assert_same(&expression("x * x - y % 2"), &rust);
    let text = function("var a = x; a *= x; let p = &a; *p -= y % 2; return a;");
    assert_same(&wgsl(&text), &rust);

    // Three ways, the last of them written twice.
    let rust = Op::new("op", ["x"], |[x]| x.gt(1.0).select(x * 2.0, x.gt(0.5).select(x + 1.0, 3.0))).unwrap();
    for body in [
        "if x > 1 { return x * 2; } if x > 0.5 { return x + 1; } return 3;",
        "if x > 1 { return x * 2; } else if x > 0.5 { return x + 1; } else { return 3; }",
        "var z = 3.0; if x > 1 { z = x * 2; } else { if x > 0.5 { z = x + 1; } } return z;",
    ] {
        assert_same(&wgsl(&format!("fn forward(x: f32) -> f32 {{ {body} }}")), &rust);
    }
}

#[test]
fn written_gradients() {
    let text = "
        fn d_y(x: f32, y: f32, z: f32, dz: f32) -> f32 { return dz * (z - surrogate(y)); }
        fn surrogate(v: f32) -> f32 { return v * 0.5; }
        fn forward(x: f32, y: f32) -> f32 { return x * y; }";
    let rust = Op::new("op", ["x", "y"], |[x, y]| x * y).unwrap();
    let rust = rust.with_gradient("y", |[_, y], z, dz| dz * (z - y * 0.5)).unwrap();
    let op = wgsl(text);
    assert_same(&op, &rust);
    assert_eq!(["x", "y"].map(|input| op.is_written(input)), [false, true]);
    assert_eq!(element(&op, &[3.0, 4.0, 2.0]), [12.0, 8.0, 20.0]);
}

#[test]
fn operators() {
    assert_computes(&expression("x + y"), |x, y| x + y);
    assert_computes(&expression("x - y"), |x, y| x - y);
    assert_computes(&expression("x * y"), |x, y| x * y);
    assert_computes(&expression("x / y"), |x, y| x / y);
    assert_computes(&expression("x % y"), |x, y| x % y);
    assert_computes(&expression("-x - - y"), |x, y| -x + y);
    let truth = |text: &str| expression(&format!("f32({text})"));
    let one = |truth: bool| f32::from(truth);
    assert_computes(&truth("x < y"), |x, y| one(x < y));
    assert_computes(&truth("x <= y"), |x, y| one(x <= y));
    assert_computes(&truth("x > y"), |x, y| one(x > y));
    assert_computes(&truth("x >= y"), |x, y| one(x >= y));
    assert_computes(&truth("x == y"), |x, y| one(x == y));
    assert_computes(&truth("x != y"), |x, y| one(x != y));
    assert_computes(&truth("!(x < y)"), |x, y| {
        one(!matches!(x.partial_cmp(&y), Some(std::cmp::Ordering::Less)))
    });
    assert_computes(&truth("x < 1 && y < 2"), |x, y| one(x < 1.0 && y < 2.0));
    assert_computes(&truth("x < 1 || y < 2"), |x, y| one(x < 1.0 || y < 2.0));
    assert_computes(&truth("(x < 1) & (y < 2) | (x < y)"), |x, y| one(x < 1.0 && y < 2.0 || x < y));
    assert_computes(&truth("(x < 1) == (y < 2)"), |x, y| one((x < 1.0) == (y < 2.0)));
    assert_computes(&truth("(x < 1) != (y < 2)"), |x, y| one((x < 1.0) != (y < 2.0)));
    assert_computes(&truth("select(x < 1, x < 2, y < 2)"), |x, y| {
        one(if y < 2.0 { x < 2.0 } else { x < 1.0 })
    });
    assert_computes(&truth("bool(x) && all(y < 1)"), |x, y| one(x != 0.0 && y < 1.0));
    assert_computes(&expression("select(x, y, x < 0.5)"), |x, y| if x < 0.5 { y } else { x });
}

#[test]
fn functions_of_one() {
    let assert_computes = |text: &str, wanted: fn(f32) -> f32| {
        let op = expression(&format!("{text} + 0 * y"));
        for x in VALUES {
            let z = element(&op, &[x, 0.0, 1.0])[0];
            let wanted = wanted(x) + 0.0;
            assert!(z == wanted || z.is_nan() && wanted.is_nan(), "{text} of {x} is {z}, not {wanted}");
        }
    };
    assert_computes("abs(x)", f32::abs);
    assert_computes("length(x)", f32::abs);
    assert_computes("floor(x)", f32::floor);
    assert_computes("ceil(x)", f32::ceil);
    assert_computes("round(x)", f32::round_ties_even);
    assert_computes("trunc(x)", f32::trunc);
    assert_computes("fract(x)", |x| x - x.floor());
    assert_computes("saturate(x)", |x| if x.is_nan() { x } else { x.clamp(0.0, 1.0) });
    assert_computes("sign(x)", |x| {
        if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            0.0
        }
    });
    assert_computes("sqrt(x)", f32::sqrt);
    assert_computes("round_to_storage(x)", |x| x);
    assert_computes("spiky(x)", elemgrad::ops::spiky::forward);
    // Functions are rounded once, and f64 decides how, but for ties.
    let assert_rounds = |text: &str, wanted: fn(f64) -> f64| {
        let op = expression(&format!("{text} + 0 * y"));
        for x in VALUES {
            let (z, wanted) = (element(&op, &[x, 0.0, 1.0])[0], wanted(f64::from(x)) as f32 + 0.0);
            assert!(z == wanted || z.is_nan() && wanted.is_nan(), "{text} of {x} is {z}, not {wanted}");
        }
    };
    assert_rounds("inverseSqrt(x)", |x| 1.0 / x.sqrt());
    assert_rounds("cbrt(x)", f64::cbrt);
    assert_rounds("exp(x)", f64::exp);
    assert_rounds("exp2(x)", f64::exp2);
    assert_rounds("expm1(x)", f64::exp_m1);
    assert_rounds("log(x)", f64::ln);
    assert_rounds("log2(x)", f64::log2);
    assert_rounds("log10(x)", f64::log10);
    assert_rounds("log1p(x)", f64::ln_1p);
    assert_rounds("sin(x)", f64::sin);
    assert_rounds("cos(x)", f64::cos);
    assert_rounds("tan(x)", f64::tan);
    assert_rounds("asin(x)", f64::asin);
    assert_rounds("acos(x)", f64::acos);
    assert_rounds("atan(x)", f64::atan);
    assert_rounds("sinh(x)", f64::sinh);
    assert_rounds("cosh(x)", f64::cosh);
    assert_rounds("tanh(x)", f64::tanh);
    assert_rounds("asinh(x)", f64::asinh);
    assert_rounds("acosh(x)", f64::acosh);
    assert_rounds("atanh(x)", f64::atanh);
    assert_rounds("erf(x)", libm::erf);
    assert_rounds("erfc(x)", libm::erfc);
    assert_rounds("sigmoid(x)", |x| 1.0 / (1.0 + (-x).exp()));
    assert_rounds("softplus(x)", |x| if x > 700.0 { x } else { x.exp().ln_1p() });
    assert_rounds("quantizeToF16(x)", |x| elemgrad::half::f16::from_f64(x).to_f64());
    // WGSL's formulas round more than once.
    let assert_near = |text: &str, wanted: fn(f64) -> f64| {
        let op = expression(text);
        for x in VALUES {
            let (z, wanted) = (f64::from(element(&op, &[x, 1.0])[0]), wanted(x.into()));
            let near = (z - wanted).abs() <= 1e-6 * wanted.abs();
            assert!(near || wanted.is_nan() || wanted.abs() > f32::MAX.into(), "{text} of {x} is {z}");
        }
    };
    assert_near("degrees(x)", f64::to_degrees);
    assert_near("radians(x)", f64::to_radians);
    assert_eq!(element(&expression("log2(x)"), &[8192.0, 1.0])[0], 13.0);
    for (x, k) in
        [(1.5, 3), (1.1, -140), (3e38, 1), (1e-45, 270), (3e38, -270), (1.000_001, -148), (7.3e-12, -110)]
    {
        let wanted = (f64::from(x) * f64::from(k).exp2()) as f32;
        assert_eq!(element(&expression(&format!("ldexp(x, {k})")), &[x, 1.0])[0], wanted, "ldexp({x}, {k})");
    }
}

#[test]
fn functions_of_several() {
    let least = |x: f32, y: f32| if x.is_nan() || y.is_nan() { f32::NAN } else { x.min(y) };
    let most = |x: f32, y: f32| if x.is_nan() || y.is_nan() { f32::NAN } else { x.max(y) };
    // The sign of a zero follows IEEE 754-2019. Rust leaves it open.
    assert_computes(&expression("min(x, y) + 0"), |x, y| least(x, y) + 0.0);
    assert_computes(&expression("max(x, y) + 0"), |x, y| most(x, y) + 0.0);
    assert_computes(&expression("clamp(x, y, 4) + 0"), |x, y| least(most(x, y), 4.0) + 0.0);
    assert_computes(&expression("step(x, y)"), |x, y| f32::from(x <= y));
    assert_computes(&expression("distance(x, y)"), |x, y| (x - y).abs());
    assert_computes(&expression("mix(x, y, 0.25)"), |x, y| x * 0.75 + y * 0.25);
    assert_computes(&expression("fma(x, y, 1)"), |x, y| x * y + 1.0);
    assert_computes(&expression("pow(x, y)"), f32::powf);
    assert_computes(&expression("floor_mod(x, y)"), elemgrad::ops::modulo::forward);
    assert_computes(&expression("trunc_mod(x, y)"), |x, y| x % y);
    assert_computes(&expression("-floor_quotient(x, y)"), |x, y| {
        elemgrad::ops::modulo::backward(x, y, 1.0).1
    });
    assert_computes(&expression("smoothstep(x, y, 0.5) + 0"), |x, y| {
        let t = least(most((0.5 - x) / (y - x), 0.0), 1.0);
        t * t * (3.0 - 2.0 * t) + 0.0
    });
}

#[test]
fn control_flow() {
    let text = "
        const LIMIT = 2.0;
        const NEAR: f32 = LIMIT / 4;
        const LOUD = true;
        alias Number = f32;

        fn folded(v: f32, up: bool) -> Number {
            var held = v; // what a block inside sets is seen outside of it
            {
                let v = held * 2;
                if up && LOUD {
                    held = v;
                } else if v < 0 || !up && v > LIMIT {
                    return -1;
                }
            }
            if held > LIMIT {
                if held > 2 * LIMIT { held -= LIMIT; } else { return held; }
                held = held * 0.5;
            }
            return held;
        }

        fn forward(x: f32, y: f32) -> f32 {
            const HALF = LIMIT * 0.25;
            if x < 0 {
                if y < 0 { return folded(x, true); }
                var t: f32;
                t += y;
                return folded(t, x < -1);
            }
            let same = x == y;
            if same { return NEAR; }
            _ = x;
            return folded(y, false) + HALF;
        }";
    #[expect(clippy::manual_range_contains, reason = "no range has a NaN, and it is outside of none")]
    let folded = |v: f32, up: bool| -> f32 {
        let mut held = v;
        let v = held * 2.0;
        if up {
            held = v;
        } else if v < 0.0 || v > 2.0 {
            return -1.0;
        }
        if held > 2.0 {
            if held > 4.0 {
                held -= 2.0;
            } else {
                return held;
            }
            held *= 0.5;
        }
        held
    };
    assert_computes(&wgsl(text), |x, y| {
        if x < 0.0 {
            return if y < 0.0 { folded(x, true) } else { folded(y + 0.0, x < -1.0) };
        }
        if x == y { 0.5 } else { folded(y, false) + 0.5 }
    });
}

/// Constants are folded according to WGSL.
#[test]
fn constants() {
    assert_eq!(element(&expression("x + 1.0 / 3.0"), &[0.0, 1.0])[0], 1.0 / 3.0);
    assert_eq!(element(&expression("x + (0.1 + 0.2)"), &[0.0, 1.0])[0], (0.1_f64 + 0.2) as f32);
    assert_eq!(element(&expression("x + (0.1f + 0.2f)"), &[0.0, 1.0])[0], 0.1_f32 + 0.2);
    assert_eq!(element(&expression("x + 0x1.8p1 + 1e-3"), &[0.0, 1.0])[0], 3.001);
}

#[test]
fn inputs_are_the_names_in_their_order() {
    let inputs = |text: &str| expression(text).signature().inputs().join(" ");
    assert_eq!(inputs("b + a * b - max(c, 1.0e5) + 1.5f"), "b a c");
    assert_eq!(inputs("select(t, -1.0, true) // x"), "t");
    assert_eq!(Runner::cpu().forward(&expression("x - y"), &[&[3.0], &[1.0]]).unwrap(), [2.0]);
    // Names that begin like types of WGSL.
    assert_eq!(
        inputs("texture_scale - sampler_rate / vec2_x * mat"),
        "texture_scale sampler_rate vec2_x mat"
    );
}

/// The error of a text: line, column, message, the line shown and the position of the caret in it.
fn error(result: Result<Op, Error>) -> (usize, usize, String, String, usize) {
    match result {
        Err(Error::Wgsl { line, column, message, source_line, caret, .. }) => {
            (line, column, message, source_line, caret)
        }
        Err(other) => panic!("{other}"),
        Ok(op) => panic!("understood: {}", op.signature().outputs()[0].formula),
    }
}

#[test]
fn errors_point_at_the_place() {
    let mistakes = [
        ("let a = ;\nreturn a;", 2, 9, "expected expression"),
        ("let a = x\nreturn a;", 3, 1, "expected `;`, found \"return\""),
        ("return x + q;", 2, 12, "no definition in scope for identifier: `q`"),
        ("return x + true;", 2, 8, "`+` does not take f32 and bool"),
        ("return !x;", 2, 8, "`!` does not take f32"),
        ("return x > y;", 2, 8, "bool is returned where f32 is declared"),
        ("if x { return y; }\nreturn x;", 2, 1, "a condition is bool, and this is f32"),
        ("if x + 1 { return y; }\nreturn x;", 2, 4, "a condition is bool, and this is f32"),
        ("if x > y { return y; }", 3, 1, "`forward` can end without a return"),
        ("return floor_mod(x);", 2, 8, "`floor_mod` takes (f32, f32), not (f32)"),
        ("return ldexp(x, i32(y));", 2, 17, "integers cannot be part of an op"),
        ("return countOneBits(x);", 2, 8, "countOneBits"),
        ("return dpdx(x);", 2, 8, "derivative"),
        ("return x.y;", 2, 10, "invalid field accessor"),
        ("let a = y;\nlet b = x;\nlet b = a;\nreturn b;", 4, 5, "redefinition of `b`"),
        ("for (var i = 0; i < 3; i++) {}\nreturn x;", 2, 1, "loops cannot"),
        ("let n = 3;\nreturn x * f32(n);", 2, 9, "integers cannot be part of an op: `3.0` is an f32"),
        ("return x * 3u;", 2, 12, "neither f32 nor bool"),
        ("let n = i32(x);\nreturn x;", 2, 9, "integers cannot"),
        ("return vec2f(x, y).x;", 2, 8, "vectors cannot"),
        ("return mat2x3<f32>()[0].x;", 2, 8, "matrices cannot"),
        ("return array /**/ <f32, 2>(x, y)[0];", 2, 8, "arrays cannot"),
        ("return array\u{200e}<f32, 2000000000>();", 2, 8, "arrays cannot"),
        ("return texture_mix(x);", 2, 8, "there is no function `texture_mix`"),
        ("return textureSample(t, s, x);", 2, 8, "textures cannot"),
        ("return x * mix(1.0, 2.0, 0.5);", 2, 16, "this expression of constants has no type: write `1.0f`"),
        ("switch 1 { default {} }\nreturn x;", 2, 1, "switch cannot"),
        ("var v: bool;\nv = true;\nv = v && x < 1;\nreturn select(x, y, w);", 5, 21, "`w`"),
        ("let a = 1;\n\t/* ä€😀 */ retur x;\nreturn x;", 3, 18, "expected"),
        ("return x; /* no end", 2, 11, "this comment does not end"),
    ];
    for (body, line, column, message) in mistakes {
        let text = format!("fn forward(x: f32, y: f32) -> f32 {{\n{body}\n}}");
        let found = error(Op::from_wgsl("op", &text));
        assert!(found.2.contains(message), "{body}: {found:?}");
        assert_eq!((found.0, found.1), (line, column), "{body}: {found:?}");
    }
}

#[test]
fn errors_of_declarations() {
    let mistakes = [
        ("", 1, 1, "there is no function named `forward`"),
        ("fn forward() -> f32 { return 1; }", 1, 4, "an op needs an input"),
        ("fn forward(x: bool) -> f32 { return 1; }", 1, 4, "`forward` takes and gives f32"),
        ("fn forward(x: f32) -> bool { return true; }", 1, 4, "`forward` takes and gives f32"),
        ("fn forward(x: f32, n: i32) -> f32 { return x; }", 1, 23, "integers"),
        ("fn forward(x: f32, p: ptr<function, f32>) -> f32 { return x; }", 1, 23, "pointers as parameters"),
        ("fn forward(x: f32) -> f32 { return x; }\nfn spiky(x: f32) -> f32 { return x; }", 2, 4, "built in"),
        (
            "fn forward(x: f32) -> f32 { return g(x); }\nfn g(x: f32) -> f32 { return forward(x); }",
            2,
            4,
            "cyclic",
        ),
        ("@compute @workgroup_size(1) fn main() {}", 1, 1, "attributes"),
        ("var<private> v: f32;\nfn forward(x: f32) -> f32 { return v; }", 1, 1, "global variables"),
        ("struct S { a: f32 }", 1, 1, "structs"),
        ("enable f16;", 1, 1, "directives"),
        ("override a = 1.0;", 1, 1, "overrides"),
        (
            "fn forward(x: f32) -> f32 { return x; }\n fn d_y(y: f32) -> f32 { return y; }",
            2,
            5,
            "no parameter `y`",
        ),
        (
            "fn forward(x: f32) -> f32 { return x; }\nfn d_x(x: f32, dz: f32, z: f32) -> f32 { return z; }",
            2,
            4,
            "a gradient is `fn d_x(x: f32, z: f32, dz: f32) -> f32`",
        ),
        ("fn forward(x: f32) -> f32 {\n    return x;\n", 2, 14, "found the end of the text"),
        (
            "fn forward(x: f32) -> f32 { return x; }\nconst a = 1",
            2,
            12,
            "expected `;`, found the end of the text",
        ),
        ("fn forward(x: f32) -> f32 { return x; }\nfn unused() -> f32 { return true; }", 2, 1, "return"),
        // Signatures that no op can have.
        ("// dz\nfn forward(x: f32,\n dz: f32) -> f32 { return dz; }", 3, 2, "the name 'dz' is not free"),
        (
            "\nfn forward(a: f32, b: f32, c: f32, d: f32, e: f32, f: f32, g: f32, h: f32, i: f32) -> f32 { return i; }",
            2,
            4,
            "9 inputs, more than the limit of 8",
        ),
    ];
    for (text, line, column, message) in mistakes {
        let found = error(Op::from_wgsl("op", text));
        assert!(found.2.contains(message), "{text}: {found:?}");
        assert_eq!((found.0, found.1), (line, column), "{text}: {found:?}");
    }
}

#[test]
fn errors_of_expressions_are_in_the_expression() {
    let mistakes = [
        ("x +", 1, 4, "expected expression, found the end of the text"),
        ("x\n + )", 2, 4, "expected expression, found \")\""),
        ("x) + (y", 1, 2, "expected `;`, found \")\""),
        ("x; } fn g() {", 1, 2, "an expression has no `;`"),
        ("1.0", 1, 1, "an op needs an input"),
        ("x + old_y", 1, 5, "the name 'old_y' is not"),
        ("a+b+c+d+e+f+g+h+i", 1, 1, "9 inputs, more than the limit of 8"),
        ("", 1, 1, "an op needs an input"),
        ("x + let", 1, 5, "name `let` is a reserved keyword"),
        ("x - target", 1, 5, "name `target` is a reserved keyword"),
        ("x + i32", 1, 5, "integers"),
        ("x < 2", 1, 1, "bool is returned"),
        ("x /* and", 1, 3, "this comment does not end"),
        ("array(x, y)[0]", 1, 1, "arrays"),
    ];
    for (text, line, column, message) in mistakes {
        let found = error(Op::from_expression("op", text));
        assert!(found.2.contains(message), "{text}: {found:?}");
        assert_eq!((found.0, found.1), (line, column), "{text}: {found:?}");
    }
}

/// Positions count characters. Of a long line, only the part around the position is shown.
#[test]
fn errors_show_the_place() {
    let (line, column, _, shown, caret) = error(Op::from_expression("op", "/* ä€ */\t$x"));
    assert_eq!((line, column, &*shown, caret), (1, 10, "/* ä€ */ $x", 9));

    let long = format!("max(x{} $ {}", ", x".repeat(100), "+ x".repeat(900));
    let failed = Op::from_expression("op", &long);
    let text = failed.as_ref().unwrap_err().to_string();
    let (_, column, _, shown, caret) = error(failed);
    assert_eq!((column, shown.chars().count(), shown.chars().nth(caret)), (307, 100, Some('$')));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[2]), (3, &*format!("{}^", " ".repeat(4 + caret))));
}

/// Compiles a text on a thread with a small stack. Returns the result and the time it took.
fn on_little_stack(text: &str) -> (Result<Op, Error>, Duration) {
    thread::scope(|scope| {
        let compile = || {
            let start = Instant::now();
            (Op::from_wgsl("op", text), start.elapsed())
        };
        let thread = thread::Builder::new().stack_size(512 << 10).spawn_scoped(scope, compile).unwrap();
        thread.join().unwrap()
    })
}

/// Texts with `count` levels of nesting, one text for each way to nest.
fn deep(count: usize) -> Vec<String> {
    let nested = |open: &str, inner: &str, close: &str| {
        format!("{}{inner}{}", open.repeat(count), close.repeat(count))
    };
    let returns = |value: String| format!("fn forward(x: f32) -> f32 {{ return {value}; }}");
    let does = |body: String| format!("fn forward(x: f32) -> f32 {{ var v = x; {body} return v; }}");
    let mut lets = String::new();
    (0..count).for_each(|i| write!(lets, "let v{i} = v + {i};").unwrap());
    let functions = |head: &str, of: &dyn Fn(usize) -> String| {
        let all: String = (0..count).map(of).collect();
        format!("{head} {all} fn forward(x: f32) -> f32 {{ return f0(x); }}")
    };
    vec![
        returns(format!("x{}", " + x".repeat(count))),
        returns(format!("x{}", " < x".repeat(count))),
        returns(format!("x{}", ".x".repeat(count))),
        returns(format!("x{}", "[0]".repeat(count))),
        returns(format!("x < 1{}", " || x < 1".repeat(count))),
        returns(nested("(", "x", ")")),
        returns(nested("- ", "x", "")),
        returns(nested("-(", "x", ")")),
        returns(nested("abs(", "x", ")")),
        returns(nested("max(1, ", "x", ")")),
        returns(nested("max(", "x", ", 1)")),
        returns(nested("x[", "0", "]")),
        returns(nested("vec2<", "f32", ">")),
        returns(nested("a<b, ", "f32", ">")),
        returns(nested("/*", "", "*/") + "x"),
        returns(nested("(", "x", "")),
        returns(nested("", "x", ")")),
        does(nested("{", "v += 1;", "}")),
        does(nested("if v < 1 {", "v += 1;", "}")),
        does(nested("if v < 1 {} else {", "v += 1;", "}")),
        does(nested("if v < 1 { v += 1; } else ", "{}", "")),
        does(nested("if v < 1 { return v; } ", "", "")),
        does(nested("v += 1; ", "", "")),
        does(nested("(", "v", ")") + " = 1;"),
        does(nested("*&", "v", "") + " = 1;"),
        does(nested("loop {", "", "}")),
        does(nested("switch 1 { default {", "", "} }")),
        does(lets),
        nested("@a(", "1", ")"),
        nested("}", "", ""),
        nested("fn f() {", "", "}"),
        functions("", &|i| format!("fn f{i}(x: f32) -> f32 {{ return f{}(x); }}", i + 1)),
        functions("const c0 = 1.0;", &|i| format!("const c{} = c{i};", i + 1)),
        functions("", &|i| format!("const c{i} = c{};", i + 1)) + &format!("const c{count} = 1.0;"),
        functions("", &|i| format!("alias A{i} = A{};", i + 1)) + &format!("alias A{count} = f32;"),
        functions("fn f0(x: f32) -> f32 { return x; }", &|i| {
            format!("fn f{}(x: f32) -> f32 {{ return f{i}(x); }}", i + 1)
        }),
    ]
}

#[test]
fn no_depth_overflows_a_stack() {
    for count in [100, 150, 190, 240, 400, 900, 990, 5000, 20_000] {
        for text in deep(count) {
            let (result, time) = on_little_stack(&text);
            let start: String = text.chars().take(60).collect();
            assert!(time < Duration::from_secs(20), "{start}: {time:?}");
            if count == 20_000 && !start.contains("/*") {
                assert!(result.is_err(), "{start}");
            }
        }
    }
    // A text that is long but not deep is accepted.
    let body = "v += x; ".repeat(1000);
    assert!(
        on_little_stack(&format!("fn forward(x: f32) -> f32 {{ var v = x; {body} return v; }}")).0.is_ok()
    );
    let lines = "v = max(v * 0.5, x); if v > 1 { v -= 0.5; }\n".repeat(80);
    assert!(
        on_little_stack(&format!("fn forward(x: f32) -> f32 {{ var v = x; {lines} return v; }}")).0.is_ok()
    );
}

#[test]
fn sizes_are_capped() {
    let text = format!("fn forward(x: f32) -> f32 {{ return x; }}{}", " ".repeat(64 << 10));
    assert!(error(Op::from_wgsl("op", &text)).2.contains("bytes"));
    assert!(Op::from_wgsl("op", &text[..64 << 10]).is_ok());
    let text = format!("x{}", " + x".repeat(4001));
    let (line, column, message, ..) = error(Op::from_expression("op", &text));
    assert!(message.contains("more than 4000 operators depend on each other: put parts"), "{message}");
    assert_eq!((line, column), (1, 16003));
    // The size of a graph is limited too.
    let body = "v=-v*2+x;".repeat(6500);
    let text = format!("fn forward(x: f32) -> f32 {{ var v = x;\n{body}\nreturn v; }}");
    let (line, _, message, ..) = error(Op::from_wgsl("op", &text));
    assert_eq!((line, &*message), (2, "up to here the op has more than 16384 nodes"));
}

/// The limit of brackets and that of blocks hold as documented, and the error says where they end and what to do.
#[test]
fn nesting_is_named() {
    let brackets = |count| format!("{}x{}", "(x + ".repeat(count), ")".repeat(count));
    let calls = |count| format!("{}x{}", "max(1.5, ".repeat(count), ")".repeat(count));
    for of in [brackets, calls] {
        expression(&of(190));
        let (line, column, message, ..) = error(Op::from_expression("op", &of(191)));
        assert_eq!(message, "nested more than 190 brackets deep: put parts into `let`s or functions");
        let last = of(191).rfind('(').map_or(0, |at| at + 1);
        assert_eq!((line, column), (1, last));
    }
    // The body of the function is a block too.
    let blocks = |count: usize| {
        let (open, close) = ("if v < 1 {\n".repeat(count - 1), "}".repeat(count - 1));
        format!("fn forward(x: f32) -> f32 {{ var v = x;\n{open} v += 1;{close} return v; }}")
    };
    wgsl(&blocks(127));
    let (line, column, message, ..) = error(Op::from_wgsl("op", &blocks(128)));
    assert_eq!(message, "nested more than 127 blocks deep: put parts into `let`s or functions");
    assert_eq!((line, column), (128, 10));
    // Blocks and brackets together.
    let both = |count| blocks(100).replace("v += 1", &format!("v = {}", brackets(count)));
    wgsl(&both(90));
    assert!(error(Op::from_wgsl("op", &both(91))).2.contains("190 brackets"));
    let (_, _, message, ..) =
        error(Op::from_wgsl("op", &function(&format!("var v = x; {}v = 1;", "*&".repeat(200)))));
    assert_eq!(message, "nested too deep: put parts into `let`s or functions");
}

/// A chain of operators is deep in a compiler's tree, and flat for a user.
#[test]
fn a_thousand_terms_make_an_op() {
    let list = |term: &dyn Fn(usize) -> String, by: &str| (1..=1000).map(term).collect::<Vec<_>>().join(by);
    let products = list(&|i| format!("x*{i}.0"), " + ");
    let all = element(&expression(&products), &[2.0, 1.0]);
    assert_eq!(all, [1_001_000.0, 500_500.0]);
    let same = element(&expression(&list(&|_| "x".into(), " + ")), &[2.0, 1.0]);
    assert_eq!(same, [2000.0, 1000.0]);
    let factors = element(&expression(&list(&|_| "x".into(), "*")), &[1.0, 1.0]);
    assert_eq!(factors, [1.0, 1000.0]);
    let signs = list(&|i| if i % 2 == 0 { "a + b" } else { "c" }.into(), " - ");
    assert_eq!(element(&expression(&signs), &[1.0, 2.0, 3.0, 1.0])[1..], [1.0 - 499.0, -500.0, 500.0]);
    let sines = list(&|i| format!("sin(x * {i}.5e-3)"), " + ");
    assert_eq!(element(&expression(&sines), &[0.0, 1.0])[0], 0.0);
}

/// Brackets that close before long chains make a tree that is deep, though no place in the text looks so.
#[test]
fn chains_within_chains_overflow_no_stack() {
    for (brackets, links) in [(100, 100), (10, 1500), (180, 40), (60, 340)] {
        let text =
            format!("{}x{}", "(".repeat(brackets), format!("{})", "+x".repeat(links)).repeat(brackets));
        let text = format!("fn forward(x: f32) -> f32 {{ return {text}; }}");
        let (result, time) = on_little_stack(&text);
        assert!(error(result).2.contains("operators depend on each other"));
        assert!(time < Duration::from_secs(10), "{time:?}");
    }
}

/// What other languages have is refused with what to write here.
#[test]
fn errors_say_what_to_write() {
    let cases = [
        ("x ** 2", 3, "`**` is no operator: write pow(x, 2.0), or x * x"),
        ("(x + 1.0)**y", 10, "`**` is no operator"),
        ("x ^ y", 1, "`^` does not take f32 and f32: a power is pow(x, y)"),
        ("x < 0 ? 1.0 : x", 7, "WGSL has no `c ? a : b`: write select(b, a, c)"),
        ("x * (1 / 2)", 8, "WGSL divides integers without a fraction: write 1.0 / 2.0 in place of 1 / 2"),
        ("1 / 2 * x", 3, "WGSL divides integers"),
        ("x + 7/2", 6, "WGSL divides integers"),
        ("x + 2 * 7 % 5 / 2", 15, "WGSL divides integers"),
        ("x + (1 + 2) / (3)", 13, "WGSL divides integers"),
        ("x + -1 / -2", 8, "WGSL divides integers"),
        ("sinn(x)", 1, "there is no function `sinn`: is `sin` meant?"),
        ("x + Sqrt(x)", 5, "there is no function `Sqrt`: is `sqrt` meant?"),
        ("sigm(x)", 1, "there is no function `sigm`: is `sigmoid` meant?"),
        ("arctan(x)", 1, "there is no function `arctan`: is `atan` meant?"),
        ("floor_div(x, 1.0)", 1, "is `floor_mod` meant?"),
        ("ln(x)", 1, "there is no function `ln`: write log(x), the natural logarithm"),
        ("relu(x)", 1, "there is no function `relu`: write max(x, 0.0)"),
        ("isnan(x)", 1, "there is no function `isnan`: write x != x"),
        ("quux(x)", 1, "there is no function `quux`: the table of `Op::from_wgsl` lists those that are"),
        ("x(2)", 1, "there is no function `x`"),
        (
            "x * pi",
            5,
            "`pi` is no constant, and would be an input: write 3.14159265, or name the input otherwise",
        ),
        ("PI * x", 1, "`PI` is no constant"),
        ("tau * x", 1, "write 6.2831853"),
        ("min(x, inf)", 8, "`inf` is no constant, and would be an input: constants are finite"),
        ("min(x, Infinity)", 8, "3.4028234e38"),
        ("select(x, NaN, x < y)", 11, "`x != x` holds for NaN alone"),
        ("x + nan", 5, "`nan` is no constant"),
        ("frexp(x)", 1, "`frexp` has no building blocks: use functions of the table of `Op::from_wgsl`"),
        ("countOneBits(x)", 1, "wrong type passed as argument #1 to `countOneBits`: an op has f32 and bool"),
        (
            "dpdx(x)",
            1,
            "derivatives of WGSL's are those across pixels: an op gets its gradients without a call",
        ),
        ("bitcast<f32>(x)", 1, "the bits of numbers cannot be part of an op"),
    ];
    for (text, column, message) in cases {
        let found = error(Op::from_expression("op", text));
        assert!(found.2.contains(message), "{text}: {found:?}");
        assert_eq!((found.0, found.1), (1, column), "{text}: {found:?}");
    }
    // Divisions of floats, and names that only resemble those above.
    for text in [
        "x * 1 / 2",
        "1.0 / 2 * x",
        "x + 1 / 2.0",
        "x + 3 / .5 / 2",
        "x / 2",
        "x + 2e1 / 4",
        "abs(4) / 3 + x",
    ] {
        expression(text);
    }
    let inputs = expression("e * pies + infinite - nano").signature().inputs().join(" ");
    assert_eq!(inputs, "e pies infinite nano");
    // A pointer, and constants of a text, which declares what it means.
    wgsl(&function("var v = x; let p = &v; return y **p;"));
    wgsl("const pi = 3.14159265; fn forward(x: f32) -> f32 { return x * pi; }");
}

/// Some editors begin a text with a byte order mark.
#[test]
fn a_byte_order_mark_is_skipped() {
    assert_eq!(element(&expression("\u{feff}x + 1.0"), &[2.0, 1.0])[0], 3.0);
    assert_eq!(element(&wgsl("\u{feff}fn forward(x: f32) -> f32 { return x; }"), &[2.0, 1.0])[0], 2.0);
    let (line, column, _, shown, _) = error(Op::from_expression("op", "\u{feff}x + $"));
    assert_eq!((line, column, &*shown), (1, 5, "x + $"));
}

/// If each function calls another twice, the inlined code doubles with each function.
#[test]
fn inlining_is_bounded() {
    for call in ["f0(x) + f0(x)", "f0(x) * f0(x + 1)", "f0(x * 0.5) - f0(x)"] {
        let mut text = String::from("fn f0(x: f32) -> f32 { return x * x; }\n");
        for i in 1..60 {
            let call = call.replace("f0", &format!("f{}", i - 1));
            writeln!(text, "fn f{i}(x: f32) -> f32 {{ return {call}; }}").unwrap();
        }
        text += "fn forward(x: f32) -> f32 { return f59(x); }";
        let (result, time) = on_little_stack(&text);
        assert!(result.is_err());
        assert!(time < Duration::from_secs(10), "{time:?}");
    }
}

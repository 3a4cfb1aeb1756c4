//! Random texts, valid and spoiled, for the WGSL front end: it accepts each or returns an error, and never crashes.
//!
//! `ELEMGRAD_FUZZ` is the number of texts (default 20,000). `ELEMGRAD_FUZZ_SEED` is the first seed. The seed fixes
//! the input.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::common::Draw;
use elemgrad::{DType, Error, Op, Primitive};
use rayon::prelude::*;

/// The maximum bytes of an input: a little more than the front end compiles.
const LARGEST: usize = 66 << 10;
/// The maximum time for an input on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);

const CORPUS: [&str; 9] = [
    "fn forward(x: f32) -> f32 { return spiky(x); }",
    "fn forward(x: f32, y: f32) -> f32 { return x - y * floor(x / y); }",
    "fn forward(x: f32) -> f32 {
        let r = round_to_storage(floor_mod(x, 1.0));
        if r <= 0.5 { return r; }
        return 0.0;
    }",
    "const LIMIT: f32 = 2.0 / 3; // a third, twice
     alias Number = f32;
     fn clipped(v: Number, up: bool) -> f32 {
        var held = v;
        if up && v > LIMIT { held -= LIMIT; } else if !up || v == -1 { return -held; } else { held *= 2; }
        return held;
     }
     fn forward(x: f32, y: f32) -> f32 { return clipped(x, y > 0) + clipped(y, true) % 3; }
     fn d_x(x: f32, y: f32, z: f32, dz: f32) -> f32 { return dz * select(0.5, 1.0, x < z); }",
    "fn forward(x: f32) -> f32 {
        var v = 0.0; { let p = &v; *p = x; } /* a /* nested */ comment é€😀 */
        v += 0x1.8p1 * 1e-3f; var b: bool; b = b || v >= x;
        if b { if v != x { return 1; } else { return 2; } }
        return mix(v, x, saturate(-v)) + f32(b);
    }",
    "fn forward(a: f32, b: f32, c: f32) -> f32 {
        return fma(a, b, c) + smoothstep(a, b, c) + step(a, b) - clamp(c, -1, 1) * sign(a) + fract(b)
            + pow(abs(a), 1.5) + exp2(b) - log2(c) + tanh(a) / cosh(b) + inverseSqrt(c) \
            + trunc_mod(a, floor_quotient(b, c));
    }",
    // Texts that cannot be lowered.
    "fn forward(x: f32) -> f32 { var s = 0.0; for (var i = 0; i < 4; i++) { s += x; } return s; }",
    "@group(0) @binding(0) var<storage> data: array<vec4<f32>, 8>;
     struct S { a: f32, b: mat2x2f }
     override n: u32 = 3u;
     @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) { \
     switch id.x { case 1: {} default: {} } }",
    "x * x - floor_mod(y, 1.0) + select(a, b, x < y)",
];

/// Pieces of WGSL, to be inserted anywhere. The functions of building blocks are added to them.
const WORDS: &[&str] = &[
    "x",
    "y",
    "z",
    "dz",
    "a",
    "v",
    "0",
    "1",
    "2.5",
    "1e38",
    "1e-45",
    "3.4e38f",
    "-1",
    "1u",
    "1i",
    "0x1p3",
    "1h",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "<",
    ">",
    ",",
    ";",
    ":",
    ".",
    "->",
    "@",
    "&",
    "&&",
    "|",
    "||",
    "!",
    "=",
    "==",
    "!=",
    "<=",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "~",
    "+=",
    "-=",
    "*=",
    "++",
    "--",
    "<<",
    ">>",
    "fn",
    "let",
    "var",
    "const",
    "const_assert",
    "if",
    "else",
    "return",
    "true",
    "false",
    "f32",
    "bool",
    "alias",
    "i32",
    "vec2f",
    "array",
    "ptr",
    "loop",
    "for",
    "switch",
    "discard",
    "forward",
    "d_x",
    "spiky",
    "clamp",
    "mix",
    "modf",
    "frexp",
    "dpdx",
    "dot",
    "acos",
    "ldexp",
    "quantizeToF16",
    "_",
    "/*",
    "*/",
    "//",
    "\n",
    "é",
    "\u{2028}",
    "\u{200e}",
    "\0",
    "\u{feff}",
];

/// The building blocks that texts call as functions of that many operands.
fn functions(arity: usize) -> impl Iterator<Item = &'static str> {
    let is_function =
        |p: &&Primitive| p.example().is_some_and(|text| text.starts_with(&format!("{}(", p.name())));
    Primitive::ALL.iter().filter(move |p| p.arity() == arity).filter(is_function).map(|p| p.name())
}

/// The words of random texts.
struct Vocabulary {
    all: Vec<&'static str>,
    of_one: Vec<&'static str>,
    of_two: Vec<&'static str>,
}

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary {
    all: (1..=3).flat_map(functions).chain(WORDS.iter().copied()).collect(),
    of_one: functions(1).chain(["fract", "sign", "spiky", "saturate"]).collect(),
    of_two: functions(2).chain(["step"]).collect(),
});

/// A meaningful expression of type number or truth value.
fn expression(random: &mut Draw, depth: usize, truth: bool) -> String {
    let of = |random: &mut Draw, truth| expression(random, depth.saturating_sub(1), truth);
    let leaf = depth == 0;
    match (truth, if leaf { 0 } else { 1 + random.below(6) }) {
        (true, 0) => random.pick(&["true", "false", "(x < 1)", "(x == x)"]).into(),
        (true, 1) => format!("!{}", of(random, true)),
        (true, 2) => format!(
            "({} {} {})",
            of(random, true),
            random.pick(&["&&", "||", "==", "!=", "&"]),
            of(random, true)
        ),
        (true, _) => {
            format!(
                "({} {} {})",
                of(random, false),
                random.pick(&["<", "<=", ">", ">=", "==", "!="]),
                of(random, false)
            )
        }
        (false, 0) => random.pick(&["x", "x", "v", "1", "0.5", "-2.0", "1e-3"]).into(),
        (false, 1) => format!("(-{})", of(random, false)),
        (false, 2) => format!("{}({})", random.pick(&VOCABULARY.of_one), of(random, false)),
        (false, 3) => {
            format!("{}({}, {})", random.pick(&VOCABULARY.of_two), of(random, false), of(random, false))
        }
        (false, 4) => format!("select({}, {}, {})", of(random, false), of(random, false), of(random, true)),
        (false, _) => format!(
            "({} {} {})",
            of(random, false),
            random.pick(&["+", "-", "*", "/", "%"]),
            of(random, false)
        ),
    }
}

/// Meaningful statements.
fn statements(random: &mut Draw, depth: usize) -> String {
    (0..=random.below(3)).map(|_| statement(random, depth)).collect()
}

fn statement(random: &mut Draw, depth: usize) -> String {
    match random.below(if depth == 0 { 2 } else { 5 }) {
        0 => format!("v {} {}; ", random.pick(&["=", "+=", "*=", "-="]), expression(random, 2, false)),
        1 => format!("w = {}; ", expression(random, 2, true)),
        2 => format!("if {} {{ return {}; }} ", expression(random, 1, true), expression(random, 2, false)),
        3 => format!("{{ {} }} ", statements(random, depth - 1)),
        _ => {
            let condition = expression(random, 2, true);
            let [accept, reject] = [(); 2].map(|()| statements(random, depth - 1));
            format!("if w || {condition} {{ {accept} }} else {{ {reject} }} ")
        }
    }
}

/// A text that the front end most likely accepts.
fn valid(random: &mut Draw) -> String {
    match random.below(4) {
        0 => random.pick(&CORPUS).into(),
        1 => {
            let value = expression(random, 4, false);
            format!("const v = 2.0; fn forward(x: f32) -> f32 {{ return {value}; }}")
        }
        _ => {
            let body = statements(random, 3);
            let gradient = expression(random, 2, false);
            format!(
                "fn forward(x: f32) -> f32 {{ var v = x; var w = false; {body} return v; }}
                 fn d_x(x: f32, z: f32, dz: f32) -> f32 {{ const v = 0.5; return dz * {gradient}; }}"
            )
        }
    }
}

/// The positions where words start.
fn starts(text: &str) -> Vec<usize> {
    let kind = |c: char| if c.is_alphanumeric() || c == '_' { 0 } else { c as u32 };
    let mut before = None;
    let mut starts = Vec::new();
    for (at, c) in text.char_indices() {
        if before.replace(kind(c)) != Some(kind(c)) {
            starts.push(at);
        }
    }
    starts
}

/// The range of some consecutive words of a text.
fn range(random: &mut Draw, text: &str, longest: usize) -> std::ops::Range<usize> {
    let starts = starts(text);
    let first = random.below(starts.len() + 1);
    let last = first + random.below(longest + 1);
    let place = |i: usize| starts.get(i).copied().unwrap_or(text.len());
    place(first)..place(last)
}

/// The text with a random change.
fn spoiled(random: &mut Draw, mut text: String) -> String {
    let place = range(random, &text, 0);
    let words = range(random, &text, 6);
    match random.below(11) {
        0 => {
            let mut bytes = text.into_bytes();
            let at = random.below(bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        1 | 2 => text.replace_range(words, ""),
        3 => {
            let again = text[words].to_owned();
            text.insert_str(place.start, &again);
        }
        4 | 5 => text.insert_str(place.start, &format!(" {} ", random.pick(&VOCABULARY.all))),
        6 | 7 => text.replace_range(range(random, &text, 1), random.pick(&VOCABULARY.all)),
        8 => {
            // Swap two pieces of text.
            let (a, b) = (words, range(random, &text, 2));
            let (a, b) = if a.start <= b.start { (a, b) } else { (b, a) };
            if a.end <= b.start {
                let (first, second) = (text[a.clone()].to_owned(), text[b.clone()].to_owned());
                text.replace_range(b, &first);
                text.replace_range(a, &second);
            }
        }
        9 => {
            let other = valid(random);
            let from = range(random, &other, 40);
            text.insert_str(place.start, &other[from]);
        }
        _ => text.truncate(place.start),
    }
    text
}

/// The text with a long or deep piece inserted.
fn stretched(random: &mut Draw, mut text: String) -> String {
    const OPEN: [&str; 16] = [
        "(",
        "{",
        "[",
        "-",
        "- ",
        "!",
        "*&",
        "abs(",
        "x + (",
        "if true {",
        "if x < 1 {} else {",
        "vec2<",
        "/*",
        "a<b,",
        "max(x, ",
        "fn f() {",
    ];
    const CLOSE: [&str; 9] = [")", "}", "]", ">", "*/", "", "", "; }", ", x)"];
    const LINKS: [&str; 14] = [
        " + x",
        " < x",
        ".x",
        "[0]",
        " && true",
        "()",
        " else if x < 1 {}",
        " x",
        ", x",
        "; v = v * x",
        "\nif x < 1 { return x; }",
        "\nlet a = x;",
        "\nfn f(x: f32) -> f32 { return x; }",
        "\nconst c = 1;",
    ];
    // Most pieces are short enough to be accepted. Some are as long as possible.
    let most = [30, 300, 3000, LARGEST][random.below(4)];
    let count = random.below(most) + 1;
    let (place, words) = (range(random, &text, 0).start, range(random, &text, 12));
    let link = match random.below(3) {
        0 => {
            let (open, close) = (random.pick(&OPEN), random.pick(&CLOSE));
            let fits = count.min(LARGEST / (open.len() + close.len()));
            text.insert_str(words.end, &close.repeat(fits));
            text.insert_str(words.start, &open.repeat(fits));
            return text;
        }
        1 => random.pick(&LINKS).to_owned(),
        _ => text[words].to_owned(),
    };
    text.insert_str(place, &link.repeat(count.min(LARGEST / link.len().max(1))));
    text
}

/// Whether the input for a seed is a single expression.
fn is_expression(seed: u64) -> bool {
    seed.is_multiple_of(4)
}

/// The input for a seed.
fn input(seed: u64) -> String {
    let mut random = Draw::new(seed);
    let mut text = if is_expression(seed) { expression(&mut random, 4, false) } else { valid(&mut random) };
    let stretches = random.below(8) == 0;
    // Every text is spoiled or stretched at least once.
    for _ in usize::from(stretches)..=[0, 0, 0, 0, 1, 4][random.below(6)] {
        text = spoiled(&mut random, text);
    }
    if stretches {
        text = stretched(&mut random, text);
    }
    text.truncate(text.floor_char_boundary(LARGEST));
    text
}

/// Whether the front end accepts an input. The error says what is wrong if it neither accepts nor returns a proper
/// error.
fn check(seed: u64, text: &str) -> Result<bool, String> {
    let start = Instant::now();
    let compiled = catch_unwind(AssertUnwindSafe(|| {
        let op = if is_expression(seed) {
            Op::from_expression("fuzz", text)
        } else {
            Op::from_wgsl("fuzz", text)
        }?;
        let inputs = op.signature().inputs().len();
        op.reference(DType::F16, &vec![0.75; inputs + 1], &mut vec![0.0; op.signature().outputs().len()]);
        Ok(op)
    }));
    if start.elapsed() > LONGEST {
        return Err(format!("takes {:?}", start.elapsed()));
    }
    match compiled.map_err(|_| "panics")? {
        Ok(_) => Ok(true),
        Err(error) => proper(&error, text).map(|()| false),
    }
}

/// Checks that an error points into the text and shows at most one line of it.
fn proper(error: &Error, text: &str) -> Result<(), String> {
    let Error::Wgsl { line, column, message, source_line, caret, .. } = error else { return Ok(()) };
    let shown = source_line.chars().count();
    let of_line = text.split('\n').nth(line - 1).map(|line| line.chars().count());
    match of_line {
        _ if message == "the compiler failed on this text" => Err("panics within".into()),
        Some(length) if *column <= length + 1 && *caret <= shown && shown <= 100 && message.len() < 2000 => {
            Ok(())
        }
        _ => Err(format!("is no proper error: {error}")),
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

#[test]
fn no_text_takes_it_down() {
    let (count, first) = (setting("ELEMGRAD_FUZZ", 20_000), setting("ELEMGRAD_FUZZ_SEED", 1));
    let (understood, slowest) = (AtomicU64::new(0), AtomicU64::new(0));
    let wrong: Vec<String> = (first..first + count)
        .into_par_iter()
        .filter_map(|seed| {
            let text = input(seed);
            let start = Instant::now();
            let result = check(seed, &text);
            slowest.fetch_max(start.elapsed().as_millis() as u64, Relaxed);
            match result {
                Ok(accepted) => {
                    understood.fetch_add(accepted.into(), Relaxed);
                    None
                }
                Err(what) => {
                    let shown: String = text.chars().take(2000).collect();
                    Some(format!("seed {seed} ({} bytes) {what}:\n{shown}\n", text.len()))
                }
            }
        })
        .collect();
    let (understood, slowest) = (understood.into_inner(), slowest.into_inner());
    println!("{count} texts, {understood} understood, the slowest took {slowest} ms");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
    assert!(understood > count / 20, "{understood} of {count} are understood: these texts test little");
}

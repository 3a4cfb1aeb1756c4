//! The command, end to end: exit codes, files, JSON, signals.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use elemgrad::{
    Args, Arithmetic, Element, Op, Runner, View,
    half::{bf16, f16},
    ops::{self, modulo, spiky},
};
use serde_json::Value;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elemgrad"));
    command.args(args).stdin(Stdio::null());
    command
}

fn elemgrad(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

#[track_caller]
fn succeeds(args: &[&str]) -> String {
    let output = elemgrad(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Asserts exit code 2, nothing on standard output, and a sentence with all of `words` on standard error.
#[track_caller]
fn refuses(args: &[&str], words: &[&str]) {
    let output = elemgrad(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty());
    for word in words {
        assert!(stderr.contains(word), "{args:?}: no '{word}' in: {stderr}");
    }
}

/// A directory with files in it.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.text(name)
    }

    fn f32s(&self, name: &str, shape: &str, values: &[f32]) -> String {
        self.write(name, &npy("'<f4'", false, shape, &bytes(values)))
    }

    /// An array of zeros that takes no space on most file systems.
    fn zeros(&self, name: &str, elements: u64) -> String {
        let header = npy("'<f4'", false, &format!("({elements},)"), &[]);
        let path = self.write(name, &header);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_len(header.len() as u64 + 4 * elements)
            .unwrap();
        path
    }

    /// The names of all files, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Asserts that two headers are equal. Python accepts a comma before a bracket.
#[track_caller]
fn assert_same_header(a: &str, b: &str) {
    let plain = |text: &str| text.replace(' ', "").replace(",)", ")");
    assert_eq!(plain(a), plain(b));
}

fn header(descr: &str, fortran: bool, shape: &str) -> String {
    let fortran = if fortran { "True" } else { "False" };
    format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}")
}

fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    file(1, &header(descr, fortran, shape), data)
}

/// A file of format `version`, padded as `numpy.save` does.
fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    let start = if version == 1 { 10 } else { 12 };
    let length = (start + header.len() + 1).next_multiple_of(64) - start;
    let length_bytes = (length as u32).to_le_bytes();
    bytes.extend(&length_bytes[..start - 8]);
    bytes.extend(format!("{header:<width$}\n", width = length - 1).as_bytes());
    bytes.extend(data);
    bytes
}

/// An output file's header text and data.
#[track_caller]
fn read_bytes(path: &Path) -> (String, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
    let (text, data) = bytes[10..].split_at(usize::from(u16::from_le_bytes([bytes[8], bytes[9]])));
    assert_eq!((text.len() + 10) % 64, 0);
    (str::from_utf8(text).unwrap().trim_end().to_owned(), data.to_vec())
}

/// An output file's header text and values.
#[track_caller]
fn read(path: &Path) -> (String, Vec<f32>) {
    let (text, data) = read_bytes(path);
    (text, data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

const X: [f32; 6] = [0.3, -0.7, 1.2, f32::NAN, f32::INFINITY, -0.0];
const Y: [f32; 6] = [0.2, 0.5, -1.0, 1.0, 2.0, 3.0];
const G: [f32; 6] = [1.0, -2.0, 1e-45, 4.0, f32::INFINITY, 6.0];

#[test]
fn run_writes_what_the_library_computes() {
    let dir = Directory::new();
    let (x, y, g) = (dir.f32s("x", "(2, 3)", &X), dir.f32s("y", "(2, 3)", &Y), dir.f32s("g", "(2, 3)", &G));
    for device in ["cpu", "reference"] {
        let out = dir.text("out/of/mod");
        succeeds(&["run", "mod", "--device", device, "--x", &x, "--y", &y, "--grad", &g, "--out", &out]);
        let (z, d) = Runner::reference().fused(ops::modulo(), &[&X, &Y], &G).unwrap();
        for (name, expected) in [("z", &z), ("dx", &d[0]), ("dy", &d[1])] {
            let (text, values) = read(&dir.path(&format!("out/of/mod/{name}.npy")));
            assert_same_header(&text, &header("'<f4'", false, "(2, 3)"));
            assert_eq!(bits(&values), bits(expected), "{name} on {device}");
        }
        let out = dir.text("out/of/spiky");
        succeeds(&["run", "spiky", "--device", device, "--x", &x, "--out", &out]);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
        let z = Runner::reference().forward(ops::spiky(), &[&X]).unwrap();
        assert_eq!(bits(&read(&dir.path("out/of/spiky/z.npy")).1), bits(&z));
    }
}

#[test]
fn run_takes_every_shape_and_version() {
    let dir = Directory::new();
    for (shape, elements) in
        [("()", 1), ("(0,)", 0), ("(3, 0)", 0), ("(1,)", 1), ("(5,)", 5), ("(1, 2, 1, 3)", 6)]
    {
        for version in 1..=3 {
            for fortran in [false, true] {
                if fortran && shape.contains(", ") {
                    continue;
                }
                let data = bytes(&X[..elements]);
                let x = dir.write("x.npy", &file(version, &header("'<f4'", fortran, shape), &data));
                succeeds(&[
                    "run",
                    "spiky",
                    "--device",
                    "cpu",
                    "--x",
                    &x,
                    "--grad",
                    &x,
                    "--out",
                    &dir.text("out"),
                ]);
                for name in ["z", "dx"] {
                    let (text, values) = read(&dir.path(&format!("out/{name}.npy")));
                    assert_same_header(&text, &header("'<f4'", false, shape));
                    assert_eq!(values.len(), elements);
                }
            }
        }
    }
}

#[test]
fn run_goes_on_after_the_first_chunk() {
    let dir = Directory::new();
    // Two chunks and three elements.
    let x: Vec<f32> = (0..(16 << 20) + 3).map(|i| i as f32 * 0.37 - 1e6).collect();
    let file = dir.f32s("x.npy", &format!("({},)", x.len()), &x);
    let out = dir.text("");
    succeeds(&["run", "spiky", "--device", "cpu", "--x", &file, "--grad", &file, "--mask", "--out", &out]);
    let (z, dx) = Runner::cpu().fused(ops::spiky(), &[&x], &x).unwrap();
    let (mut same_z, mut mask) = (Vec::<f32>::new(), Vec::<u32>::new());
    Runner::cpu().run(spiky::ForwardSaving { x: &x, z: &mut same_z, mask: &mut mask }).unwrap();
    let (text, words) = read_bytes(&dir.path("mask.npy"));
    assert_same_header(&text, &header("'<u4'", false, &format!("({},)", mask.len())));
    assert!(words == bytemuck::cast_slice::<u32, u8>(&mask), "mask.npy differs");
    for (name, expected) in [("z.npy", &z), ("dx.npy", &dx[0])] {
        assert!(bits(&read(&dir.path(name)).1) == bits(expected), "{name} differs");
    }
}

#[test]
fn run_replaces_its_own_input() {
    let dir = Directory::new();
    let z = dir.f32s("z.npy", "(6,)", &X);
    succeeds(&["run", "mod", "--device", "cpu", "--x", &z, "--y", &z, "--out", &dir.text("")]);
    let expected = Runner::reference().forward(ops::modulo(), &[&X, &X]).unwrap();
    assert_eq!(bits(&read(&dir.path("z.npy")).1), bits(&expected));
    assert_eq!(dir.names(), ["z.npy"]);
}

#[test]
fn run_rounds_doubles_when_told() {
    let dir = Directory::new();
    // Ties to even, an overflow and a NaN.
    let tie = f64::from(f32::EPSILON) / 2.0;
    let doubles = [0.2, 0.25 + tie / 4.0, 0.25 + tie * 0.75, 1e300, f64::NAN];
    let data: Vec<u8> = doubles.iter().flat_map(|d: &f64| d.to_le_bytes()).collect();
    let x = dir.write("x.npy", &npy("'<f8'", false, "(5,)", &data));
    let args = ["run", "spiky", "--device", "cpu", "--x", &x, "--grad", &x, "--out", &dir.text("")];
    refuses(&args, &["--x", "f64", "--cast"]);
    succeeds(&[&args[..], &["--cast"]].concat());
    let rounded = [0.2_f32, 0.25, 0.25 + f32::EPSILON / 2.0, 0.0, 0.0];
    assert_eq!(bits(&read(&dir.path("z.npy")).1), bits(&rounded));
    assert_same_header(&read(&dir.path("dx.npy")).0, &header("'<f4'", false, "(5,)"));
}

/// All bits of a 16-bit type, including NaN payloads and subnormals: `run` gives what the library gives.
fn sixteen_bits<E: Element>(descr: &str, options: &[&str]) {
    let dir = Directory::new();
    let words: Vec<u16> = (0..=u16::MAX).collect();
    let [x, y, g] =
        [1, 40503, 25717].map(|step| words.iter().map(|w| w.wrapping_mul(step)).collect::<Vec<u16>>());
    let shape = "(2, 32768)";
    let file =
        |name: &str, data: &[u16]| dir.write(name, &npy(descr, false, shape, bytemuck::cast_slice(data)));
    let (fx, fy, fg) = (file("x", &x), file("y", &y), file("g", &g));
    let same = |name: &str, expected: &[E]| {
        let (text, data) = read_bytes(&dir.path(&format!("{name}.npy")));
        assert_same_header(&text, &header(descr, false, shape));
        assert!(data == bytemuck::cast_slice::<E, u8>(expected), "{name} of {descr} differs");
    };
    let cast = |data: &[u16]| -> Vec<E> { bytemuck::cast_slice(data).to_vec() };
    let (x, y, g) = (cast(&x), cast(&y), cast(&g));
    let out = || vec![E::zeroed(); x.len()];
    let (mut z, mut dx, mut dy, mut q) = (out(), out(), out(), out());
    let run = |op: &str, more: &[&str]| {
        let args = ["run", op, "--device", "cpu", "--x", &fx, "--grad", &fg, "--out", &dir.text("")];
        succeeds(&[&args[..], options, more].concat());
    };

    run("spiky", &["--mask"]);
    let mut mask = vec![0; x.len() / 32];
    let fused = spiky::Fused { x: &x[..], dz: &g[..], z: &mut z[..], dx: &mut dx[..] };
    Runner::reference().run(fused).unwrap();
    same("z", &z);
    same("dx", &dx);
    let saving = spiky::ForwardSaving { x: &x[..], z: &mut z[..], mask: &mut mask[..] };
    Runner::reference().run(saving).unwrap();
    assert_eq!(read_bytes(&dir.path("mask.npy")).1, bytemuck::cast_slice::<u32, u8>(&mask));

    run("mod", &["--y", &fy, "--quotient"]);
    let fused =
        modulo::Fused { x: &x[..], y: &y[..], dz: &g[..], z: &mut z[..], dx: None, dy: Some(&mut dy[..]) };
    Runner::reference().run(fused).unwrap();
    Runner::reference().run(modulo::DivMod { x: &x[..], y: &y[..], z: None, q: &mut q[..] }).unwrap();
    for (name, expected) in [("z", &z), ("dx", &g), ("dy", &dy), ("q", &q)] {
        same(name, expected);
    }
}

#[test]
fn run_keeps_the_bits_of_16_bit_types() {
    sixteen_bits::<f16>("'<f2'", &[]);
    sixteen_bits::<f16>("'<f2'", &["--dtype", "f16"]);
    sixteen_bits::<bf16>("'<u2'", &["--dtype", "bf16"]);
}

/// A shape and its elements.
type Array<'a> = (&'a str, &'a [f32]);

#[test]
fn run_broadcasts() {
    let dir = Directory::new();
    let out = dir.text("out");
    let small = [1.0, 2.0, 3.0, 4.0, 5.0, 7.0];
    let g = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    // x, y, z, dx and dy, computed by hand.
    let cases: [[Array; 5]; 6] = [
        [
            ("(2, 3)", &small),
            ("(3,)", &[2.0, 3.0, 5.0]),
            ("(2, 3)", &[1.0, 2.0, 3.0, 0.0, 2.0, 2.0]),
            ("(2, 3)", &g),
            ("(3,)", &[-8.0, -5.0, -6.0]),
        ],
        [
            ("(2, 3)", &small),
            ("()", &[2.0]),
            ("(2, 3)", &[1.0, 0.0, 1.0, 0.0, 1.0, 1.0]),
            ("(2, 3)", &g),
            ("()", &[-41.0]),
        ],
        [
            ("(3,)", &small[..3]),
            ("(2, 1)", &[2.0, 3.0]),
            ("(2, 3)", &[1.0, 0.0, 1.0, 1.0, 2.0, 0.0]),
            ("(3,)", &[5.0, 7.0, 9.0]),
            ("(2, 1)", &[-5.0, -6.0]),
        ],
        // The shapes differ only in an axis of length 1, so there is no sum.
        [
            ("(1, 6)", &small),
            ("(6,)", &[2.0; 6]),
            ("(1, 6)", &[1.0, 0.0, 1.0, 0.0, 1.0, 1.0]),
            ("(1, 6)", &g),
            ("(6,)", &[-0.0, -2.0, -3.0, -8.0, -10.0, -18.0]),
        ],
        // An empty sum is +0, and is written.
        [("(0,)", &[]), ("(1,)", &[2.0]), ("(0,)", &[]), ("(0,)", &[]), ("(1,)", &[0.0])],
        [("(4, 0)", &[]), ("(0,)", &[]), ("(4, 0)", &[]), ("(4, 0)", &[]), ("(0,)", &[])],
    ];
    for [(x_shape, x), (y_shape, y), z, dx, dy] in cases {
        let (fx, fy) = (dir.f32s("x", x_shape, x), dir.f32s("y", y_shape, y));
        let fg = dir.f32s("g", z.0, &g[..z.1.len()]);
        for device in ["cpu", "reference", "auto"] {
            let args = ["run", "mod", "--device", device, "--x", &fx, "--y", &fy, "--out", &out];
            for with_gradients in [false, true] {
                let more: &[&str] = if with_gradients { &["--grad", &fg] } else { &[] };
                succeeds(&[&args[..], more].concat());
                let files = [("z", z), ("dx", dx), ("dy", dy)];
                for (name, (shape, expected)) in &files[..if with_gradients { 3 } else { 1 }] {
                    let (text, values) = read(&dir.path(&format!("out/{name}.npy")));
                    assert_same_header(&text, &header("'<f4'", false, shape));
                    assert_eq!(
                        bits(&values),
                        bits(expected),
                        "{name} of {x_shape} and {y_shape} on {device}"
                    );
                }
            }
        }
    }
}

/// Broadcasting across the end of a chunk gives what the library gives.
#[test]
fn run_broadcasts_in_chunks() {
    let dir = Directory::new();
    let (rows, row) = ((8 << 20) / 7 + 10, 7);
    let x: Vec<f32> = (0..rows * row).map(|i| i as f32 * 0.37 - 1e6).collect();
    let y: Vec<f32> = (0..rows).map(|i| i as f32 * 0.01 + 0.5).collect();
    let (x_shape, out) = (format!("({rows}, {row})"), dir.text(""));
    let fx = dir.f32s("x", &x_shape, &x);
    for (text, shape) in
        [(format!("({rows}, 1)"), vec![rows as u64, 1]), ("(7,)".into(), vec![7]), ("()".into(), vec![])]
    {
        let y = &y[..shape.iter().product::<u64>() as usize];
        let fy = dir.f32s("y", &text, y);
        succeeds(&["run", "mod", "--device", "cpu", "--x", &fx, "--y", &fy, "--quotient", "--out", &out]);
        let (mut z, mut q) = (Vec::<f32>::new(), Vec::<f32>::new());
        let reads =
            vec![Some(View::from(&x).shape(&[rows as u64, row as u64])), Some(View::from(y).shape(&shape))];
        let writes = vec![Some((&mut z).into()), None, None, Some((&mut q).into())];
        Runner::cpu().run(Args::<View, elemgrad::Output>::new(ops::modulo(), reads, writes)).unwrap();
        for (name, expected) in [("z.npy", &z), ("q.npy", &q)] {
            let (header_text, values) = read(&dir.path(name));
            assert_same_header(&header_text, &header("'<f4'", false, &x_shape));
            assert!(bits(&values) == bits(expected), "{name} of y {text} differs");
        }
    }
}

#[test]
fn run_rounds_to_16_bits_when_told() {
    let dir = Directory::new();
    let out = dir.text("");
    // Just above the tie between 0.25 and the next f16, by less than f32 resolves. Rounded once, it goes up.
    let double = 0.25 + f64::from(f16::EPSILON) / 8.0 + 1e-12;
    let x8 = dir.write("x8", &npy("'<f8'", false, "(2,)", &[double, 1e9].map(f64::to_le_bytes).concat()));
    let x4 = dir.f32s("x4", "(2,)", &[0.1, f32::from_bits(0x7f80_0001)]);
    let x2 = dir.write("x2", &npy("'<f2'", false, "(2,)", &[0, 0x38, 1, 0x7c]));
    let run = |x: &str, g: &str, dtype: &str| {
        let args =
            ["run", "spiky", "--device", "cpu", "--x", x, "--grad", g, "--dtype", dtype, "--out", &out];
        succeeds(&[&args[..], &["--cast"]].concat());
        ["z.npy", "dx.npy"].map(|name| {
            let (text, data) = read_bytes(&dir.path(name));
            assert_same_header(&text, &header(if dtype == "f16" { "'<f2'" } else { "'<u2'" }, false, "(2,)"));
            data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect::<Vec<_>>()
        })
    };
    assert_eq!(run(&x8, &x4, "f16"), [[0x3401, 0], [0x2e66, 0]]);
    assert_eq!(run(&x2, &x2, "f16"), [[0x3800, 0], [0x3800, 0]]);
    assert_eq!(run(&x4, &x8, "bf16"), [[0x3dcd, 0], [0x3e80, 0]]);
}

#[test]
fn run_refuses_mixed_types() {
    let dir = Directory::new();
    let write = |name: &str, descr: &str, size: usize| {
        dir.write(name, &npy(descr, false, "(3,)", &vec![0; 3 * size]))
    };
    let [f2, u2, f4, f8] = [("f2", "'<f2'", 2), ("u2", "'<u2'", 2), ("f4", "'<f4'", 4), ("f8", "'<f8'", 8)]
        .map(|(name, descr, size)| write(name, descr, size));
    let cases: [(&str, &str, &[&str], &[&str]); 14] = [
        (&u2, &u2, &[], &["--x", "'<u2'", "--dtype bf16"]),
        (&f4, &u2, &[], &["--y", "'<u2'", "--x holds f32", "one type"]),
        (&f4, &f2, &[], &["--y", "f16", "--x holds f32", "one type"]),
        (&f4, &f2, &["--cast"], &["--y", "f16", "--x holds f32", "one type"]),
        (&f2, &f4, &["--cast"], &["--y", "f32", "--x holds f16", "--dtype f16 and --cast"]),
        (&f2, &f8, &["--cast"], &["--y", "f64", "--x holds f16", "--dtype f16 and --cast"]),
        (&f4, &f8, &[], &["--y", "f64", "--x holds f32", "--cast"]),
        (&f2, &f2, &["--dtype", "f32"], &["--x", "f16", "--dtype says f32"]),
        (&f2, &f2, &["--dtype", "bf16", "--cast"], &["--x", "f16", "--dtype says bf16"]),
        (&u2, &u2, &["--dtype", "f16"], &["--x", "'<u2'", "--dtype says f16"]),
        (&u2, &f2, &["--dtype", "bf16"], &["--y", "f16", "--dtype says bf16"]),
        (&f4, &f4, &["--dtype", "bf16"], &["--x", "f32", "--dtype says bf16", "--cast"]),
        (&f8, &f4, &["--dtype", "f16"], &["--x", "f64", "--dtype says f16", "--cast"]),
        (&f4, &f4, &["--dtype", "f64"], &["f64", "bf16"]),
    ];
    for (x, y, more, words) in cases {
        let args = ["run", "mod", "--device", "cpu", "--x", x, "--y", y, "--out", &dir.text("out")];
        refuses(&[&args[..], more].concat(), words);
        assert!(!dir.path("out").exists());
    }
}

#[test]
fn run_refuses_bad_files() {
    let dir = Directory::new();
    let eight = [0; 8];
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("empty", vec![], &["no .npy file", "numpy.save"]),
        ("text", b"1.0, 2.0, 3.0".to_vec(), &["no .npy file", "numpy.save"]),
        ("version", file(4, &header("'<f4'", false, "(2,)"), &eight), &["version 4.0", "numpy.save"]),
        ("cut", npy("'<f4'", false, "(2,)", &[])[..40].to_vec(), &["truncated"]),
        ("cut length", npy("'<f4'", false, "(2,)", &[])[..9].to_vec(), &["truncated"]),
        ("long header", b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), &["4294967295", "numpy.save"]),
        ("short", npy("'<f4'", false, "(3,)", &eight), &["8 bytes", "(3,)", "12", "truncated"]),
        ("long", npy("'<f4'", false, "(1,)", &eight), &["8 bytes", "(1,)", "longer"]),
        ("negative", npy("'<f4'", false, "(-2,)", &eight), &["impossible shape"]),
        ("overflow", npy("'<f4'", false, "(4294967296, 4294967296)", &eight), &["impossible shape"]),
        ("bytes overflow", npy("'<f4'", false, "(4611686018427387904,)", &eight), &["impossible shape"]),
        ("zero overflow", npy("'<f4'", false, "(0, 9223372036854775808, 4)", &[]), &["impossible shape"]),
        ("beyond u64", npy("'<f4'", false, "(99999999999999999999,)", &eight), &["impossible shape"]),
        ("no tuple", npy("'<f4'", false, "2", &eight), &["malformed"]),
        ("no integer", npy("'<f4'", false, "(2.0,)", &eight), &["malformed"]),
        ("a sum", npy("'<f4'", false, "(1+1,)", &eight), &["malformed"]),
        ("nesting", file(1, &"(".repeat(9000), &eight), &["malformed"]),
        ("no key", file(1, "{'descr': '<f4', 'shape': (2,), }", &eight), &["malformed", "fortran_order"]),
        ("no dict", file(1, "'<f4'", &eight), &["malformed"]),
        (
            "not text",
            file(1, "{'descr': '<f4'", &eight).iter().map(|b| b | 0x80).collect(),
            &["no .npy file"],
        ),
        ("big-endian", npy("'>f4'", false, "(2,)", &eight), &["'>f4'", "astype"]),
        ("unsigned", npy("'<u2'", false, "(4,)", &eight), &["'<u2'", "--dtype bf16"]),
        ("short half", npy("'<f2'", false, "(5,)", &eight), &["8 bytes", "(5,)", "10", "truncated"]),
        ("integer", npy("'<i4'", false, "(2,)", &eight), &["'<i4'", "astype"]),
        ("object", npy("'|O'", false, "(2,)", &eight), &["|O", "astype"]),
        ("structured", npy("[('a', '<f4')]", false, "(2,)", &eight), &["'a'", "astype"]),
        ("Fortran", npy("'<f4'", true, "(1, 2)", &eight), &["Fortran", "ascontiguousarray"]),
    ];
    for (name, bytes, words) in cases {
        let x = dir.write(name, &bytes);
        let words = [words, &["--x", name]].concat();
        refuses(&["run", "spiky", "--device", "cpu", "--x", &x, "--out", &dir.text("out")], &words);
        assert!(!dir.path("out").exists(), "{name}: left a directory");
    }
}

#[test]
fn run_refuses_bad_arguments() {
    let dir = Directory::new();
    let (x, y) = (dir.f32s("x", "(2, 3)", &X), dir.f32s("y", "(3, 2)", &Y));
    let out = dir.text("out");
    let run = |args: &[&'static str]| -> Vec<String> {
        let word = |word: &&'static str| match *word {
            "X" => x.clone(),
            "Y" => y.clone(),
            "OUT" => out.clone(),
            "UNDER X" => format!("{x}/out"),
            word => word.to_owned(),
        };
        ["run", "--device", "cpu"].iter().chain(args).map(word).collect()
    };
    let cases: [(&[&'static str], &[&str]); 12] = [
        (&["spiky", "--out", "OUT"], &["--x"]),
        (&["spiky", "--x", "X"], &["--out"]),
        (&["cosine", "--x", "X", "--out", "OUT"], &["cosine", "spiky", "mod"]),
        (&["mod", "--x", "X", "--out", "OUT"], &["--y"]),
        (&["spiky", "--x", "X", "--y", "X", "--out", "OUT"], &["--y"]),
        (&["mod", "--x", "X", "--y", "Y", "--out", "OUT"], &["(2, 3)", "(3, 2)", "--y", "--x"]),
        (&["spiky", "--x", "X", "--grad", "Y", "--out", "OUT"], &["(2, 3)", "(3, 2)", "--grad", "--x"]),
        (&["mod", "--x", "X", "--y", "X", "--grad", "Y", "--out", "OUT"], &["(2, 3)", "(3, 2)", "--grad"]),
        (&["mod", "--x", "X", "--y", "X", "--mask", "--out", "OUT"], &["mod", "--mask"]),
        (&["spiky", "--x", "X", "--quotient", "--out", "OUT"], &["spiky", "--quotient"]),
        (&["spiky", "--x", "nowhere", "--out", "OUT"], &["--x", "nowhere"]),
        (&["spiky", "--x", "X", "--out", "UNDER X"], &["--out", "cannot be written"]),
    ];
    for (args, words) in cases {
        let args = run(args);
        refuses(&args.iter().map(String::as_str).collect::<Vec<_>>(), words);
    }
    refuses(
        &["run", "spiky", "--device", "no such GPU", "--x", &x, "--out", &out],
        &["no such GPU", "found: "],
    );
    fs::create_dir_all(dir.path("taken/z.npy")).unwrap();
    refuses(
        &["run", "spiky", "--device", "cpu", "--x", &x, "--out", &dir.text("taken")],
        &["z.npy", "directory"],
    );
    assert_eq!(dir.names(), ["taken", "x", "y"]);
}

#[cfg(unix)]
mod unix {
    use std::{
        process::Child,
        thread::sleep,
        time::{Duration, Instant},
    };

    use super::*;

    fn signal(child: &Child, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    #[track_caller]
    fn wait_until(what: impl Fn() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_mins(1), "waited in vain");
            sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn signals_leave_no_files() {
        let dir = Directory::new();
        // This is minutes of work for the reference.
        let x = dir.zeros("x.npy", 1 << 32);
        for name in ["INT", "TERM"] {
            let old = dir.write("z.npy", b"old");
            let args = ["run", "spiky", "--device", "reference", "--x", &x, "--grad", &x, "--out"];
            let mut children = [dir.text(""), dir.text("new/directory")]
                .map(|out| command(&args).arg(out).stderr(Stdio::piped()).spawn().unwrap());
            wait_until(|| dir.names().len() == 5 && dir.path("new/directory").exists());
            for child in &mut children {
                signal(child, name);
                assert_eq!(child.wait().unwrap().code(), Some(1), "{name}");
            }
            let output = children.map(|child| child.wait_with_output().unwrap().stderr);
            assert_eq!(output, [b"elemgrad: interrupted\n", b"elemgrad: interrupted\n"]);
            assert_eq!(dir.names(), ["x.npy", "z.npy"]);
            assert_eq!(fs::read(old).unwrap(), b"old");
        }
    }

    #[test]
    fn a_signal_ends_a_stuck_read() {
        let dir = Directory::new();
        assert!(Command::new("mkfifo").arg(dir.path("pipe")).status().unwrap().success());
        let args = ["run", "spiky", "--device", "cpu", "--x", &dir.text("pipe"), "--out", &dir.text("out")];
        let mut child = command(&args).stderr(Stdio::null()).spawn().unwrap();
        let mut pipe = File::options().write(true).open(dir.path("pipe")).unwrap();
        pipe.write_all(&npy("'<f4'", false, "(2,)", &[])).unwrap();
        wait_until(|| dir.path("out").exists());
        signal(&child, "TERM");
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert_eq!(dir.names(), ["pipe"]);
    }

    #[test]
    fn pipes_are_read_to_their_end() {
        let dir = Directory::new();
        assert!(Command::new("mkfifo").arg(dir.path("pipe")).status().unwrap().success());
        let whole = npy("'<f4'", false, "(6,)", &bytes(&X));
        let cut = &whole[..whole.len() - 1];
        let long = [&whole[..], b"0"].concat();
        for (data, code, word) in [(&whole[..], 0, ""), (cut, 1, "ends before"), (&long, 1, "goes on")] {
            let args =
                ["run", "spiky", "--device", "cpu", "--x", &dir.text("pipe"), "--out", &dir.text("out")];
            let child = command(&args).stderr(Stdio::piped()).spawn().unwrap();
            fs::write(dir.path("pipe"), data).unwrap();
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(code));
            assert!(String::from_utf8(output.stderr).unwrap().contains(word));
            assert_eq!(fs::remove_dir_all(dir.path("out")).is_ok(), code == 0);
        }
    }

    #[test]
    fn a_failed_write_leaves_no_files() {
        let dir = Directory::new();
        let (x, old) = (dir.zeros("x.npy", 1 << 20), dir.write("z.npy", b"old"));
        // Files may not grow beyond a few blocks, and the signal for that is ignored.
        let script = r#"trap '' XFSZ; ulimit -f 64; exec "$0" "$@""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_elemgrad"), "run", "spiky", "--device", "cpu"]);
        let output = command.args(["--x", &x, "--out", &dir.text("")]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("z.npy"));
        assert_eq!(dir.names(), ["x.npy", "z.npy"]);
        assert_eq!(fs::read(old).unwrap(), b"old");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_bounded() {
        let dir = Directory::new();
        // 1 GiB in and 1 GiB out.
        let x = dir.zeros("x.npy", 256 << 20);
        let mut child =
            command(&["run", "spiky", "--device", "cpu", "--x", &x, "--out", &dir.text("")]).spawn().unwrap();
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let high =
                status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
            peak = high.map_or(peak, |high| high.parse().unwrap());
            sleep(Duration::from_millis(2));
        }
        assert!(child.wait().unwrap().success());
        assert!((1..400 << 10).contains(&peak), "{peak} KiB");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_standard_output_is_a_failure() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let status =
            command(&["shader", "spiky", "--pass", "fused"]).stdout(full).stderr(Stdio::null()).status();
        assert_eq!(status.unwrap().code(), Some(1));
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = command(&["shader", "spiky", "--pass", "fused"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn usage_errors_are_2() {
    refuses(&["nonsense"], &["nonsense"]);
    refuses(&["verify", "mod", "--exhaustive"], &["mod", "--exhaustive", "--pairs"]);
    refuses(&["verify", "--pairs", "0"], &["--pairs"]);
    refuses(&["verify", "--bits", "x=0"], &["OP"]);
    refuses(&["verify", "mod", "--bits", "x=0,y=0"], &["x, y, dz"]);
    refuses(&["verify", "mod", "--bits", "x=0,y=0,dz=g"], &["hexadecimal"]);
    refuses(&["verify", "mod", "--dtype", "f16", "--bits", "x=10000,y=0,dz=0"], &["x=10000", "4", "f16"]);
    refuses(
        &["verify", "spiky", "--dtype", "f16", "--exhaustive", "--pairs", "7"],
        &["--exhaustive", "--pairs"],
    );
    refuses(&["verify", "--dtype", "f64"], &["f64", "f32", "bf16"]);
    refuses(&["bench", "spiky", "--layout", "row"], &["no op", "layouts"]);
    refuses(&["bench", "--extra", "mask", "--pass", "fused"], &["no op", "mask"]);
    refuses(&["demo", "--elements", "0"], &["--elements"]);
    refuses(&["--elements", "7", "info"], &["--elements"]);
    refuses(&["shader", "spiky"], &["--pass"]);
    refuses(&["shader", "spiky", "--functions", "--json"], &["--functions"]);
    refuses(&["plot", "spiky", "--device", "cpu", "--out", "no/such/directory/f.svg"], &["f.svg", "--out"]);
    for command in [&["info"][..], &["verify"], &["bench"], &["demo"], &["shader", "mod", "--pass", "fused"]]
    {
        refuses(&[command, &["--device", "no such GPU"]].concat(), &["no such GPU", "found: "]);
    }
}

#[track_caller]
fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeeds(args)).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn verify_reports_as_json() {
    for device in ["cpu", "CPU", "reference"] {
        let report = json(&["verify", "--json", "--device", device, "--pairs", "5000"]);
        let rows = report.as_array().unwrap();
        for (row, op) in rows.iter().zip(["spiky", "mod"]) {
            assert_eq!(
                keys(row),
                ["device", "op", "dtype", "checked", "mismatches", "left_out", "conclusive"]
            );
            assert_eq!(row["conclusive"], true);
            assert_eq!((&row["op"], &row["dtype"]), (&op.into(), &"f32".into()));
            assert_eq!((&row["checked"], &row["mismatches"]), (&5000.into(), &0.into()));
            assert_eq!(row["device"], device.to_lowercase());
        }
        assert_eq!(rows.len(), 2);
    }
    let one = json(&["verify", "mod", "--json", "--device", "cpu", "--bits", "x=3f800000,y=3dcccccd,dz=1"]);
    assert_eq!((one.as_array().unwrap().len(), &one[0]["checked"]), (1, &1.into()));
}

#[test]
fn verify_takes_every_storage_type() {
    for dtype in ["f32", "f16", "bf16"] {
        let check = |args: &[&str], count: u64| {
            let report = json(&[&["verify", "--json", "--dtype", dtype], args].concat());
            let row = &report.as_array().unwrap()[0];
            assert_eq!(
                (&row["dtype"], &row["checked"], &row["mismatches"]),
                (&dtype.into(), &count.into(), &0.into())
            );
        };
        check(&["mod", "--device", "cpu", "--pairs", "30000"], 30000);
        check(&["mod", "--device", "auto", "--pairs", "5000"], 5000);
        if dtype != "f32" {
            for device in ["cpu", "reference"] {
                check(&["spiky", "--device", device, "--exhaustive"], 1 << 16);
            }
        }
        let text =
            succeeds(&["verify", "spiky", "--dtype", dtype, "--device", "cpu", "--bits", "x=7f81,dz=1"]);
        assert!(text.starts_with(&format!("spiky {dtype} on cpu: 1 inputs (given)")), "{text}");
    }
}

#[test]
fn bench_reports_as_json() {
    let report = json(&["bench", "--json", "--device", "cpu", "--elements", "1000"]);
    let rows = report.as_array().unwrap();
    assert_eq!(rows.len(), 2 * 3 * 2);
    let expected = [
        "op",
        "pass",
        "extra",
        "dtype",
        "layout",
        "data",
        "device",
        "elements",
        "bytes_per_element",
        "seconds",
        "bytes_per_second",
        "copy",
        "copy_bytes_per_second",
        "ratio_to_copy",
        "timestamps",
        "mismatches",
    ];
    for row in rows {
        assert_eq!(keys(row), expected);
        assert_eq!((&row["layout"], &row["copy"]), (&"contiguous".into(), &"plain".into()));
        assert_eq!((&row["dtype"], &row["extra"]), (&"f32".into(), &"none".into()));
        assert_eq!((&row["elements"], &row["timestamps"]), (&1000.into(), &false.into()));
        assert_eq!(row["mismatches"], 0);
        let number = |key: &str| row[key].as_f64().unwrap();
        let speed = number("bytes_per_element") * 1000.0 / number("seconds");
        assert!((number("bytes_per_second") / speed - 1.0).abs() < 1e-9);
        let ratio = speed / number("copy_bytes_per_second");
        assert!((number("ratio_to_copy") / ratio - 1.0).abs() < 1e-9);
    }
    let bytes = |op, pass| {
        let row = rows.iter().find(|row| row["op"] == op && row["pass"] == pass).unwrap();
        row["bytes_per_element"].as_f64().unwrap()
    };
    let all = ["forward", "backward", "fused"].map(|pass| (bytes("spiky", pass), bytes("mod", pass)));
    assert_eq!(all, [(8.0, 12.0), (12.0, 16.0), (16.0, 20.0)]);
}

#[test]
fn bench_takes_types_layouts_and_extras() {
    let bench = |args: &[&str]| {
        let always = ["bench", "--json", "--device", "cpu", "--data", "ordinary", "--elements", "70000"];
        let report = json(&[&always[..], args].concat());
        report.as_array().unwrap().clone()
    };
    let rows = bench(&["mod", "--pass", "fused", "--dtype", "all", "--layout", "all"]);
    let mut rows = rows.iter();
    for (dtype, size) in [("f32", 4.0), ("f16", 2.0), ("bf16", 2.0)] {
        // x, dz and z, and as many elements as y and dy have.
        let (row, channel) = (68.0 * 1024.0, 64.0 * 1024.0);
        for (layout, elements, y) in [
            ("contiguous", 70000.0, 70000.0),
            ("scalar", 70000.0, 1.0),
            ("row", row, 1024.0),
            ("column", row, 68.0),
            ("channel", channel, 64.0),
        ] {
            let found = rows.next().unwrap();
            assert_eq!((&found["dtype"], &found["layout"]), (&dtype.into(), &layout.into()));
            assert_eq!((&found["elements"].as_f64(), &found["mismatches"]), (&Some(elements), &0.into()));
            let bytes = found["bytes_per_element"].as_f64().unwrap();
            assert!((bytes - size * (3.0 + 2.0 * y / elements)).abs() < 1e-9, "{found}");
        }
    }
    assert!(rows.next().is_none());
    let names = |args: &[&str]| -> Vec<String> {
        let name =
            |row: &Value| ["op", "pass", "extra"].map(|key| row[key].as_str().unwrap().to_owned()).join(" ");
        bench(args).iter().map(name).collect()
    };
    let all = [
        "spiky forward none",
        "spiky forward mask",
        "spiky backward none",
        "spiky backward mask",
        "spiky backward accumulate",
        "spiky fused none",
        "mod forward none",
        "mod forward values",
        "mod backward none",
        "mod backward accumulate",
        "mod fused none",
    ];
    assert_eq!(names(&["--extra", "all"]), all);
    assert_eq!(names(&["--extra", "values", "--extra", "mask", "--pass", "forward"]), [all[1], all[7]]);
}

#[test]
fn shader_prints_what_the_library_compiles() {
    for op in ["spiky", "mod"] {
        let functions = succeeds(&["shader", op, "--functions"]);
        assert!(functions.contains("fn ") && !functions.contains("@group"));
        assert_eq!(succeeds(&["shader", op, "--functions", "--pass", "fused", "--dtype", "f32"]), functions);
        for pass in ["forward", "backward", "fused"] {
            for dtype in ["f32", "f16", "bf16"] {
                let functions = succeeds(&["shader", op, "--functions", "--pass", pass, "--dtype", dtype]);
                for access in ["word", "vec4"] {
                    shader(
                        op,
                        &["shader", op, "--pass", pass, "--dtype", dtype, "--access", access],
                        dtype,
                        &functions,
                    );
                }
            }
        }
    }
}

fn shader(op: &str, args: &[&str], dtype: &str, functions: &str) {
    let source = succeeds(args);
    elemgrad::shader::Shader::check(op, &source).unwrap();
    assert!(source.starts_with("// elemgrad"));
    // The kernel has the same functions in the same order, and those of its storage among them.
    let mut rest = source.as_str();
    for function in functions.trim().split("\n\n") {
        let (_, after) = rest.split_once(function).unwrap_or_else(|| panic!("{args:?}: no {function}"));
        rest = after;
    }
    let report = json(&[args, &["--json"]].concat());
    let fields = [
        "dtype",
        "source",
        "entry_point",
        "bindings",
        "params",
        "workgroup_size",
        "elements_per_workgroup",
        "dispatch",
    ];
    assert_eq!(keys(&report), fields);
    assert_eq!((&report["dtype"], &report["source"]), (&dtype.into(), &source.as_str().into()));
    for binding in report["bindings"].as_array().unwrap() {
        let line = format!("@group(0) @binding({}) var<", binding["binding"]);
        let declared = source.lines().find(|l| l.starts_with(&line)).unwrap();
        assert!(declared.contains(binding["name"].as_str().unwrap()));
    }
}

/// An op of two inputs. One gradient is written.
const TOOTH: &str = "fn forward(t: f32, gain: f32) -> f32 {
    let r = floor_mod(t, 1.0);
    if r > 0.5 { return 0.0; }
    return r * gain;
}

fn d_gain(t: f32, gain: f32, z: f32, dz: f32) -> f32 {
    return dz * floor_mod(t, 1.0);
}
";

#[test]
fn run_takes_expressions_and_files_by_name() {
    let dir = Directory::new();
    let a = dir.f32s("a", "(2, 3)", &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let (b, c) = (dir.f32s("b", "(3,)", &[0.5, 2.0, 4.0]), dir.f32s("c", "()", &[3.0]));
    let g = dir.f32s("g", "(2, 3)", &[1.0, 1.0, 1.0, 1.0, 1.0, 2.0]);
    let inputs = [format!("c={c}"), format!("a={a}"), format!("b={b}")];
    for (out, arithmetic) in [("native", &[][..]), ("exact", &["--arithmetic", "exact"])] {
        let options = inputs.iter().flat_map(|input| ["--in", input]).collect::<Vec<_>>();
        let out_path = dir.text(out);
        let args = ["run", "--expr", "a * b + c", "--device", "cpu", "--grad", &g, "--out", &out_path];
        succeeds(&[&args[..], &options, arithmetic].concat());
        let mut names: Vec<_> =
            fs::read_dir(dir.path(out)).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["da.npy", "db.npy", "dc.npy", "z.npy"]);
        let expected: [(&str, Array); 4] = [
            ("z", ("(2, 3)", &[3.0, 5.0, 11.0, 4.5, 11.0, 23.0])),
            ("da", ("(2, 3)", &[0.5, 2.0, 4.0, 0.5, 2.0, 8.0])),
            ("db", ("(3,)", &[3.0, 5.0, 12.0])),
            ("dc", ("()", &[7.0])),
        ];
        for (name, (shape, expected)) in expected {
            let (text, values) = read(&dir.path(&format!("{out}/{name}.npy")));
            assert_same_header(&text, &header("'<f4'", false, shape));
            assert_eq!(bits(&values), bits(expected), "{name} in {out}");
        }
    }
}

/// Arrays with their file names.
type Files<'a> = &'a [(&'a str, Array<'a>)];

/// Outputs that are aliases of inputs, broadcast or not.
#[test]
fn run_writes_what_an_input_is() {
    let dir = Directory::new();
    let (x, y) = (dir.f32s("x", "(3, 1)", &[1.0, 2.0, 3.0]), dir.f32s("y", "(1, 2)", &[5.0, 6.0]));
    let (g, h) = (dir.f32s("g", "(3, 2)", &[1.0; 6]), dir.f32s("h", "(3, 1)", &[0.5; 3]));
    let first = dir.write("first.wgsl", b"fn forward(x: f32, y: f32) -> f32 { return x; }");
    let cases: [(&[&str], Files); 3] = [
        (&["--expr", "x", "--x", &x], &[("z", ("(3, 1)", &[1.0, 2.0, 3.0]))]),
        (
            &["--expr", "round_to_storage(x)", "--x", &x, "--grad", &h],
            &[("z", ("(3, 1)", &[1.0, 2.0, 3.0])), ("dx", ("(3, 1)", &[0.5; 3]))],
        ),
        (
            &["--wgsl", &first, "--x", &x, "--y", &y, "--grad", &g],
            &[
                ("z", ("(3, 2)", &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0])),
                ("dx", ("(3, 1)", &[2.0; 3])),
                ("dy", ("(1, 2)", &[0.0; 2])),
            ],
        ),
    ];
    for (args, expected) in cases {
        succeeds(&[&["run"], args, &["--device", "cpu", "--out", &dir.text("out")]].concat());
        for (name, (shape, expected)) in expected {
            let (text, values) = read(&dir.path(&format!("out/{name}.npy")));
            assert_same_header(&text, &header("'<f4'", false, shape));
            assert_eq!(values, *expected, "{name} of {args:?}");
        }
    }
}

#[test]
fn run_takes_wgsl_in_every_type() {
    let dir = Directory::new();
    let op = Op::from_wgsl("tooth", TOOTH).unwrap();
    let tooth = dir.write("tooth.wgsl", TOOTH.as_bytes());
    let words: Vec<u16> = (0..=u16::MAX).collect();
    let file = |name: &str, step: u16| {
        let data: Vec<u16> = words.iter().map(|w| w.wrapping_mul(step)).collect();
        (dir.write(name, &npy("'<f2'", false, "(65536,)", bytemuck::cast_slice(&data))), data)
    };
    let [(ft, t), (fgain, gain), (fg, g)] =
        [("t", 1), ("gain", 40503), ("g", 25717)].map(|(n, s)| file(n, s));
    let [t, gain, g]: [Vec<f16>; 3] = [t, gain, g].map(|words| bytemuck::cast_slice(&words).to_vec());
    let (in_t, in_gain) = (format!("t={ft}"), format!("gain={fgain}"));
    let args = ["--device", "cpu", "--in", &in_t, "--in", &in_gain, "--grad", &fg, "--out", &dir.text("")];
    succeeds(&[&["run", "--wgsl", &tooth], &args[..]].concat());
    let mut writes: [Vec<f16>; 3] = Default::default();
    let outputs = writes.iter_mut().map(Some).collect();
    Runner::reference().run(Args::new(&op, vec![Some(&t), Some(&gain), Some(&g)], outputs)).unwrap();
    for (name, expected) in ["z.npy", "dt.npy", "dgain.npy"].iter().zip(&writes) {
        let (text, data) = read_bytes(&dir.path(name));
        assert_same_header(&text, &header("'<f2'", false, "(65536,)"));
        assert!(data == bytemuck::cast_slice::<f16, u8>(expected), "{name} differs");
    }
}

/// The built-in activation made of building blocks writes the same files, including the mask, and takes either name
/// of an input.
#[test]
fn run_of_blocks_is_that_of_the_built_in_op() {
    let dir = Directory::new();
    let x: Vec<f32> = (0..9_000_001).map(|i| i as f32 * 0.37 - 1e6).collect();
    let fx = dir.f32s("x", "(9000001,)", &x);
    let named = format!("x={fx}");
    let cases: [(&str, &[&str]); 3] = [
        ("built in", &["spiky", "--x", &fx]),
        ("blocks", &["--expr", "spiky(x)", "--x", &fx]),
        ("named", &["--expr", "spiky(x)", "--in", &named]),
    ];
    for (out, args) in cases {
        let out = dir.text(out);
        let more = ["--device", "cpu", "--mask", "--grad", &fx, "--out", &out];
        succeeds(&[&["run"], args, &more].concat());
    }
    for name in ["z", "dx", "mask"] {
        let file = |out: &str| fs::read(dir.path(&format!("{out}/{name}.npy"))).unwrap();
        let built_in = file("built in");
        assert!(built_in == file("blocks") && built_in == file("named"), "{name} differs");
    }
}

/// A number in place of a file broadcasts, takes the type of the files, and gets a gradient without axes.
#[test]
fn run_takes_numbers() {
    let dir = Directory::new();
    let (x, g) = (dir.f32s("x", "(2,)", &[1.5, -2.0]), dir.f32s("g", "(2,)", &[1.0, 2.0]));
    let named = format!("x={x}");
    let run = |inputs: &[&str], out: &str| {
        let out = dir.text(out);
        let args = ["run", "--expr", "slope * x", "--device", "cpu", "--out", &out];
        succeeds(&[&args[..], inputs].concat());
    };
    let assert_holds = |name: &str, shape: &str, wanted: &[f32]| {
        let (text, data) = read_bytes(&dir.path(name));
        assert_same_header(&text, &header("'<f4'", false, shape));
        assert_eq!(data, bytemuck::cast_slice::<f32, u8>(wanted), "{name}");
    };
    run(&["--in", "slope=0.25", "--x", &x, "--grad", &g], "slope");
    assert_holds("slope/z.npy", "(2,)", &[0.375, -0.5]);
    assert_holds("slope/dx.npy", "(2,)", &[0.25, 0.5]);
    assert_holds("slope/dslope.npy", "()", &[-2.5]);
    run(&["--in", &named, "--in", "slope=-1e1"], "file");
    assert_holds("file/z.npy", "(2,)", &[-15.0, 20.0]);
    run(&["--in", "slope=2", "--x", "3"], "numbers");
    assert_holds("numbers/z.npy", "()", &[6.0]);
    // The number is rounded to the type that the file sets.
    let half = dir.write("h.npy", &npy("'<f2'", false, "(1,)", &f16::ONE.to_le_bytes()));
    run(&["--x", &half, "--in", "slope=0.1"], "half");
    assert_eq!(read_bytes(&dir.path("half/z.npy")).1, f16::from_f32(0.1).to_le_bytes());
    // A name that is no finite number is that of a file.
    refuses(&["run", "--expr", "x", "--x", "inf", "--out", &dir.text("out")], &["--x inf: cannot be read"]);
}

#[test]
fn run_names_inputs_that_are_wrong() {
    let dir = Directory::new();
    let x = dir.f32s("x", "(6,)", &X);
    let [a, b, c, nowhere] = ["a", "b", "c", "nowhere"].map(|name| format!("{name}={x}"));
    let none = "a=no.npy".to_owned();
    let cases: [(&[&str], &str); 8] = [
        (&["--in", &a], "elemgrad: expr needs --in b=FILE.npy, or a number for all elements\n"),
        (&["--in", &a, "--in", &b, "--in", &c], "expr has no input c, only a, b: leave out --in c\n"),
        (
            &["--in", &a, "--in", &b, "--in", &nowhere],
            "no input nowhere, only a, b: leave out --in nowhere\n",
        ),
        (&["--in", &a, "--in", &b, "--x", &x], "expr has no input x, only a, b: leave out --x\n"),
        (
            &["--in", &a, "--in", &b, "--in", &a],
            "a is given twice, by --in a and --in a: leave out one of them\n",
        ),
        (&["--in", &none, "--in", &b], "--in a no.npy: cannot be read"),
        (&["--in", "a"], "needs the form x=X.npy"),
        (&["--in", &a, "--in", &b, "--mask"], "expr has no output mask: leave out --mask\n"),
    ];
    for (args, message) in cases {
        let always = ["run", "--expr", "a * b", "--device", "cpu", "--out", &dir.text("out")];
        refuses(&[&always[..], args].concat(), &[message]);
    }
    let doubled = format!("x={x}");
    refuses(
        &["run", "spiky", "--x", &x, "--in", &doubled, "--out", &dir.text("out")],
        &["x is given twice, by --x and --in x: leave out one of them\n"],
    );
    assert_eq!(dir.names(), ["x"]);
}

/// Every command that takes an op reports where its text is wrong, before it does anything.
#[test]
fn wrong_wgsl_is_pointed_at() {
    let dir = Directory::new();
    let wrong = dir.write("wrong.wgsl", TOOTH.replace("r * gain", "r * sin(").as_bytes());
    let x = dir.f32s("x", "(6,)", &X);
    let out = dir.text("out");
    let commands: [&[&str]; 5] = [
        &["run", "--x", &x, "--out", &out],
        &["verify"],
        &["bench"],
        &["shader", "--pass", "fused"],
        &["plot", "--out", &out],
    ];
    let in_file = format!(
        "elemgrad: {wrong}:4:20: expected expression, found \";\"\n        return r * sin(;\n{:23}^\n",
        ""
    );
    for command in commands {
        let said = |source: [&str; 2]| {
            let output = elemgrad(&[command, &source].concat());
            assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{command:?} {source:?}");
            String::from_utf8(output.stderr).unwrap()
        };
        assert_eq!(said(["--wgsl", &wrong]), in_file);
        let found = "elemgrad: --expr:2:4: there is no function `cot`: the table of `Op::from_wgsl` lists those \
                     that are\n     + cot(x)\n       ^\n";
        assert_eq!(said(["--expr", "x\n + cot(x)"]), found);
        assert_eq!(
            said(["--expr", "x +"]),
            "elemgrad: --expr:1:4: expected expression, found the end of the text\n    x +\n       ^\n"
        );
    }
    assert_eq!(dir.names(), ["wrong.wgsl", "x"]);
}

#[test]
fn wgsl_that_cannot_be_had_is_refused() {
    let dir = Directory::new();
    let long = dir.write("long.wgsl", &vec![b' '; (64 << 10) + 1]);
    let binary = dir.write("binary.wgsl", &[0xff; 100]);
    let tooth = dir.write("tooth.wgsl", TOOTH.as_bytes());
    refuses(&["verify", "--wgsl", &long], &["long.wgsl: has more than 65536 bytes, the limit of a text"]);
    refuses(&["verify", "--wgsl", &binary], &["binary.wgsl: is not UTF-8 text"]);
    refuses(&["verify", "--wgsl", "no.wgsl"], &["no.wgsl: cannot be read"]);
    refuses(&["verify", "--wgsl", &dir.text("")], &["cannot be read"]);
    refuses(&["verify", "--expr", "exp(x)", "--arithmetic", "exact"], &["expr: exp has no exact form"]);
    refuses(&["verify", "--expr", "mask"], &["--expr:1:1: the name 'mask'"]);
    refuses(
        &["verify", "--expr", "a+b+c+d+e+f+g+h+i"],
        &["--expr:1:1: the op has 9 inputs, more than the limit of 8"],
    );
    refuses(&["verify", "--expr", "x", "--bits", "x=0"], &["--bits of expr", "x, dz"]);
    refuses(&["verify", "--expr", "x+y+z1", "--exhaustive"], &["expr has 96 bits"]);
    refuses(&["bench", "--expr", "x * x", "--extra", "mask"], &["no op", "mask"]);
    for command in [&["run", "--out", "out"][..], &["verify"], &["bench"], &["shader", "--functions"]] {
        refuses(
            &[command, &["--expr", "x", "--wgsl", &tooth]].concat(),
            &["--expr", "--wgsl", "cannot be used"],
        );
        refuses(&[command, &["mod", "--expr", "x"]].concat(), &["--expr", "OP", "cannot be used"]);
        refuses(&[command, &["mod", "--arithmetic", "exact"]].concat(), &["--arithmetic", "OP"]);
        refuses(&[command, &["--arithmetic", "exact"]].concat(), &["--wgsl", "--expr", "required"]);
    }
    for command in [&["run", "--out", "out"][..], &["shader", "--functions"], &["plot", "--out", "f.svg"]] {
        refuses(command, &["OP", "--wgsl", "--expr", "required"]);
    }
}

#[test]
fn verify_and_bench_take_ops_of_ones_own() {
    let dir = Directory::new();
    let tooth = dir.write("my-tooth.wgsl", TOOTH.as_bytes());
    for (source, name) in [(["--wgsl", &*tooth], "my_tooth"), (["--expr", "-x * tanh(y)"], "expr")] {
        let report =
            json(&[&["verify", "--json", "--device", "cpu", "--pairs", "5000"], &source[..]].concat());
        let row = &report.as_array().unwrap()[0];
        assert_eq!(
            (&row["op"], &row["checked"], &row["mismatches"]),
            (&name.into(), &5000.into(), &0.into())
        );
        let report = json(
            &[
                &["bench", "--json", "--device", "cpu", "--elements", "5000", "--data", "ordinary"],
                &source[..],
            ]
            .concat(),
        );
        let rows = report.as_array().unwrap();
        let passes: Vec<_> = rows.iter().map(|row| row["pass"].as_str().unwrap()).collect();
        assert_eq!(passes, ["forward", "backward", "fused"]);
        assert!(rows.iter().all(|row| row["op"] == name && row["mismatches"] == 0), "{report}");
    }
    let exhaustive =
        ["verify", "--expr", "abs(t) * t", "--arithmetic", "exact", "--dtype", "f16", "--exhaustive"];
    let report = json(&[&exhaustive[..], &["--json", "--device", "cpu"]].concat());
    assert_eq!((&report[0]["checked"], &report[0]["mismatches"]), (&(1 << 16).into(), &0.into()));
    let bits =
        ["verify", "--wgsl", &tooth, "--bits", "gain=40000000,t=3e800000,dz=3f800000", "--device", "cpu"];
    assert!(succeeds(&bits).starts_with("my_tooth f32 on cpu: 1 inputs (given)"));
}

#[test]
fn wgsl_comes_from_standard_input_too() {
    let run = |text: &[u8]| {
        let args = ["verify", "--wgsl", "-", "--pairs", "100", "--device", "cpu"];
        let mut command = command(&args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The command may not read all of its input.
        drop(child.stdin.take().unwrap().write_all(text));
        child.wait_with_output().unwrap()
    };
    let output = run(TOOTH.as_bytes());
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("stdin f32 on cpu: 100 inputs"));
    let output = run(b"fn forward(x: f32) -> f32 { return y; }");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("elemgrad: <stdin>:1:"));
    assert_eq!(run(&vec![b'/'; 1 << 20]).status.code(), Some(2));
}

#[test]
fn shader_prints_ops_of_ones_own() {
    let dir = Directory::new();
    let tooth = dir.write("tooth.wgsl", TOOTH.as_bytes());
    for arithmetic in [Arithmetic::Native, Arithmetic::Exact] {
        let told = ["--arithmetic", arithmetic.name()];
        let functions = succeeds(&[&["shader", "--wgsl", &tooth, "--functions"], &told[..]].concat());
        assert_eq!(functions.contains("native_mul"), arithmetic == Arithmetic::Native);
        let source = succeeds(&[&["shader", "--wgsl", &tooth, "--pass", "fused"], &told[..]].concat());
        elemgrad::shader::Shader::check("tooth", &source).unwrap();
        assert!(source.starts_with("// elemgrad") && source.contains(&functions));
        let op = Op::from_wgsl("tooth", TOOTH).unwrap().with_arithmetic(arithmetic).unwrap();
        let signature = elemgrad::Op::signature(&op);
        let outputs = signature.default_outputs(elemgrad::Pass::Fused);
        let right = elemgrad::shader::Shader::functions(signature, outputs, elemgrad::DType::F32);
        assert_eq!(Ok(functions), right);
    }
    let native = ["shader", "--expr", "x * y", "--pass", "forward"];
    assert_eq!(succeeds(&native), succeeds(&[&native[..], &["--arithmetic", "native"]].concat()));
}

#[test]
fn info_tells_what_auto_takes() {
    let report = json(&["info", "--json"]);
    assert_eq!(keys(&report), ["version", "auto", "device", "cpu", "adapters"]);
    assert_eq!(report["auto"], report["device"]);
    let taken = report["adapters"].as_array().unwrap().iter().filter(|adapter| adapter["auto"] == true);
    let names: Vec<_> = taken.map(|adapter| &adapter["name"]).collect();
    assert!(if report["auto"] == "cpu" { names.is_empty() } else { names == [&report["auto"]] });
    assert!(succeeds(&["--device", "reference", "info"]).contains("this --device takes: reference"));
}

#[test]
fn demo_is_what_the_command_does() {
    for args in
        [&["--device", "cpu", "--elements", "5000"][..], &["demo", "--device", "cpu", "--elements", "5000"]]
    {
        let text = succeeds(args);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        for (line, op) in lines[1..].iter().zip(["spiky", "mod"]) {
            assert_eq!(line[..4], [op, "fused", "cpu", "5,000"]);
            assert_eq!(line.last(), Some(&"0"));
        }
    }
}

#[test]
fn plots_are_those_of_the_documentation() {
    let dir = Directory::new();
    for op in ["spiky", "mod"] {
        succeeds(&["plot", op, "--device", "cpu", "--out", &dir.text("f.svg")]);
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/{op}.svg"));
        assert!(
            fs::read(dir.path("f.svg")).unwrap() == fs::read(&committed).unwrap(),
            "docs/{op}.svg is out of date: elemgrad plot {op} --out docs/{op}.svg"
        );
    }
}

/// A picture as text.
fn plot(args: &[&str]) -> String {
    let dir = Directory::new();
    succeeds(&[&["plot", "--device", "cpu", "--out", &dir.text("f.svg")], args].concat());
    fs::read_to_string(dir.path("f.svg")).unwrap()
}

/// The number of curves and dots. Asserts that all of them are within the picture.
fn drawn(svg: &str) -> [usize; 2] {
    let size = svg.split('"').nth(1).unwrap().parse::<f64>().unwrap();
    for points in svg.split("points=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let numbers = points.split([',', ' ']).filter(|word| !word.is_empty());
        assert!(numbers.map(|n| n.parse::<f64>().unwrap()).all(|n| (0.0..size).contains(&n)), "{points}");
    }
    [svg.matches("stroke-width=\"3\"").count(), svg.matches("<circle").count()]
}

#[test]
fn plots_of_ones_own() {
    let dir = Directory::new();
    let tooth = dir.write("tooth.wgsl", TOOTH.as_bytes());
    let svg = plot(&["--wgsl", &tooth, "--range", "t=0:2", "--at", "gain=2.5"]);
    for text in ["tooth(t, gain)", "t   (gain = 2.5)", "gain   (t = 1)", "dgain ="] {
        assert!(svg.contains(text), "no {text}");
    }
    // The pieces of curves, and three circles for each jump that has dots.
    let cases: [(&str, [usize; 2]); 11] = [
        ("tanh(x) * y", [6, 0]),
        ("spiky(x)", [7 + 13, 3 * (6 + 12)]),
        ("select(x, 2.0, x > 0.5)", [4, 6]),
        // The jump is at no short fraction, so it is open which side takes the point.
        ("select(x, 1000.0, x > 0.3)", [4, 0]),
        ("log(x)", [3, 0]),
        ("1.0 / x", [4, 0]),
        ("sin(x) / cos(x)", [6, 0]),
        ("x * 0.0 + 5.0", [2, 0]),
        ("log(-1.0 - x * x)", [1, 0]),
        ("x * 1e30", [2, 0]),
        ("x * 1e-40", [2, 0]),
    ];
    for (text, expected) in cases {
        assert_eq!(drawn(&plot(&["--expr", text])), expected, "{text}");
    }
    // Around the pole at e = 0, z, dd and de are in two pieces.
    let eight = "a + b * c - d / e + f * g - h";
    assert_eq!(drawn(&plot(&["--expr", eight]))[0], 8 * 9 + 3);
    for range in ["x=-3e38:3e38", "x=1:1.0000001", "x=-1e-45:1e-45"] {
        drawn(&plot(&["--expr", "x * exp(x)", "--range", range]));
    }
    assert_ne!(plot(&["mod", "--at", "y=2"]), plot(&["mod"]));
}

#[test]
fn plots_refuse_wrong_ranges() {
    let dir = Directory::new();
    let out = dir.text("f.svg");
    let cases: [(&[&str], &str); 7] = [
        (&["--range", "y=0:1"], "--range y: expr has the inputs x\n"),
        (&["--at", "y=0"], "--at y: expr has the inputs x\n"),
        (&["--at", "x=0", "--at", "x=1"], "--at x is given twice"),
        (&["--range", "x=1:0"], "x=-2:2"),
        (&["--range", "x=0:inf"], "x=-2:2"),
        (&["--range", "x=0"], "x=-2:2"),
        (&["--at", "x=nan"], "y=0.5"),
    ];
    for (args, message) in cases {
        refuses(&[&["plot", "--expr", "x", "--out", &out], args].concat(), &[message]);
    }
    assert!(dir.names().is_empty());
}

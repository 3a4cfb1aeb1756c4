//! Host slices in, host slices out: both ops on the best available device.
//!
//! `cargo run --release --example quickstart`

use elemgrad::{
    Error, Runner,
    ops::{modulo, spiky},
};

fn main() -> Result<(), Error> {
    let runner = Runner::auto(); // a hardware GPU if there is one, else the CPU
    println!("device: {}", runner.name());
    let ones = [1.0; 4]; // the upstream gradient of a sum

    let x = [0.2, 0.7, 1.2, 1.7];
    let (mut z, mut dx) = ([0.0; 4], [0.0; 4]);
    runner.run(spiky::Fused { x: &x, dz: &ones, z: &mut z, dx: &mut dx })?;
    print("spiky", &[("x", x), ("z", z), ("dx", dx)]);
    check(z, [0.2, 0.0, 0.20000005, 0.0]);
    check(dx, [1.0, 0.0, 1.0, 0.0]);

    let (x, y) = ([0.3, 0.7, 1.2, 1.7], [0.2, 0.5, 1.0, 2.9]);
    let (mut z, mut dy) = ([0.0; 4], [0.0; 4]);
    // dx equals dz, so it is not written: use dz. With `Some(&mut dx)`, dz would be copied to it.
    runner.run(modulo::Fused { x: &x, y: &y, dz: &ones, z: &mut z, dx: None, dy: Some(&mut dy) })?;
    print("mod", &[("x", x), ("y", y), ("z", z), ("dx", ones), ("dy", dy)]);
    check(z, [0.10000001, 0.19999999, 0.20000005, 1.7]);
    check(dy, [-1.0, -1.0, -1.0, -0.0]);
    Ok(())
}

fn print(op: &str, rows: &[(&str, [f32; 4])]) {
    println!("\n{op}");
    for (name, values) in rows {
        println!("  {name:2} = {}", values.map(|v| format!("{v:>10}")).join(" "));
    }
}

/// Compares to the bit: -0 is not 0.
fn check(got: [f32; 4], want: [f32; 4]) {
    assert_eq!(got.map(f32::to_bits), want.map(f32::to_bits));
}

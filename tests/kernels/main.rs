//! Kernels on every adapter that wgpu finds, and the same ops on the CPU path. There is one trial for each module,
//! adapter and case.
//!
//! Without an adapter, the trials on adapters are one ignored trial. With `ELEMGRAD_GPU=require`, that trial fails
//! instead.
//!
//! These tests are one binary, because linking wgpu takes longer than most of them.

mod blocks;
#[path = "../common/mod.rs"]
mod common;
mod custom;
mod gpu;
mod random_ops;
mod self_test;

use std::process::ExitCode;

use elemgrad::wgpu;
use libtest_mimic::{Arguments, Trial};

type OnAdapter = fn(&str, &wgpu::Adapter) -> Vec<Trial>;
type OnTheCpu = fn(&str) -> Vec<Trial>;

const ON_ADAPTERS: [(&str, OnAdapter); 5] = [
    ("blocks", blocks::on_adapter),
    ("custom", custom::on_adapter),
    ("gpu", gpu::on_adapter),
    ("random_ops", random_ops::on_adapter),
    ("self_test", self_test::on_adapter),
];

const ON_THE_CPU: [(&str, OnTheCpu); 4] = [
    ("blocks", blocks::on_the_cpu),
    ("custom", custom::on_the_cpu),
    ("random_ops", random_ops::on_the_cpu),
    ("self_test", self_test::on_the_cpu),
];

fn main() -> ExitCode {
    if std::env::var_os(gpu::FALL_BACK).is_some() {
        return match gpu::fall_back() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let arguments = Arguments::from_args();
    let on_the_cpu = ON_THE_CPU.into_iter().flat_map(|(module, trials)| trials(&format!("{module}: cpu")));
    let mut all: Vec<Trial> = on_the_cpu.collect();
    all.extend(common::adapters::trials(|name, adapter| {
        let of = |(module, trials): (&str, OnAdapter)| trials(&format!("{module}: {name}"), adapter);
        ON_ADAPTERS.into_iter().flat_map(of).collect()
    }));
    libtest_mimic::run(&arguments, all).exit_code()
}

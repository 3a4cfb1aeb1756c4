//! A network that learns to read handwritten digits, with an activation that jumps.
//!
//! The network has two layers and 512 hidden units. The activation runs forward and backward on elemgrad's kernels;
//! the matrix products run on the host. With `spiky`, SGD gets beyond 95 % on digits it has not seen. Adam collapses:
//! the gradient cannot see the jumps, and Adam's steps do not shrink where the gradient is small, so its error
//! carries the weights away. A surrogate gradient with the right mean fixes this. So does an activation without
//! jumps.
//!
//! `cargo run --release --features cli --example train_digits`

mod activation;
mod data;
mod network;
mod optimizer;
mod picture;
mod train;

use std::{
    error::Error,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, value_parser};
use elemgrad::{Choice, Op, Runner};
use fastrand::Rng;
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::NamedTempFile;

use crate::{
    data::Digits,
    optimizer::Rule,
    train::{Epoch, Trainer},
};

/// The number of digits that the networks do not see while they learn.
const HELD_OUT: usize = 360;

/// Train two-layer networks on handwritten digits, with spiky and its variants as activations
#[derive(Parser)]
struct Arguments {
    /// How often each network sees all the digits it learns from
    #[arg(long, default_value_t = 150, value_parser = value_parser!(u32).range(1..))]
    epochs: u32,
    /// Where the activation runs: auto (a hardware GPU, else the CPU), cpu, reference, gpu, or a part of an adapter's
    /// name
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Fixes which digits are held out, the first weights and the order of the batches
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to draw loss and accuracy, as SVG
    #[arg(long, default_value = "train_digits.svg")]
    picture: PathBuf,
}

/// A network's activation and how it is trained.
struct Recipe {
    name: &'static str,
    activation: Op,
    rule: Rule,
}

fn recipes() -> Result<[Recipe; 4], elemgrad::Error> {
    let recipe = |name, activation, rule| Recipe { name, activation, rule };
    Ok([
        recipe("spiky, SGD", activation::spiky()?, Rule::Sgd),
        recipe("spiky, Adam", activation::spiky()?, Rule::Adam),
        recipe("spiky with surrogate gradient, Adam", activation::spiky_with_surrogate()?, Rule::Adam),
        recipe("triangle, Adam", activation::triangle()?, Rule::Adam),
    ])
}

/// The results of a recipe.
struct Curve {
    name: &'static str,
    epochs: Vec<Epoch>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let cannot = |e: std::io::Error| {
        format!("{}: cannot be written: {e}; choose another --picture", arguments.picture.display())
    };
    // Create the file before the work, which would be lost otherwise. A temporary name ensures that only a complete
    // picture gets the final name.
    let folder = arguments.picture.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut picture = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(cannot)?;
    let runner = Runner::open(&arguments.device)?;
    let mut random = Rng::with_seed(arguments.seed);
    let [held_out, training] = Digits::shuffled(&mut random)?.split(HELD_OUT);
    println!(
        "{} digits to learn from, {} held out, activation on {}",
        training.len(),
        held_out.len(),
        runner.name()
    );

    let trainer = Trainer { runner: &runner, training, held_out, epochs: arguments.epochs };
    let mut curves = Vec::new();
    for Recipe { name, activation, rule } in recipes()? {
        let bar = progress_bar(name, arguments.epochs);
        // All networks start with the same weights and see the same batches.
        let epochs = trainer.train(&activation, rule, &mut random.clone(), |epoch| {
            bar.set_message(format!("loss {:6.4}, held out {:5.1} %", epoch.loss, epoch.percent()));
            bar.inc(1);
        })?;
        bar.abandon();
        curves.push(Curve { name, epochs });
    }
    print_table(&curves);
    picture.write_all(picture::draw(&curves)?.as_bytes()).map_err(cannot)?;
    picture.persist(&arguments.picture).map_err(|e| cannot(e.error))?;
    println!("loss and accuracy over the epochs: {}", arguments.picture.display());
    Ok(())
}

/// A bar on standard error, if that is a terminal. It stays when it is full.
fn progress_bar(name: &'static str, epochs: u32) -> ProgressBar {
    let bar = ProgressBar::new(u64::from(epochs)).with_prefix(name);
    if let Ok(style) = ProgressStyle::with_template("{prefix:35} {wide_bar} {pos:>3}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn print_table(curves: &[Curve]) {
    println!("\n{:<35}  {:>6}  {:>8}  {:>6}", "network", "loss", "held out", "best");
    for Curve { name, epochs } in curves {
        let best = epochs.iter().map(Epoch::percent).fold(0.0, f32::max);
        if let Some(last) = epochs.last() {
            println!("{name:<35}  {:>6.4}  {:>6.1} %  {best:>4.1} %", last.loss, last.percent());
        }
    }
    println!();
}

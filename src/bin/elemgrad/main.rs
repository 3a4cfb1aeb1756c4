//! The command `elemgrad`: run, verify, measure and look, from the shell.

mod bench;
mod cli;
mod demo;
mod failure;
mod info;
mod interrupt;
mod npy;
mod op;
mod outputs;
mod plot;
mod print;
mod progress;
mod run;
mod shader;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    let result = interrupt::install().and_then(|()| execute(&Cli::parse()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print::complain(&failure);
            failure.exit_code()
        }
    }
}

fn execute(cli: &Cli) -> Result<(), Failure> {
    let device = &cli.device;
    if cli.command.is_some() && cli.demo.elements.is_some() {
        return Err(Failure::Usage("--elements stands before the command: put it behind".into()));
    }
    match &cli.command {
        None => demo::execute(&cli.demo, device),
        Some(Command::Demo(args)) => demo::execute(args, device),
        Some(Command::Info(args)) => info::execute(args, device),
        Some(Command::Run(args)) => run::execute(args, device),
        Some(Command::Verify(args)) => verify::execute(args, device),
        Some(Command::Bench(args)) => bench::execute(args, device),
        Some(Command::Shader(args)) => shader::execute(args, device),
        Some(Command::Plot(args)) => plot::execute(args, device),
    }
}

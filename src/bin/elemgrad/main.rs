//! The command `elemgrad`: run, verify, measure and look, from the shell.

mod cli;
mod failure;
mod interrupt;
mod npy;
mod outputs;
mod plot;
mod print;
mod progress;
mod run;
mod shader;

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
    match &cli.command {
        Command::Run(args) => run::execute(args, &cli.device),
        Command::Shader(args) => shader::execute(args, &cli.device),
        Command::Plot(args) => plot::execute(args, &cli.device),
    }
}

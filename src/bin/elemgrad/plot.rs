//! `elemgrad plot`
use crate::{cli, failure::Failure};
use elemgrad::Choice;
pub(crate) fn execute(_args: &cli::Plot, _device: &Choice) -> Result<(), Failure> {
    Ok(())
}

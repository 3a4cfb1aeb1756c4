//! The command `elemgrad`.

fn main() {}

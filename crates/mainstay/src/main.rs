//! The mainstay program: parse, hand over to one command, exit with an honest code.
//!
//! Exit codes: 0 done, 1 failed, 2 refused (bad configuration or arguments, with every reason).

use std::process::ExitCode;

use clap::Parser;

mod admin_client;
mod commands;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = commands::Cli::parse();
    match cli.command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mainstay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

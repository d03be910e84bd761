//! `mainstay completions SHELL`: completion scripts for bash, zsh, fish, elvish and PowerShell.

use std::io;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;

/// Arguments of `mainstay completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mainstay completions bash > /etc/bash_completion.d/mainstay")]
pub(crate) struct Args {
    /// The shell to complete for.
    shell: Shell,
}

impl Args {
    /// Prints the script on standard output.
    pub(crate) fn run(self) -> ExitCode {
        clap_complete::generate(self.shell, &mut Cli::command(), "mainstay", &mut io::stdout());
        ExitCode::SUCCESS
    }
}

//! `mainstay schema`: the JSON Schema of the configuration, or an example with every option.

use std::process::ExitCode;

/// Arguments of `mainstay schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mainstay schema > config.schema.json\n  \
    mainstay schema --example > mainstay.yaml")]
pub(crate) struct Args {
    /// Print an annotated configuration with every option instead.
    #[arg(long)]
    example: bool,
}

impl Args {
    /// Prints on standard output.
    pub(crate) fn run(self) -> ExitCode {
        if self.example {
            print!("{}", mainstay_config::annotated_example());
        } else {
            print!("{}", mainstay_config::schema::json_schema());
        }
        ExitCode::SUCCESS
    }
}

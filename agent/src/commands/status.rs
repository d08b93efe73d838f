//! `status`: how this host stands.

use super::{ConfigArgs, Output, block_on, json, print};
use crate::failure::{Failure, NO_VERDICT, OK};
use agent::control::{self, Answer, Request};
use agent::data::DataDir;
use agent::key;
use agent::status::Status as Shown;
use clap::Args;
use std::process::ExitCode;

/// Show how this host stands: what is installed, what runs, what is known of the ledger.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  countersign-agent status\n  countersign-agent status -o json")]
pub(super) struct Status {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Status {
    pub(super) fn run(self, output: Output) -> Result<ExitCode, Failure> {
        let Some(config) = self.config.read()? else { return Ok(OK.into()) };
        let data = DataDir::at(config.data_dir.clone());
        let answer = block_on(async { Ok(control::ask(&data, &Request::Status {}).await?) })?;
        let status = match answer {
            Some(Answer::Status(status)) => *status,
            Some(Answer::Error { code, message, hint }) => return Err(Failure::answered(message, hint, code)),
            Some(Answer::Verdict(_) | Answer::NoAttempt(_)) => {
                return Err(Failure::new("the agent answered something else", None, NO_VERDICT));
            }
            None => Shown::of_the_disk(&config, key::read(&config.key)?.public()),
        };
        match output {
            Output::Text => print(&status.to_string())?,
            Output::Json => print(&json(&status)?)?,
        }
        Ok(OK.into())
    }
}

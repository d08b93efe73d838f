//! `status`: how this host stands.

use super::{ConfigArgs, answer, block_on};
use crate::failure::{Failure, NO_VERDICT, OK, hint};
use agent::control::{self, Request};
use agent::data::DataDir;
use agent::key;
use agent::status::{CHANGED_SINCE, Status as Shown};
use clap::Args;
use terminal::Answer;

/// Show how this host stands: what is installed, what runs, what is known of the ledger.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  countersign-agent status\n  countersign-agent status -o json")]
pub(super) struct Status {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Status {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let Some(config) = self.config.read_as_the_agent()? else { return Ok(Answer::silent(OK)) };
        let data = DataDir::at(config.data_dir.clone());
        let answered = block_on(async { Ok(control::ask(&data, &Request::Status {}).await?) })?;
        let status = match answered {
            Some(control::Answer::Status(status)) => {
                if status.goes_by_another(&config) {
                    hint(CHANGED_SINCE);
                }
                *status
            }
            Some(control::Answer::Error { code, message, hint }) => return Err(Failure::answered(message, hint, code)),
            Some(control::Answer::Verdict(_) | control::Answer::NoAttempt(_)) => {
                return Err(Failure::new("the agent answered something else", None, NO_VERDICT));
            }
            None => Shown::of_the_disk(&config, key::public(&config)?),
        };
        Ok(answer(&status))
    }
}

//! `doctor`: what the agent needs, thing by thing.

use super::{ConfigArgs, answer, block_on};
use crate::failure::{Failure, OK, REFUSED};
use agent::doctor;
use clap::Args;
use terminal::Answer;

/// Look at each thing the agent needs: key and its enrolment, directories, room, tools, journal, nodes, TLS,
/// clock, mirrors and other sources; and at what is installed, whether it was recalled. Say what to do about what is not well.
///
/// Nothing is changed, and a running agent is not disturbed. It is to be run as the agent's user.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign-agent doctor
  countersign-agent doctor -o json

Exit codes: 0 nothing is in the way of an update or of its receipt (there may be warnings); 1 something is, or
something runs that was recalled.")]
pub(super) struct Doctor {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Doctor {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let Some(config) = self.config.read_as_the_agent()? else { return Ok(Answer::silent(OK)) };
        let report = block_on(async { Ok(doctor::examine(&config).await) })?;
        Ok(answer(&report).with_code(if report.is_well() { OK } else { REFUSED }))
    }
}

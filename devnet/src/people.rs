//! The people of a devnet: `countersign` with their keys, at their own nodes.

use crate::layout::Devnet;
use crate::processes::{self, ToolError};
use crate::raise::SITE;

impl Devnet {
    /// Where a client connects, and what it trusts: `--node … --ca … --genesis …`.
    #[must_use]
    pub fn connection(&self, node: &str) -> Vec<String> {
        let (ca, genesis) = (self.ca.display().to_string(), self.genesis.display().to_string());
        ["--node", node, "--ca", &ca, "--genesis", &genesis].map(str::to_owned).to_vec()
    }

    /// Runs a command of `countersign` as somebody of an organisation, with the key of a role, at the
    /// organisation's own node where it has one.
    ///
    /// # Errors
    /// [`ToolError`] when there is no such key or node, or when the command is refused.
    pub fn countersign(&self, organisation: &str, role: &str, command: &[&str]) -> Result<String, ToolError> {
        let nobody = || ToolError::Nobody { organisation: organisation.to_owned(), role: role.to_owned() };
        let key = self.key(organisation, role).ok_or_else(nobody)?;
        let node = self.node(organisation).or_else(|| self.node(SITE)).ok_or_else(nobody)?;
        let mut who = self.connection(&node.grpc);
        who.extend(["--key".to_owned(), key.file.display().to_string()]);
        let arguments: Vec<&str> = command.iter().copied().chain(who.iter().map(String::as_str)).collect();
        processes::run("countersign", &arguments)
    }
}

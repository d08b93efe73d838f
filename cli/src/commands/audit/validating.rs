//! Whose key validates, or once did: as far as it is proven.

use crate::failure::Failure;
use crate::files;
use crate::trust::Trust;
use ledger::encoding::decode;
use ledger::fork::{ForkError, HeadFile};
use ledger::key::PublicKey;
use ledger::limits;
use ledger::state::record::Role;
use ledger::validators::Validator;
use std::path::Path;

/// The keys that are known to validate (sentence 9.10).
pub(super) struct Validating<'a> {
    trust: &'a Trust,
    /// Of the sets after the trust root's.
    later: Vec<Validator>,
}

impl<'a> Validating<'a> {
    /// By the trust root, and by a head file, which proves how the validators changed.
    pub(super) fn new(trust: &'a Trust, head: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = head else { return Ok(Self { trust, later: Vec::new() }) };
        let bytes = files::read(path, "head file", limits::PROOF_BYTES_MAX)?;
        let proven = decode::<HeadFile>(&bytes).map_err(ForkError::from).and_then(|file| {
            file.verify(trust.root())?;
            Ok(file)
        });
        let file = proven.map_err(|error| {
            let hint = "`countersign chain show --out FILE` writes one";
            Failure::usage(format!("{}: refused by check {}: {error}", path.display(), error.check()), hint)
        })?;
        let later = file.epochs.iter().flat_map(|link| link.validators.validators().to_vec()).collect();
        Ok(Self { trust, later })
    }

    /// The organisation of a key that is known to validate.
    pub(super) fn organisation(&self, key: &PublicKey) -> Option<String> {
        let owner = self.trust.owner(key).filter(|(_, member)| member.role == Role::Validator);
        let later = || self.later.iter().find(|validator| validator.key == *key);
        let name = owner.map(|(name, _)| name).or_else(|| later().map(|validator| &validator.organisation));
        name.map(ToString::to_string)
    }
}

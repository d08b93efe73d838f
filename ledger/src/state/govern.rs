//! Governance: what proposals and ballots need and do.

mod counted;

use super::apply::Written;
use super::record::{
    KeyOwner, KeyStatus, MemberKey, Members, Organisation, Parameters, Position, Record, RecordKey, Role,
};
use super::rejection::{ApplyError, Rejection};
use super::storage::{StateStorage, StorageError};
use super::{Records, State, StateView as _};
use crate::approval::ApprovalRules;
use crate::bounded::{Name, SortedList};
use crate::encoding::encode;
use crate::governance::{
    Ballot, Change, ChangeError, Choice, ImpossibleChange, Proposal, ProposalRecord, ProposalStanding, Tally,
};
use crate::id::TransactionId;
use crate::key::PublicKey;
use crate::limits;
use crate::validators::{Validator, ValidatorSet};
use std::collections::BTreeMap;

impl<S: StateStorage> State<'_, S> {
    pub(super) fn propose(
        &self,
        id: TransactionId,
        proposal: &Proposal,
        proposer: PublicKey,
        owner: &KeyOwner,
        position: Position,
    ) -> Result<Written, ApplyError> {
        proposal.check(self.block.time_ms).map_err(Rejection::Proposal)?;
        self.may_propose(proposer, &owner.organisation)?;
        // What is not possible now is refused now, before anybody thinks about it.
        self.carry_out(&proposal.changes)?.map_err(Rejection::Change)?;
        let record = ProposalRecord {
            proposal: proposal.clone(),
            proposer,
            proposed: position,
            ballots: SortedList::default(),
            standing: ProposalStanding::Open,
            settled: None,
        };
        let ballot = Ballot { organisation: owner.organisation.clone(), key: proposer, choice: Choice::For };
        self.cast(id, record, ballot, position)
    }

    pub(super) fn ballot(
        &self,
        id: TransactionId,
        choice: Choice,
        governor: PublicKey,
        owner: &KeyOwner,
        position: Position,
    ) -> Result<Written, ApplyError> {
        let record = self.proposal(id)?.ok_or(Rejection::UnknownProposal(id))?;
        let (closes_at_ms, time_ms) = (record.proposal.closes_at_ms, self.block.time_ms);
        if record.standing != ProposalStanding::Open || closes_at_ms <= time_ms {
            let standing = record.standing;
            return Err(Rejection::ProposalClosed { proposal: id, standing, closes_at_ms, time_ms }.into());
        }
        let ballot = Ballot { organisation: owner.organisation.clone(), key: governor, choice };
        // Said by a governor that is gone, it may be said again: it does not count any more.
        let mut said = record.ballots.iter().filter(|other| other.organisation == ballot.organisation);
        let still = |other: &Ballot| -> Result<bool, StorageError> {
            let owner = self.key_owner(other.key)?;
            Ok(other.choice == choice && owner.is_some_and(|owner| owner.status == KeyStatus::Active))
        };
        if said.next().map(still).transpose()?.unwrap_or(false) {
            let organisation = ballot.organisation;
            return Err(Rejection::BallotUnchanged { organisation, choice }.into());
        }
        self.cast(id, record, ballot, position)
    }

    /// Takes a ballot in, and does what the ballots say together.
    fn cast(
        &self,
        id: TransactionId,
        mut record: ProposalRecord,
        ballot: Ballot,
        position: Position,
    ) -> Result<Written, ApplyError> {
        let said = ballot.choice;
        let mut ballots = record.ballots.into_vec();
        ballots.retain(|other| other.organisation != ballot.organisation);
        ballots.push(ballot);
        record.ballots = SortedList::new(ballots)
            .map_err(|_| StorageError::new("state records", "more ballots than there are members".to_owned()))?;
        let tally = Tally::count(&record.ballots, &members(self)?);
        let mut written = Vec::new();
        // Voices may have gone since the last ballot. One against never makes it pass.
        if said == Choice::For && tally.passes() {
            // Other proposals may have passed since: then nothing of this one takes place.
            record.standing = match self.carry_out(&record.proposal.changes)? {
                Ok(changes) => {
                    written = changes;
                    ProposalStanding::Passed
                }
                Err(_) => ProposalStanding::Void,
            };
        } else if tally.cannot_pass() {
            record.standing = ProposalStanding::Refused;
        }
        record.settled = (record.standing != ProposalStanding::Open).then_some(position);
        written.extend(self.count_proposal(id, &record, position)?);
        written.push((RecordKey::Proposal(id), Record::Proposal(record)));
        Ok(written)
    }

    /// What the changes write, one after the other; or the first that is not possible.
    fn carry_out(&self, changes: &[Change]) -> Result<Result<Written, ImpossibleChange>, StorageError> {
        let mut draft = Draft { state: self, changed: BTreeMap::new(), owners: None };
        for (place, change) in changes.iter().enumerate() {
            match draft.change(change) {
                Ok(()) => {}
                Err(DraftError::Storage(error)) => return Err(error),
                Err(DraftError::Impossible(error)) => {
                    return Ok(Err(ImpossibleChange { place, kind: change.kind(), error }));
                }
            }
        }
        if let Some(error) = draft.would_stop()? {
            let (place, kind) = changes.last().map_or((0, ""), |last| (changes.len() - 1, last.kind()));
            return Ok(Err(ImpossibleChange { place, kind, error }));
        }
        Ok(Ok(draft.changed.into_iter().collect()))
    }
}

fn members(records: &impl Records) -> Result<Vec<Organisation>, StorageError> {
    let names = records.members()?.unwrap_or_default().0.into_vec();
    let member = |name: Name| {
        let missing = || StorageError::new("state records", format!("member {name} has no record"));
        records.organisation(&name)?.ok_or_else(missing)
    };
    names.into_iter().map(member).collect()
}

enum DraftError {
    Impossible(ChangeError),
    Storage(StorageError),
}

impl From<ChangeError> for DraftError {
    fn from(error: ChangeError) -> Self {
        Self::Impossible(error)
    }
}

impl From<StorageError> for DraftError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// The state with changes tried out on it.
struct Draft<'a, S> {
    state: &'a State<'a, S>,
    changed: BTreeMap<RecordKey, Record>,
    /// Whose each namespace is, once somebody asked: there may be 256 members, and 64 changes that ask.
    owners: Option<BTreeMap<Name, Name>>,
}

impl<S: StateStorage> Records for Draft<'_, S> {
    fn record_of(&self, key: &RecordKey) -> Result<Option<Record>, StorageError> {
        match self.changed.get(key) {
            Some(record) => Ok(Some(record.clone())),
            None => self.state.record_of(key),
        }
    }
}

impl<S: StateStorage> Draft<'_, S> {
    fn change(&mut self, change: &Change) -> Result<(), DraftError> {
        match change {
            Change::AddOrganisation { organisation } => self.add_organisation(organisation),
            Change::RemoveOrganisation { name } => self.remove_organisation(name),
            Change::AddKey { organisation, key, role } => self.add_key(organisation, *key, *role),
            Change::RotateKey { old, new } => self.rotate_key(*old, *new),
            Change::RetireKey { key } => {
                self.active_key(*key)?;
                self.end_key(*key, KeyStatus::Retired, None)
            }
            Change::RevokeKey { key } => {
                let owner = self.key_owner(*key)?.ok_or(ChangeError::UnknownKey(*key))?;
                if owner.status == KeyStatus::Revoked {
                    return Err(ChangeError::AlreadyRevoked(*key).into());
                }
                self.end_key(*key, KeyStatus::Revoked, None)
            }
            Change::AddNamespace { organisation, namespace } => self.add_namespace(organisation, namespace),
            Change::RemoveNamespace { organisation, namespace } => self.remove_namespace(organisation, namespace),
            Change::SetValidators { validators } => self.set_validators(validators),
            Change::SetApprovalRules { rules } => self.set_rules(rules),
            Change::SetParameters { parameters } => self.set_parameters(parameters),
        }
    }

    fn add_organisation(&mut self, organisation: &Organisation) -> Result<(), DraftError> {
        let name = &organisation.name;
        // Also one that was removed: what its name signed must stay its own.
        if self.organisation(name)?.is_some() {
            return Err(ChangeError::NameTaken(name.clone()).into());
        }
        for namespace in organisation.namespaces.iter() {
            self.check_free(namespace)?;
        }
        let mut names = self.members()?.unwrap_or_default().0.into_vec();
        names.push(name.clone());
        self.put(RecordKey::Members, Record::Members(Members(bounded("the list of members", names)?)))?;
        for member in organisation.keys.iter() {
            if member.status != KeyStatus::Active {
                return Err(ChangeError::NotActive(member.key).into());
            }
            self.own(member.key, name, member.role)?;
        }
        self.put(RecordKey::Organisation(name.clone()), Record::Organisation(organisation.clone()))
    }

    fn remove_organisation(&mut self, name: &Name) -> Result<(), DraftError> {
        let mut organisation = self.member(name)?;
        let active = organisation.keys.iter().filter(|member| member.status == KeyStatus::Active);
        for key in active.map(|member| member.key).collect::<Vec<_>>() {
            self.end_key(key, KeyStatus::Retired, None)?;
        }
        organisation = self.member(name)?;
        organisation.namespaces = SortedList::default();
        self.put(RecordKey::Organisation(name.clone()), Record::Organisation(organisation))?;
        let names = self.members()?.unwrap_or_default().0.into_vec();
        let others = names.into_iter().filter(|member| member != name).collect();
        self.put(RecordKey::Members, Record::Members(Members(bounded("the list of members", others)?)))
    }

    fn add_key(&mut self, name: &Name, key: PublicKey, role: Role) -> Result<(), DraftError> {
        let mut organisation = self.member(name)?;
        self.own(key, name, role)?;
        let mut keys = organisation.keys.into_vec();
        keys.push(MemberKey { key, role, status: KeyStatus::Active });
        organisation.keys = bounded("the list of the member's keys", keys)?;
        self.put(RecordKey::Organisation(name.clone()), Record::Organisation(organisation))
    }

    fn rotate_key(&mut self, old: PublicKey, new: PublicKey) -> Result<(), DraftError> {
        let owner = self.active_key(old)?;
        self.add_key(&owner.organisation, new, owner.role)?;
        self.end_key(old, KeyStatus::Retired, Some(new))
    }

    /// A key speaks no more. A validator leaves the set, or another key takes its place.
    fn end_key(&mut self, key: PublicKey, status: KeyStatus, successor: Option<PublicKey>) -> Result<(), DraftError> {
        let mut owner = self.key_owner(key)?.ok_or(ChangeError::UnknownKey(key))?;
        let name = owner.organisation.clone();
        let mut organisation = self.organisation(&name)?.ok_or(ChangeError::UnknownOrganisation(name.clone()))?;
        let ended = |member: &MemberKey| MemberKey { status, ..member.clone() };
        let keys = organisation.keys.iter().map(|m| if m.key == key { ended(m) } else { m.clone() }).collect();
        organisation.keys = bounded("the list of the member's keys", keys)?;
        owner.status = status;
        self.put(RecordKey::Organisation(name.clone()), Record::Organisation(organisation))?;
        self.put(RecordKey::Key(key), Record::Key(owner))?;
        let validators = self.after_next()?;
        if validators.position(&key).is_none() {
            return Ok(());
        }
        let others = validators.validators().iter().filter(|validator| validator.key != key).cloned();
        let successor = successor.map(|key| Validator { key, organisation: name });
        let left: Vec<Validator> = others.chain(successor).collect();
        if left.is_empty() {
            return Err(ChangeError::NoValidators.into());
        }
        self.put_validators(ValidatorSet::new(left).map_err(|_| ChangeError::NotASet)?)
    }

    fn add_namespace(&mut self, name: &Name, namespace: &Name) -> Result<(), DraftError> {
        let mut organisation = self.member(name)?;
        self.check_free(namespace)?;
        let mut namespaces = organisation.namespaces.into_vec();
        namespaces.push(namespace.clone());
        organisation.namespaces = bounded("the list of the member's namespaces", namespaces)?;
        self.put(RecordKey::Organisation(name.clone()), Record::Organisation(organisation))
    }

    fn remove_namespace(&mut self, name: &Name, namespace: &Name) -> Result<(), DraftError> {
        let mut organisation = self.member(name)?;
        if !organisation.namespaces.contains(namespace) {
            let (organisation, namespace) = (name.clone(), namespace.clone());
            return Err(ChangeError::NamespaceNotOwned { organisation, namespace }.into());
        }
        let others = organisation.namespaces.into_vec().into_iter().filter(|owned| owned != namespace).collect();
        organisation.namespaces = bounded("the list of the member's namespaces", others)?;
        self.put(RecordKey::Organisation(name.clone()), Record::Organisation(organisation))
    }

    fn set_validators(&mut self, validators: &ValidatorSet) -> Result<(), DraftError> {
        validators.check().map_err(|_| ChangeError::NotASet)?;
        for validator in validators.validators() {
            let owner = self.key_owner(validator.key)?.filter(|owner| {
                owner.role == Role::Validator
                    && owner.status == KeyStatus::Active
                    && owner.organisation == validator.organisation
            });
            if owner.is_none() {
                let (key, organisation) = (validator.key, validator.organisation.clone());
                return Err(ChangeError::StrangeValidator { key, organisation }.into());
            }
        }
        self.put_validators(validators.clone())
    }

    fn set_rules(&mut self, rules: &ApprovalRules) -> Result<(), DraftError> {
        if let Some(rule) = rules.0.iter().find(|rule| !rule.is_sound()) {
            return Err(ChangeError::UnsoundRule(rule.name.clone()).into());
        }
        self.put(RecordKey::ApprovalRules, Record::ApprovalRules(rules.clone()))
    }

    fn set_parameters(&mut self, parameters: &Parameters) -> Result<(), DraftError> {
        let numbers = [("heartbeat_ms", parameters.heartbeat_ms), ("seal_ms", parameters.seal_ms)];
        let outside = |(_, number): &&(_, u64)| *number == 0 || *number > limits::PARAMETER_MS_MAX;
        if let Some((name, _)) = numbers.iter().find(outside) {
            return Err(ChangeError::Parameter(name).into());
        }
        self.put(RecordKey::Parameters, Record::Parameters(parameters.clone()))
    }

    /// Why the ledger could not go on after all the changes, if it could not.
    fn would_stop(&self) -> Result<Option<ChangeError>, StorageError> {
        let members = members(self)?;
        if !members.iter().any(Organisation::governs) {
            return Ok(Some(ChangeError::NoGovernors));
        }
        let validators = self.after_next()?;
        let heard = |validator: &&Validator| {
            members.iter().any(|member| member.name == validator.organisation && member.is_heard())
        };
        let power = validators.validators().iter().filter(heard).count();
        if !validators.is_quorum(power) {
            return Ok(Some(ChangeError::NoQuorumHeard { power, of: validators.len() }));
        }
        self.would_stop_next()
    }

    /// The set of the next height is fixed, whatever the changes: whoever they refuse to hear is missing there. All that
    /// the block changes counts together; what was so before it is not held against anybody.
    fn would_stop_next(&self) -> Result<Option<ChangeError>, StorageError> {
        let missing = || StorageError::new("state records", "no validator sets".to_owned());
        let next = self.state.after_this_block()?.ok_or_else(missing)?.next;
        let after_next = self.after_next()?;
        let nodes_of = |organisation: Option<Organisation>| {
            let keys = organisation.map(|organisation| organisation.keys.into_vec()).unwrap_or_default();
            keys.into_iter().filter(|member| member.role == Role::Node).collect::<Vec<_>>()
        };
        let is_active = |node: &MemberKey| node.status == KeyStatus::Active;
        let (mut before, mut power) = (0, 0);
        for validator in next.validators() {
            let was = nodes_of(self.state.storage.organisation(&validator.organisation)?);
            let was_active = |key: PublicKey| was.iter().any(|node| node.key == key && is_active(node));
            // Whose key ends has it where it was: a node that comes now has the key that takes its place.
            let stays = after_next.position(&validator.key).is_some();
            // A node that is retired now is heard for as long as its vote is needed; one retired earlier may be gone.
            let speaks = |node: &MemberKey| {
                (was_active(node.key) && node.status != KeyStatus::Revoked) || (stays && is_active(node))
            };
            before += usize::from(was.iter().any(is_active));
            power += usize::from(nodes_of(self.organisation(&validator.organisation)?).iter().any(speaks));
        }
        let stops = power < before && !next.is_quorum(power);
        Ok(stops.then(|| ChangeError::NoQuorumNext { power, of: next.len() }))
    }

    // What changes are made of.

    fn put(&mut self, key: RecordKey, record: Record) -> Result<(), DraftError> {
        if encode(&record).len() > limits::MESSAGE_BYTES_MAX {
            return Err(ChangeError::TooLarge("a record").into());
        }
        if let (Some(owners), Record::Organisation(organisation)) = (&mut self.owners, &record) {
            owners.retain(|_, owner| *owner != organisation.name);
            owners.extend(owned(organisation));
        }
        self.changed.insert(key, record);
        Ok(())
    }

    fn member(&self, name: &Name) -> Result<Organisation, DraftError> {
        let unknown = || ChangeError::UnknownOrganisation(name.clone());
        if !self.members()?.unwrap_or_default().0.contains(name) {
            return Err(unknown().into());
        }
        Ok(self.organisation(name)?.ok_or_else(unknown)?)
    }

    /// A key that is in no use and never was.
    fn own(&mut self, key: PublicKey, organisation: &Name, role: Role) -> Result<(), DraftError> {
        if !key.can_sign() {
            return Err(ChangeError::NotAKey(key).into());
        }
        if self.key_owner(key)?.is_some() || self.endpoint(key)?.is_some() {
            return Err(ChangeError::KeyInUse(key).into());
        }
        let owner = KeyOwner { organisation: organisation.clone(), role, status: KeyStatus::Active };
        self.put(RecordKey::Key(key), Record::Key(owner))
    }

    fn active_key(&self, key: PublicKey) -> Result<KeyOwner, DraftError> {
        let owner = self.key_owner(key)?.filter(|owner| owner.status == KeyStatus::Active);
        Ok(owner.ok_or(ChangeError::UnknownKey(key))?)
    }

    fn check_free(&mut self, namespace: &Name) -> Result<(), DraftError> {
        let owners = match self.owners.take() {
            Some(owners) => owners,
            None => members(self)?.iter().flat_map(owned).collect(),
        };
        match self.owners.insert(owners).get(namespace).cloned() {
            Some(owner) => Err(ChangeError::NamespaceTaken { namespace: namespace.clone(), owner }.into()),
            None => Ok(()),
        }
    }

    /// The set this block fixes: that of the height after the next.
    fn after_next(&self) -> Result<ValidatorSet, StorageError> {
        let missing = || StorageError::new("state records", "no validator sets".to_owned());
        Ok(self.upcoming_validators()?.ok_or_else(missing)?.after_next)
    }

    fn put_validators(&mut self, after_next: ValidatorSet) -> Result<(), DraftError> {
        let missing = || StorageError::new("state records", "no validator sets".to_owned());
        let mut upcoming = self.state.after_this_block()?.ok_or_else(missing)?;
        upcoming.after_next = after_next;
        self.put(RecordKey::Validators, Record::Validators(upcoming))
    }
}

/// The namespaces of an organisation, each with whose it is.
fn owned(organisation: &Organisation) -> impl Iterator<Item = (Name, Name)> {
    organisation.namespaces.iter().map(|namespace| (namespace.clone(), organisation.name.clone()))
}

fn bounded<T: Ord, const MAX: usize>(what: &'static str, elements: Vec<T>) -> Result<SortedList<T, MAX>, DraftError> {
    Ok(SortedList::new(elements).map_err(|_| ChangeError::TooLarge(what))?)
}

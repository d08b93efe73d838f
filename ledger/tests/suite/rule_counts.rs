//! The arithmetic of the approval rule (sentences 5.15 to 5.20), against a second writing of it.

use crate::support::{Chance, name};
use ledger::approval::{ApprovalRule, ApprovalRules, Count, Decision, Opinion, Quorum, Standing};
use ledger::bounded::{List, Name, SortedList};
use ledger::key::PublicKey;
use ledger::patch::{Class, Severity};
use std::collections::BTreeSet;

fn quorum(approvals: u16, organisations: u16) -> Quorum {
    Quorum { approvals, organisations }
}

fn rule(quorum: Quorum, emergency: Option<Quorum>, rejections: u16, recalls: u16, approvers: &[&str]) -> ApprovalRule {
    ApprovalRule {
        name: name("rule"),
        namespaces: SortedList::default(),
        classes: SortedList::default(),
        severities: SortedList::default(),
        approvers: SortedList::new(approvers.iter().map(|who| name(who)).collect()).unwrap(),
        quorum,
        emergency,
        rejections,
        recalls,
    }
}

fn opinion(key: u8, organisation: &str, decision: Decision) -> Opinion {
    Opinion { key: PublicKey([key; 32]), organisation: name(organisation), decision }
}

const DECISIONS: [Decision; 5] =
    [Decision::Approve, Decision::ApproveUrgently, Decision::Reject, Decision::Hold, Decision::Recall];

/// Sentences 5.19 and 5.20, written a second time.
fn expected(rule: &ApprovalRule, vendor: &Name, opinions: &[Opinion]) -> Standing {
    let counted: Vec<_> = opinions
        .iter()
        .filter(|o| o.organisation != *vendor)
        .filter(|o| rule.approvers.is_empty() || rule.approvers.contains(&o.organisation))
        .collect();
    let keys = |of: &[Decision]| -> usize {
        counted.iter().filter(|o| of.contains(&o.decision)).map(|o| o.key).collect::<BTreeSet<_>>().len()
    };
    let organisations = |of: &[Decision]| -> usize {
        counted.iter().filter(|o| of.contains(&o.decision)).map(|o| &o.organisation).collect::<BTreeSet<_>>().len()
    };
    let reached =
        |q: Quorum, of: &[Decision]| keys(of) >= q.approvals.into() && organisations(of) >= q.organisations.into();
    if rule.recalls != 0 && organisations(&[Decision::Recall]) >= rule.recalls.into() {
        return Standing::Recalled;
    }
    if rule.rejections != 0 && organisations(&[Decision::Reject]) >= rule.rejections.into() {
        return Standing::Rejected;
    }
    if organisations(&[Decision::Hold]) != 0 {
        return Standing::Held;
    }
    let normally = reached(rule.quorum, &[Decision::Approve, Decision::ApproveUrgently]);
    let urgently = rule.emergency.is_some_and(|emergency| reached(emergency, &[Decision::ApproveUrgently]));
    if normally || urgently { Standing::Approved } else { Standing::Pending }
}

#[test]
fn ten_thousand_committees_are_counted_as_the_document_says() {
    let mut chance = Chance(11);
    let everybody = ["acme", "north", "south", "west", "globex"];
    let mut met = BTreeSet::new();
    for _ in 0..10_000 {
        let organisations = 1 + chance.below(3) as u16;
        let normal = quorum(organisations + chance.below(3) as u16, organisations);
        let emergency = (chance.below(2) == 0).then(|| quorum(1 + chance.below(2) as u16, 1));
        let approvers: &[&str] = chance.of(&[&[][..], &["north", "south", "west"], &["north", "south"]]);
        let rule = rule(normal, emergency, chance.below(3) as u16, chance.below(3) as u16, approvers);
        let opinions: Vec<_> = (0..chance.below(9))
            .map(|_| opinion(chance.below(12) as u8, chance.of(&everybody), chance.of(&DECISIONS)))
            .collect();
        let count = rule.count(&name("acme"), &opinions);
        let standing = expected(&rule, &name("acme"), &opinions);
        assert_eq!(count.standing, standing, "{rule:?} {opinions:?}");
        met.insert(standing);
    }
    assert_eq!(met.len(), 5, "every standing was met: {met:?}");
}

#[test]
fn more_approval_never_hurts_and_less_never_helps() {
    // What lets the holder of a proof file choose which approvals to show.
    let mut chance = Chance(12);
    let rule = rule(quorum(3, 2), Some(quorum(1, 1)), 1, 1, &[]);
    for _ in 0..2_000 {
        let approvals: Vec<_> = (0..1 + chance.below(6))
            .map(|key| {
                let decision = chance.of(&DECISIONS[..2]);
                opinion(key as u8, chance.of(&["acme", "north", "south", "west"]), decision)
            })
            .collect();
        let fewer: Vec<_> = approvals.iter().filter(|_| chance.below(2) == 0).cloned().collect();
        let standing = |of: &[Opinion]| rule.count(&name("acme"), of).standing;
        assert!(standing(&fewer) != Standing::Approved || standing(&approvals) == Standing::Approved);
    }
}

#[test]
fn keys_of_one_organisation_count_towards_approvals_and_once_towards_organisations() {
    let rule = rule(quorum(3, 2), None, 1, 1, &[]);
    let approve = |key, organisation| opinion(key, organisation, Decision::Approve);
    let standing = |opinions: &[Opinion]| rule.count(&name("acme"), opinions).standing;
    assert_eq!(standing(&[approve(1, "north"), approve(2, "north"), approve(3, "north")]), Standing::Pending);
    assert_eq!(standing(&[approve(1, "north"), approve(2, "south")]), Standing::Pending);
    assert_eq!(standing(&[approve(1, "north"), approve(2, "north"), approve(3, "south")]), Standing::Approved);
    // The same key twice is one key, whatever organisations it is said to be of.
    assert_eq!(standing(&[approve(1, "north"), approve(1, "south"), approve(2, "south")]), Standing::Pending);
    // The vendor's own never count.
    assert_eq!(standing(&[approve(1, "north"), approve(2, "north"), approve(3, "acme")]), Standing::Pending);
}

#[test]
fn the_emergency_rule_counts_urgent_approvals_only() {
    let rule = rule(quorum(3, 3), Some(quorum(2, 2)), 1, 1, &[]);
    let said = |decisions: [Decision; 2]| {
        let opinions = [opinion(1, "north", decisions[0]), opinion(2, "south", decisions[1])];
        rule.count(&name("acme"), &opinions).standing
    };
    assert_eq!(said([Decision::ApproveUrgently, Decision::ApproveUrgently]), Standing::Approved);
    assert_eq!(said([Decision::ApproveUrgently, Decision::Approve]), Standing::Pending);
    assert_eq!(said([Decision::ApproveUrgently, Decision::Reject]), Standing::Rejected);
    assert_eq!(said([Decision::ApproveUrgently, Decision::Hold]), Standing::Held);
}

#[test]
fn a_rule_is_for_what_it_names_and_the_first_one_decides() {
    let product = crate::support::product("acme/redis");
    let anything = rule(quorum(1, 1), None, 1, 1, &[]);
    let cases = [
        ("everything", anything.clone(), true),
        ("its namespace", ApprovalRule { namespaces: one("acme"), ..anything.clone() }, true),
        ("another namespace", ApprovalRule { namespaces: one("globex"), ..anything.clone() }, false),
        ("its class", ApprovalRule { classes: set(vec![Class::Bugfix, Class::Security]), ..anything.clone() }, true),
        ("another class", ApprovalRule { classes: set(vec![Class::Bugfix]), ..anything.clone() }, false),
        ("its severity", ApprovalRule { severities: set(vec![Severity::Critical]), ..anything.clone() }, true),
        ("another severity", ApprovalRule { severities: set(vec![Severity::Low]), ..anything.clone() }, false),
    ];
    for (about, rule, expected) in &cases {
        assert_eq!(rule.is_for(&product, Class::Security, Severity::Critical), *expected, "{about}");
    }
    let named = |called: &str, rule: &ApprovalRule| ApprovalRule { name: name(called), ..rule.clone() };
    let rules = [named("no", &cases[2].1), named("yes", &cases[3].1), named("late", &anything)];
    let rules = ApprovalRules(List::new(rules.to_vec()).unwrap());
    let chosen = rules.rule_for(&product, Class::Security, Severity::Critical).unwrap();
    assert_eq!(chosen.name, name("yes"));
    assert_eq!(ApprovalRules::default().rule_for(&product, Class::Security, Severity::Critical), None);
}

fn one<const MAX: usize>(called: &str) -> SortedList<Name, MAX> {
    set(vec![name(called)])
}

fn set<T: Ord, const MAX: usize>(elements: Vec<T>) -> SortedList<T, MAX> {
    SortedList::new(elements).unwrap()
}

#[test]
fn a_sound_rule_asks_for_something_that_can_be_had() {
    let sound = |normal, emergency, approvers: &[&str]| rule(normal, emergency, 1, 1, approvers).is_sound();
    assert!(sound(quorum(1, 1), None, &[]));
    assert!(sound(quorum(3, 2), Some(quorum(1, 1)), &["north", "south"]));
    assert!(!sound(quorum(0, 0), None, &[]), "nothing is asked for");
    assert!(!sound(quorum(1, 0), None, &[]), "approvals of nobody");
    assert!(!sound(quorum(1, 2), None, &[]), "more organisations than approvals");
    assert!(!sound(quorum(1, 1), Some(quorum(0, 0)), &[]), "an emergency asks for nothing");
    assert!(!sound(quorum(1, 1), Some(quorum(1, 2)), &[]), "an emergency asks for the impossible");
    assert!(!sound(quorum(3, 3), None, &["north", "south"]), "more organisations than are named");
    assert!(!sound(quorum(2, 2), Some(quorum(3, 3)), &["north", "south"]), "in an emergency, too");
}

#[test]
fn the_count_says_who_is_missing() {
    let rule = rule(quorum(2, 2), None, 2, 2, &["acme", "north", "south", "west"]);
    let opinions = [opinion(1, "north", Decision::Approve), opinion(2, "south", Decision::Recall)];
    let Count { missing, approved_by, recalled_by, approvals, .. } = rule.count(&name("acme"), &opinions);
    let names = |of: &BTreeSet<Name>| of.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&missing), ["south", "west"], "never the vendor");
    assert_eq!((names(&approved_by), names(&recalled_by), approvals), (vec!["north".into()], vec!["south".into()], 1));
}

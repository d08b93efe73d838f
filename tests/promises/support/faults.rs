//! What can go wrong between hosts, as values: drawn from a seed, said in words, written as rules for the
//! kernel.

use super::ledger::{NODES, VALIDATORS};
use super::namespaces::Net;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::time::Duration;
use tests::Dice;

/// Validators without which nothing is finalised.
const QUORUM: usize = 3;

/// A fault, by the places of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// These hear the others no more, nor the others these.
    Apart(BTreeSet<usize>),
    /// Nothing of one reaches another; the way back is open.
    OneWay {
        /// Who is not heard.
        from: usize,
        /// By whom.
        to: usize,
    },
    /// It hears nobody, and all hear it.
    Deaf(usize),
    /// Nobody hears it, and it hears all.
    Mute(usize),
    /// So many of a hundred packets are lost, wherever they go.
    Loss(u8),
    /// Everything takes so much longer, where relays are.
    Delay(Duration),
}

/// How many kinds there are to draw from: one host apart, or two, and each of the others.
pub(crate) const KINDS: u64 = 7;

impl Fault {
    /// So many by chance: first each kind once, in any order.
    pub(crate) fn hand(dice: &mut Dice, size: usize) -> Vec<Self> {
        let mut left: Vec<u64> = (0..KINDS).collect();
        let mut hand = Vec::new();
        while hand.len() < size {
            let kind = dice.pick(&left).copied().unwrap_or_else(|| dice.below(KINDS));
            left.retain(|other| *other != kind);
            hand.push(Self::draw(kind, dice));
        }
        hand
    }

    /// One of a kind, by chance.
    fn draw(kind: u64, dice: &mut Dice) -> Self {
        let hosts = NODES.len() as u64;
        let mut host = || usize::try_from(dice.below(hosts)).expect("a few hosts");
        let (first, second) = (host(), host());
        let other = if second == first { (first + 1) % NODES.len() } else { second };
        match kind {
            0 => Self::Apart([first].into()),
            1 => Self::Apart([first, other].into()),
            2 => Self::OneWay { from: first, to: other },
            3 => Self::Deaf(first),
            4 => Self::Mute(first),
            5 => Self::draw_delay(dice),
            _ => Self::Loss(u8::try_from(5 + dice.below(15)).expect("below a hundred")),
        }
    }

    /// A delay as between two cities or two continents, by chance.
    pub(crate) fn draw_delay(dice: &mut Dice) -> Self {
        Self::Delay(Duration::from_millis(5 + dice.below(76)))
    }

    /// Those who hear each other well enough to go on: the side with a quorum. `None` when no side has one.
    pub(crate) fn majority(&self) -> Option<Vec<usize>> {
        let all = 0..NODES.len();
        let sides: Vec<Vec<usize>> = match self {
            Self::Apart(these) => {
                vec![these.iter().copied().collect(), all.filter(|host| !these.contains(host)).collect()]
            }
            Self::Deaf(one) | Self::Mute(one) => vec![all.filter(|host| host != one).collect()],
            Self::OneWay { .. } | Self::Loss(_) | Self::Delay(_) => vec![all.collect()],
        };
        let validators = |side: &Vec<usize>| side.iter().filter(|host| VALIDATORS.contains(&NODES[**host])).count();
        sides.into_iter().find(|side| validators(side) >= QUORUM)
    }

    /// Whether nothing of one host reaches another.
    fn cuts(&self, sender: usize, receiver: usize) -> bool {
        match self {
            Self::Apart(these) => these.contains(&sender) != these.contains(&receiver),
            Self::OneWay { from, to } => (sender, receiver) == (*from, *to),
            Self::Deaf(one) => receiver == *one,
            Self::Mute(one) => sender == *one,
            Self::Loss(_) | Self::Delay(_) => false,
        }
    }

    /// How much longer everything takes.
    pub(crate) fn delay(&self) -> Option<Duration> {
        if let Self::Delay(delay) = self { Some(*delay) } else { None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apart(these) => {
                let names: Vec<_> = these.iter().map(|host| NODES[*host]).collect();
                write!(formatter, "{} apart from the others", names.join(" and "))
            }
            Self::OneWay { from, to } => write!(formatter, "{} not heard by {}", NODES[*from], NODES[*to]),
            Self::Deaf(one) => write!(formatter, "{} hears nobody", NODES[*one]),
            Self::Mute(one) => write!(formatter, "nobody hears {}", NODES[*one]),
            Self::Loss(percent) => write!(formatter, "{percent} of 100 packets lost"),
            Self::Delay(delay) => write!(formatter, "everything {} ms later", delay.as_millis()),
        }
    }
}

/// What the kernel is told at the place where everything arrives at a host: these faults and no others, in
/// one go. Whoever asks from the bridge, as clients do, is not concerned.
pub(crate) fn rules(faults: &[Fault], receiver: usize, hosts: usize) -> String {
    let mut lines = "flush chain inet faults arriving\n".to_owned();
    for sender in (0..hosts).filter(|sender| *sender != receiver) {
        let from = format!("add rule inet faults arriving ip saddr {}", Net::address(sender));
        for fault in faults {
            if fault.cuts(sender, receiver) {
                let _ = writeln!(lines, "{from} drop");
            }
            if let Fault::Loss(percent) = fault {
                let _ = writeln!(lines, "{from} numgen random mod 100 < {percent} drop");
            }
        }
    }
    lines
}

#[test]
fn a_hand_has_one_of_each_kind() {
    for seed in 0..100 {
        let hand = Fault::hand(&mut Dice::new(seed), 7);
        let is = |matches: fn(&Fault) -> bool| hand.iter().filter(|fault| matches(fault)).count();
        assert_eq!(is(|fault| matches!(fault, Fault::Apart(_))), 2, "{seed}");
        assert_eq!(is(|fault| matches!(fault, Fault::OneWay { .. })), 1, "{seed}");
        assert_eq!(is(|fault| matches!(fault, Fault::Deaf(_))), 1, "{seed}");
        assert_eq!(is(|fault| matches!(fault, Fault::Mute(_))), 1, "{seed}");
        assert_eq!(is(|fault| matches!(fault, Fault::Delay(_))), 1, "{seed}");
        assert_eq!(is(|fault| matches!(fault, Fault::Loss(_))), 1, "{seed}");
    }
}

#[test]
fn faults_are_the_rules_they_say_and_leave_the_majority_they_say() {
    let two = Fault::Apart([0, 1].into());
    assert_eq!(two.to_string(), "vendor-a and approver-a apart from the others");
    assert_eq!(two.majority(), None);
    let drops = |fault: &Fault, to: usize| rules(std::slice::from_ref(fault), to, 5).matches(" drop\n").count();
    assert_eq!([0, 1, 2, 3, 4].map(|to| drops(&two, to)), [3, 3, 2, 2, 2]);
    // The site does not vote: apart from one validator, or with it, three others go on.
    assert_eq!(Fault::Apart([3, 4].into()).majority(), Some(vec![0, 1, 2]));
    assert_eq!(Fault::Apart([0, 1, 2].into()).majority(), Some(vec![0, 1, 2]));
    let cases = [
        (Fault::OneWay { from: 2, to: 0 }, [1, 0, 0, 0, 0], 5),
        (Fault::Deaf(1), [0, 4, 0, 0, 0], 4),
        (Fault::Mute(1), [1, 0, 1, 1, 1], 4),
        (Fault::Loss(7), [4; 5], 5),
        (Fault::Delay(Duration::from_millis(5)), [0; 5], 5),
    ];
    for (fault, expected, side) in cases {
        assert_eq!([0, 1, 2, 3, 4].map(|to| drops(&fault, to)), expected, "{fault}");
        assert_eq!(fault.majority().map(|side| side.len()), Some(side), "{fault}");
    }
    let one_way = rules(&[Fault::OneWay { from: 2, to: 0 }], 0, 5);
    assert_eq!(one_way, "flush chain inet faults arriving\nadd rule inet faults arriving ip saddr 10.77.0.3 drop\n");
}

//! What clients saw, and whether a ledger can have been like that: values in, a verdict out.
//!
//! A ledger is a list that only grows. So there must be one order, the places', that everybody's experience
//! agrees with: whoever was told a place finds it there for ever, what was final before something else was
//! begun is before it, and no node ever knows less than it knew. That is linearizability of the writes, and for
//! reads what a node promises: its own past, never a part of it missing.

use ledger::id::TransactionId;
use proto::v1::Position;
use std::collections::BTreeMap;

/// Microseconds on the clock of those who watch.
pub(crate) type Moment = u64;

/// Where something is for ever: the height of its block, and its number among all transactions.
pub(crate) type Place = (u64, u64);

pub(crate) fn place(position: Position) -> Place {
    (position.height, position.index)
}

/// A node said of a transaction that it is final.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: TransactionId,
    /// Which node said it.
    pub(crate) node: usize,
    /// When the transaction was first offered anywhere.
    pub(crate) begun: Moment,
    /// When the answer was there.
    pub(crate) ended: Moment,
    pub(crate) place: Place,
}

/// A client asked a node how far it is, and then for a transaction.
#[derive(Clone, Debug)]
pub(crate) struct Looked {
    pub(crate) id: TransactionId,
    pub(crate) node: usize,
    pub(crate) begun: Moment,
    pub(crate) ended: Moment,
    /// What it said first: its height.
    pub(crate) height: u64,
    /// What it said then: where the transaction is, if it is final.
    pub(crate) place: Option<Place>,
}

/// All that clients saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) told: Vec<Told>,
    pub(crate) looked: Vec<Looked>,
}

/// What no ledger does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A transaction is final at two places.
    TwoPlaces { id: TransactionId, places: [Place; 2] },
    /// Two transactions have one place.
    OnePlaceForTwo { index: u64, ids: [TransactionId; 2] },
    /// Numbers grow, and heights do not.
    HeightsOutOfOrder { places: [Place; 2] },
    /// It was final before the other was begun, and stands after it.
    AgainstTime { earlier: TransactionId, later: TransactionId },
    /// A node knows less than it knew.
    WentBack { node: usize, from: u64, to: u64 },
    /// A node that has the block does not have the transaction.
    Missing { id: TransactionId, node: usize, height: u64, place: Place },
}

/// Whether a ledger can have been like that; the first thing that it cannot.
pub(crate) fn check(history: &History) -> Result<(), Violation> {
    let places = one_place_for_each(history)?;
    nothing_is_missing(history, &places)?;
    nodes_never_go_back(history)?;
    time_and_places_agree(history, &places)
}

type Places = BTreeMap<TransactionId, Place>;

fn one_place_for_each(history: &History) -> Result<Places, Violation> {
    let told = history.told.iter().map(|told| (told.id, told.place));
    let looked = history.looked.iter().filter_map(|looked| Some((looked.id, looked.place?)));
    let (mut places, mut owners) = (Places::new(), BTreeMap::<u64, (TransactionId, u64)>::new());
    for (id, place) in told.chain(looked) {
        let first = *places.entry(id).or_insert(place);
        if first != place {
            return Err(Violation::TwoPlaces { id, places: [first, place] });
        }
        let (owner, _) = *owners.entry(place.1).or_insert((id, place.0));
        if owner != id {
            return Err(Violation::OnePlaceForTwo { index: place.1, ids: [owner, id] });
        }
    }
    let in_order: Vec<Place> = owners.iter().map(|(index, (_, height))| (*height, *index)).collect();
    match in_order.windows(2).find(|pair| pair[0].0 > pair[1].0) {
        Some(pair) => Err(Violation::HeightsOutOfOrder { places: [pair[0], pair[1]] }),
        None => Ok(places),
    }
}

fn nothing_is_missing(history: &History, places: &Places) -> Result<(), Violation> {
    for Looked { id, node, height, place, .. } in &history.looked {
        match places.get(id) {
            Some(known) if place.is_none() && known.0 <= *height => {
                return Err(Violation::Missing { id: *id, node: *node, height: *height, place: *known });
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a node was seen to have, from when on; and what it was asked, since when.
fn nodes_never_go_back(history: &History) -> Result<(), Violation> {
    let mut seen: Vec<(Moment, usize, u64)> =
        history.told.iter().map(|told| (told.ended, told.node, told.place.0)).collect();
    for looked in &history.looked {
        let shown = looked.place.map_or(0, |place| place.0);
        seen.push((looked.ended, looked.node, looked.height.max(shown)));
    }
    seen.sort_unstable();
    let mut asked: Vec<&Looked> = history.looked.iter().collect();
    asked.sort_by_key(|looked| looked.begun);
    let (mut seen, mut highest) = (seen.into_iter().peekable(), BTreeMap::<usize, u64>::new());
    for Looked { node, begun, height, .. } in asked {
        while let Some((_, node, height)) = seen.next_if(|(ended, ..)| ended < begun) {
            let known = highest.entry(node).or_default();
            *known = height.max(*known);
        }
        match highest.get(node) {
            Some(known) if height < known => {
                return Err(Violation::WentBack { node: *node, from: *known, to: *height });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whoever was seen to be final before another was begun stands before it.
fn time_and_places_agree(history: &History, places: &Places) -> Result<(), Violation> {
    let told = history.told.iter().map(|told| (told.ended, told.place.1, told.id));
    let looked = history.looked.iter().filter_map(|looked| Some((looked.ended, looked.place?.1, looked.id)));
    let mut finals: Vec<(Moment, u64, TransactionId)> = told.chain(looked).collect();
    finals.sort_unstable();
    let mut begun: BTreeMap<TransactionId, Moment> = BTreeMap::new();
    for told in &history.told {
        let first = begun.entry(told.id).or_insert(told.begun);
        *first = told.begun.min(*first);
    }
    let mut begun: Vec<(Moment, TransactionId)> = begun.into_iter().map(|(id, moment)| (moment, id)).collect();
    begun.sort_unstable();
    let (mut finals, mut last) = (finals.into_iter().peekable(), None::<(u64, TransactionId)>);
    for (moment, later) in begun {
        while let Some((_, index, id)) = finals.next_if(|(ended, ..)| *ended < moment) {
            last = last.max(Some((index, id)));
        }
        match last {
            Some((index, earlier)) if index > places[&later].1 => {
                return Err(Violation::AgainstTime { earlier, later });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> TransactionId {
        TransactionId([number; 32])
    }

    fn told(number: u8, node: usize, (begun, ended): (Moment, Moment), place: Place) -> Told {
        Told { id: id(number), node, begun, ended, place }
    }

    fn looked(number: u8, node: usize, (begun, ended): (Moment, Moment), height: u64, place: Option<Place>) -> Looked {
        Looked { id: id(number), node, begun, ended, height, place }
    }

    /// Three transactions, two of them at the same time, and people who look at them here and there.
    fn good() -> History {
        History {
            told: vec![
                told(1, 0, (0, 10), (1, 0)),
                told(2, 1, (11, 30), (3, 2)),
                told(3, 0, (12, 20), (2, 1)),
                // Told again elsewhere, later.
                told(1, 2, (0, 50), (1, 0)),
            ],
            looked: vec![
                looked(1, 0, (11, 12), 1, Some((1, 0))),
                // Final since the node said its height.
                looked(3, 1, (13, 21), 1, Some((2, 1))),
                // A node that is behind, and says so.
                looked(2, 2, (31, 32), 2, None),
                // Two at once: what either saw binds the other to nothing.
                looked(2, 2, (33, 40), 3, Some((3, 2))),
                looked(1, 2, (34, 35), 2, Some((1, 0))),
            ],
        }
    }

    fn assert_caught(change: impl FnOnce(&mut History), violation: &Violation) {
        let mut history = good();
        change(&mut history);
        assert_eq!(check(&history), Err(violation.clone()));
    }

    #[test]
    fn a_history_that_can_have_been_is_left_alone() {
        assert_eq!(check(&good()), Ok(()));
        assert_eq!(check(&History::default()), Ok(()));
    }

    #[test]
    fn every_history_that_cannot_have_been_is_caught() {
        let two_places = |places| Violation::TwoPlaces { id: id(1), places };
        assert_caught(|history| history.told[3].place = (1, 7), &two_places([(1, 0), (1, 7)]));
        assert_caught(|history| history.looked[0].place = Some((4, 0)), &two_places([(1, 0), (4, 0)]));
        assert_caught(
            |history| history.told.push(told(4, 0, (60, 61), (3, 2))),
            &Violation::OnePlaceForTwo { index: 2, ids: [id(2), id(4)] },
        );
        assert_caught(
            |history| history.told.push(told(4, 0, (60, 61), (2, 3))),
            &Violation::HeightsOutOfOrder { places: [(3, 2), (2, 3)] },
        );
        // 4 was begun after all others were final, and stands before the last of them.
        assert_caught(
            |history| {
                history.told[1].place = (3, 3);
                history.looked[3].place = Some((3, 3));
                history.told.push(told(4, 0, (51, 60), (3, 2)));
            },
            &Violation::AgainstTime { earlier: id(2), later: id(4) },
        );
        // The same, and nobody was told: somebody had seen it.
        assert_caught(
            |history| {
                history.looked.push(looked(9, 0, (41, 42), 9, Some((9, 9))));
                history.told.push(told(4, 0, (43, 60), (4, 3)));
            },
            &Violation::AgainstTime { earlier: id(9), later: id(4) },
        );
        assert_caught(
            |history| history.looked.push(looked(8, 1, (31, 32), 2, None)),
            &Violation::WentBack { node: 1, from: 3, to: 2 },
        );
        assert_caught(
            |history| history.looked.push(looked(8, 0, (21, 22), 1, None)),
            &Violation::WentBack { node: 0, from: 2, to: 1 },
        );
        assert_caught(
            |history| history.looked[2].height = 3,
            &Violation::Missing { id: id(2), node: 2, height: 3, place: (3, 2) },
        );
        // Lost after it was told: the very node says so.
        assert_caught(
            |history| history.looked.push(looked(1, 0, (60, 61), 9, None)),
            &Violation::Missing { id: id(1), node: 0, height: 9, place: (1, 0) },
        );
    }
}

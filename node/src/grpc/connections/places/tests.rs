//! Who finds a place, and who has to go for it.

use super::*;
use crate::grpc::connections::calls::Call;
use oneshot::error::TryRecvError::Closed;

/// Connections, and what they are there for.
struct Door {
    connections: Connections,
    entered: BTreeMap<(Origin, u64), (Entered, Option<Call>)>,
}

fn origin(address: &str) -> Origin {
    Origin::from(address.parse::<IpAddr>().unwrap())
}

impl Door {
    /// Some places, and a peer that was configured.
    fn new(most: usize) -> Self {
        Self { connections: Connections::new(most, ["203.0.113.9".parse().unwrap()]), entered: BTreeMap::new() }
    }

    /// One more from there, with a call under way or at rest; who went for it, if it found a place.
    fn come(&mut self, address: &str, is_busy: bool) -> Result<Option<Origin>, NoPlace> {
        let entered = self.connections.enter(origin(address))?;
        let call = entered.calls.begin();
        self.entered.insert(entered.held, (entered, is_busy.then_some(call)));
        let held = self.connections.held();
        let gone: Vec<_> = self.entered.keys().copied().filter(|place| !held.places.contains_key(place)).collect();
        drop(held);
        assert!(gone.len() <= 1, "one goes for one");
        Ok(gone.first().and_then(|place| self.entered.remove_entry(place)).map(|((origin, _), _)| origin))
    }

    fn of(&self, width: Width, address: &str) -> usize {
        let network = origin(address).network(width);
        self.entered.keys().filter(|(origin, _)| origin.network(width) == network).count()
    }
}

/// Each width has its limit, of IPv4 as of IPv6: an eighth of the places is 10 here.
#[test]
fn a_network_has_no_more_than_its_part_at_any_width() {
    let mut door = Door::new(80);
    for (address, has) in [("192.0.2.1", 40), ("192.0.2.2", 30)] {
        for _ in 0..100 {
            let _ = door.come(address, true);
        }
        assert_eq!(door.of(Width::Address, address), has, "{address}");
    }
    assert_eq!(door.of(Width::Company, "192.0.2.1"), 60);

    let mut door = Door::new(80);
    let (address, site, company) = ("2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:100::1");
    for (address, width, has) in [(address, Width::Address, 40), (site, Width::Site, 50), (company, Width::Company, 60)]
    {
        for _ in 0..100 {
            let _ = door.come(address, true);
        }
        assert_eq!(door.of(width, address), has, "{address}");
    }
}

/// However many networks take all they can get, with calls on each: whoever comes next is served, and one of those
/// that hold most makes room.
#[test]
fn whoever_comes_next_is_served_and_whoever_holds_most_makes_room() {
    let mut door = Door::new(256);
    let greedy: Vec<_> = (0..24).map(|network| format!("198.51.{network}.1")).collect();
    for address in &greedy {
        for _ in 0..256 {
            let _ = door.come(address, true);
        }
    }
    let counts: Vec<_> = greedy.iter().map(|address| door.of(Width::Company, address)).collect();
    assert_eq!(counts, [8; 24], "three quarters of the places, in even parts");

    let gone = door.come("192.0.2.1", true).unwrap().expect("no place was free");
    assert!(greedy.contains(&gone.to_string()));
    assert_eq!(door.of(Width::Address, "192.0.2.1"), 1);
}

/// One /48 has 65,536 networks and counts as one; whoever has another is not shut out by it.
#[test]
fn thousands_of_networks_of_one_hand_count_as_one() {
    let mut door = Door::new(256);
    for network in 0..2_048 {
        let _ = door.come(&format!("2001:db8:1:{network:x}::1"), true);
    }
    assert_eq!(door.of(Width::Company, "2001:db8:1::1"), 192);
    for _ in 0..256 {
        let _ = door.come("2001:db8:2::1", true);
    }
    assert_eq!(door.of(Width::Company, "2001:db8:2::1"), 96, "half of what strangers have");
}

/// Strangers with a network for every place keep nobody out who is known: who has brought a transaction that was
/// admitted, a configured peer, this host.
#[test]
fn strangers_of_any_number_leave_a_quarter_to_the_known() {
    let mut door = Door::new(64);
    door.connections.heard(origin("192.0.2.1"));
    let known = ["192.0.2.1", "203.0.113.9", "127.0.0.1", "::1"];
    for address in known {
        assert_eq!(door.come(address, false), Ok(None));
    }
    for network in 0..200 {
        let _ = door.come(&format!("198.51.{network}.1"), true);
    }
    for address in known {
        assert_eq!(door.of(Width::Address, address), 1, "{address} rests, and stays");
        assert_eq!(door.come(address, true), Ok(None), "{address} finds room");
    }
    // Nor do the known keep strangers out.
    for _ in 0..64 {
        let _ = door.come("127.0.0.1", true);
        let _ = door.come("203.0.113.9", true);
    }
    assert!(door.come("198.51.201.1", true).is_ok());
}

/// Who has not said hello in time goes first, then who never asked, then who has rested longest, and then the youngest.
#[tokio::test(start_paused = true)]
async fn at_rest_goes_before_busy_and_the_young_before_the_old() {
    // Strangers have four of six places.
    let connections = Connections::new(6, []);
    let enter = |network: u8| connections.enter(origin(&format!("192.0.{network}.1"))).unwrap();
    let [mut busy, mut rested, mut silent, mut knocking] = [enter(1), enter(2), enter(3), enter(4)];
    let _call = busy.calls.begin();
    drop(rested.calls.begin());
    silent.calls.greeted();
    let is_over = |entered: &mut Entered| entered.end.try_recv() == Err(Closed);
    let over = |entered: [&mut Entered; 3]| entered.map(is_over);

    tokio::time::advance(GREETING_GRACE).await;

    // Each of these has a call under way as soon as it is there.
    let fifth = enter(5);
    let _fifth = fifth.calls.begin();
    assert_eq!(over([&mut knocking, &mut silent, &mut rested]), [true, false, false]);
    let sixth = enter(6);
    let _sixth = sixth.calls.begin();
    assert_eq!(over([&mut silent, &mut rested, &mut busy]), [true, false, false]);
    let mut seventh = enter(7);
    let _seventh = seventh.calls.begin();
    assert_eq!(over([&mut rested, &mut seventh, &mut busy]), [true, false, false]);
    let eighth = enter(8);
    assert_eq!(over([&mut seventh, &mut rested, &mut busy]), [true, true, false]);

    drop((knocking, silent, rested, seventh));
    assert_eq!(connections.held().places.len(), 4, "who has gone already does not take another's place with it");
    drop((busy, fifth, sixth, eighth));
    assert!(connections.held().places.is_empty());
}

/// Of those that rest, and of those that knock, the one that has done so longest.
#[tokio::test(start_paused = true)]
async fn who_has_rested_longest_goes_first() {
    let connections = Connections::new(4, []);
    let enter = |network: u8| connections.enter(origin(&format!("192.0.{network}.1"))).unwrap();
    let mut resting = [enter(1), enter(2), enter(3)];
    for place in [1, 2, 0] {
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(resting[place].calls.begin());
    }
    let _fourth = enter(4);
    let over = resting.each_mut().map(|entered| entered.end.try_recv().is_err_and(|error| error == Closed));
    assert_eq!(over, [false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn who_is_known_is_forgotten_after_a_time_and_when_there_are_too_many() {
    let connections = Connections::new(4, []);
    connections.heard(origin("192.0.2.1"));
    tokio::time::advance(KNOWN_FOR - Duration::from_secs(1)).await;
    assert!(connections.held().is_known(origin("192.0.2.1"), Instant::now()));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!connections.held().is_known(origin("192.0.2.1"), Instant::now()));
    for number in 0..=u32::try_from(KNOWN_MAX).unwrap() {
        connections.heard(Origin::from(IpAddr::V4(Ipv4Addr::from_bits(number << 8))));
    }
    let held = connections.held();
    assert_eq!(held.heard.len(), KNOWN_MAX);
    assert!(!held.is_known(origin("192.0.2.1"), Instant::now()));
}

/// Whoever has one key and 65,536 networks side by side.
#[tokio::test(start_paused = true)]
async fn one_hand_does_not_have_the_others_forgotten() {
    let connections = Connections::new(64, []);
    connections.heard(origin("192.0.2.1"));
    for number in 0..=KNOWN_MAX {
        connections.heard(origin(&format!("2001:db8:1:{number:x}::1")));
    }
    assert!(connections.held().is_known(origin("192.0.2.1"), Instant::now()));
    assert_eq!(connections.held().heard.len(), 1 + KNOWN_PER_COMPANY_MAX);
}

/// Strangers with a network for every place, and a call on each, who go on knocking from networks that hold nothing.
#[tokio::test(start_paused = true)]
async fn a_newcomer_is_left_the_time_to_say_hello() {
    let connections = Connections::new(64, []);
    let network = |number: u32| origin(&format!("2001:db8:{number:x}::1"));
    let busy: Vec<_> = (0..48).map(|number| connections.enter(network(number)).unwrap()).collect();
    let _calls: Vec<_> = busy.iter().map(|entered| entered.calls.begin()).collect();
    let mut knocks = Vec::new();
    for round in 0..20 {
        let mut honest = connections.enter(origin("192.0.2.1")).unwrap();
        for knock in 0..3 {
            tokio::time::advance(Duration::from_millis(100)).await;
            knocks.push(connections.enter(network(1_000 + 3 * round + knock)).unwrap());
        }
        assert_ne!(honest.end.try_recv(), Err(Closed), "{round}");
        honest.calls.greeted();
    }
}

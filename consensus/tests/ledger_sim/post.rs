//! What travels between machines, from the bytes one sends to the event another gets.

use super::world::{Happening, World};
use consensus::member::{Event, PeerMessage};
use ledger::encoding::{decode, encode};
use std::rc::Rc;

impl World {
    pub(super) fn send(&mut self, from: usize, to: usize, message: &PeerMessage) {
        let opens = matches!(message, PeerMessage::Hello { .. });
        self.transmit_or(from, to, message.is_urgent(), encode(message).into(), opens);
    }

    pub(super) fn transmit(&mut self, from: usize, to: usize, urgent: bool, bytes: Rc<[u8]>) {
        self.transmit_or(from, to, urgent, bytes, false);
    }

    /// The first word of a connection gets lost only together with the connection.
    fn transmit_or(&mut self, from: usize, to: usize, urgent: bool, bytes: Rc<[u8]>, opens: bool) {
        let Some(link) = self.network.link(from, to) else { return };
        let now_us = self.around.now_us;
        let arrivals = self.network.arrivals_us(now_us, (from, to), urgent, &mut self.rng);
        if arrivals.is_empty() && opens {
            self.unlink(from, to);
        }
        for at_us in arrivals {
            self.schedule(at_us, Happening::Frame { from, to, link, bytes: bytes.clone() });
        }
    }

    pub(super) fn arrive(&mut self, from: usize, to: usize, link: u64, bytes: &[u8]) {
        self.note_bytes(to, bytes);
        if self.loud {
            let message = decode::<PeerMessage>(bytes);
            eprintln!("{:>8} us  {from} to {to}: {message:?}", self.around.now_us);
        }
        if self.network.link(from, to) != Some(link) || !self.hosts[to].is_up() {
            return;
        }
        let peer = self.hosts[from].person.node.public();
        match self.around.door.parse(peer, bytes) {
            Ok(event) => {
                if let (Event::Said { message, .. }, Some(adversary)) = (&event, &mut self.hosts[to].adversary) {
                    adversary.hears(message);
                }
                if let (Event::Synced { block, transactions, certificate, .. }, true) =
                    (&event, self.hosts[to].flaws.no_certificate_check)
                {
                    let out = self.hosts[to].swallow(block, transactions, certificate, &mut self.around);
                    return self.take(to, out);
                }
                self.give(to, event);
            }
            Err(why) => {
                if self.around.honest.contains(&to) && self.around.honest.contains(&from) {
                    self.around.watch.nothing_an_honest_member_sends_gets_it_disconnected(to, from, why);
                }
                self.unlink(to, from);
            }
        }
    }
}

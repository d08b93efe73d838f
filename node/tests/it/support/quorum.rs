//! Three nodes of four that finalise; the keys of the fourth are in the hands of a test.

use super::peer::Peer;
use super::site::{Node, Site};
use super::world::World;
use consensus::member::{PEER_VERSION, PeerMessage};
use ledger::key::SecretKey;
use ledger::state::record::Role;
use libp2p::Stream;
use tests::ORGANISATIONS;

/// Three nodes, each of which is needed.
pub(crate) struct Quorum {
    pub(crate) world: World,
    pub(crate) sites: Vec<Site>,
}

impl Quorum {
    pub(crate) fn set(seed: u64) -> Self {
        let world = World::of_four(seed);
        let sites = (0..3).map(|place| Site::validating(&world, ORGANISATIONS[place], place));
        let mut sites: Vec<Site> = sites.collect();
        let addresses: Vec<_> = sites.iter().map(|site| (site.key.public(), site.peer_address())).collect();
        for place in 0..sites.len() {
            let mut site = sites.remove(place);
            for (_, (key, address)) in addresses.iter().enumerate().filter(|(other, _)| *other != place) {
                site = site.knowing(key, address);
            }
            sites.insert(place, site);
        }
        Self { world, sites }
    }

    pub(crate) async fn start(&self) -> Vec<Node> {
        // All at once: each waits for its own port only.
        let mut nodes = Vec::new();
        for site in &self.sites {
            nodes.push(site.start().await);
        }
        nodes
    }

    /// The fourth validator's key.
    pub(crate) fn fourth(&self) -> &SecretKey {
        &self.world.scenario.validators()[3]
    }

    /// The fourth validator's node, in touch with one of the others, and what it says hello on.
    pub(crate) async fn speak_to(&self, site: &Site) -> (Peer, Stream) {
        let key = self.world.key(ORGANISATIONS[3], Role::Node);
        let peer = Peer::new(&key, &site.key.public(), site.peer_address()).await;
        let (chain, validator) = (self.world.scenario.chain_id(), Some(self.fourth().public()));
        let stream = peer.say(&PeerMessage::Hello { version: PEER_VERSION, chain, height: 0, validator }).await;
        (peer, stream)
    }
}

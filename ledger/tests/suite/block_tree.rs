//! The Merkle tree of a block: built with `rs_merkle`, checked by our own verifier, both against a
//! recursive reading of RFC 6962 §2.1 (sentences 3.6 and 4.4).

use ledger::id::{Digest, context, derive};
use ledger::merkle::{PathError, path, root, verify};
use rs_merkle::{Hasher, MerkleProof, MerkleTree};

/// The largest tree whose every leaf is proven here.
pub const SIZES: usize = 300;

/// RFC 6962 §2.1, word for word, over any two hashes.
pub struct Rfc6962<L, N> {
    pub leaf: L,
    pub node: N,
    pub empty: [u8; 32],
}

impl<L: Fn(&[u8]) -> [u8; 32], N: Fn(&[u8; 32], &[u8; 32]) -> [u8; 32]> Rfc6962<L, N> {
    /// MTH(D[n]).
    pub fn root(&self, data: &[Vec<u8>]) -> [u8; 32] {
        match data {
            [] => self.empty,
            [one] => (self.leaf)(one),
            _ => {
                let (left, right) = data.split_at(split(data.len()));
                (self.node)(&self.root(left), &self.root(right))
            }
        }
    }

    /// PATH(m, D[n]).
    pub fn path(&self, m: usize, data: &[Vec<u8>]) -> Vec<Digest> {
        if data.len() == 1 {
            return Vec::new();
        }
        let k = split(data.len());
        let (left, right) = data.split_at(k);
        let (mut path, sibling) =
            if m < k { (self.path(m, left), self.root(right)) } else { (self.path(m - k, right), self.root(left)) };
        path.push(Digest(sibling));
        path
    }
}

/// "Let k be the largest power of two smaller than n."
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// `n` leaves of different lengths, the first of them empty.
pub fn leaves(n: usize) -> Vec<Vec<u8>> {
    (0..n).map(|place| vec![place as u8; place % 40]).collect()
}

/// The hashes of a block's tree, written out a second time.
fn reference() -> Rfc6962<impl Fn(&[u8]) -> [u8; 32], impl Fn(&[u8; 32], &[u8; 32]) -> [u8; 32]> {
    Rfc6962 {
        leaf: |data: &[u8]| derive(&context::BLOCK_LEAF, data),
        node: |left: &[u8; 32], right: &[u8; 32]| derive(&context::BLOCK_NODE, &[*left, *right].concat()),
        empty: derive(&context::BLOCK_EMPTY, b""),
    }
}

fn slices(leaves: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    leaves.iter().map(Vec::as_slice)
}

#[test]
fn roots_and_paths_of_every_size_are_those_of_rfc_6962() {
    let reference = reference();
    for n in 0..=SIZES {
        let leaves = leaves(n);
        let tree = root(slices(&leaves));
        assert_eq!(tree.0, reference.root(&leaves), "root of {n}");
        assert_eq!(path(slices(&leaves), n), None, "no leaf {n} among {n}");
        // Building a tree per index is quadratic in itself: all indices of small trees, some of large.
        let step = if n <= 70 { 1 } else { 17 };
        for index in (0..n).step_by(step) {
            assert_eq!(path(slices(&leaves), index).unwrap(), reference.path(index, &leaves), "{index} of {n}");
        }
    }
}

#[test]
fn every_leaf_of_every_size_is_proven() {
    let reference = reference();
    for n in 1..=SIZES {
        let leaves = leaves(n);
        let tree = Digest(reference.root(&leaves));
        let step = if n <= 128 { 1 } else { 7 };
        for index in (0..n).step_by(step).chain([n - 1]) {
            let path = reference.path(index, &leaves);
            assert_eq!(verify(&tree, n as u64, index as u64, &leaves[index], &path), Ok(()), "{index} of {n}");
        }
    }
}

/// Shared with the history tree: an honest proof altered in every way its parts allow is refused.
pub fn refuses_what_is_altered(
    leaves: &[Vec<u8>],
    index: usize,
    path: &[Digest],
    verify: impl Fn(u64, u64, &[u8], &[Digest]) -> Result<(), PathError>,
) {
    let (count, at) = (leaves.len() as u64, index as u64);
    let about = format!("{index} of {count}");
    assert_eq!(verify(count, at, &leaves[index], path), Ok(()), "{about}");
    // Another leaf at this place, this leaf at another place.
    let other = [&leaves[index][..], b"x"].concat();
    assert!(verify(count, at, &other, path).is_err(), "{about}");
    for elsewhere in (0..count + 3).chain([u64::MAX]).filter(|elsewhere| *elsewhere != at) {
        assert!(verify(count, elsewhere, &leaves[index], path).is_err(), "{about}, index {elsewhere}");
    }
    // A tree of another size. The size is not under the root, so some other sizes give a path of the
    // same shape; that is why it is taken from the certified header and never from the proof.
    for elsewhere in [0, at, u64::MAX] {
        let verdict = verify(elsewhere, at, &leaves[index], path);
        assert!(elsewhere == count || verdict.is_err(), "{about}, count {elsewhere}");
    }
    // A path with a hash altered, left out, added, or in another order.
    for place in 0..path.len() {
        let mut altered = path.to_vec();
        altered[place].0[place % 32] ^= 1;
        assert!(verify(count, at, &leaves[index], &altered).is_err(), "{about}, hash {place}");
        altered = path.to_vec();
        altered.remove(place);
        assert!(verify(count, at, &leaves[index], &altered).is_err(), "{about}, without hash {place}");
        altered = path.to_vec();
        altered.insert(place, path[place]);
        assert!(verify(count, at, &leaves[index], &altered).is_err(), "{about}, hash {place} twice");
        if place > 0 {
            altered = path.to_vec();
            altered.swap(place, place - 1);
            assert!(verify(count, at, &leaves[index], &altered).is_err(), "{about}, {place} swapped");
        }
    }
    let longer = [path, &[Digest::ZERO]].concat();
    assert!(verify(count, at, &leaves[index], &longer).is_err(), "{about}, one hash more");
}

#[test]
fn altered_leaves_indices_counts_and_paths_are_refused() {
    let reference = reference();
    for n in [1, 2, 3, 4, 5, 7, 8, 9, 16, 21, 64, 100] {
        let leaves = leaves(n);
        let tree = Digest(reference.root(&leaves));
        for index in 0..n {
            let path = reference.path(index, &leaves);
            refuses_what_is_altered(&leaves, index, &path, |count, at, leaf, path| {
                verify(&tree, count, at, leaf, path)
            });
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let leaves = leaves(5);
    let tree = root(slices(&leaves));
    let honest = path(slices(&leaves), 1).unwrap();
    assert_eq!(verify(&tree, 5, 5, &leaves[1], &honest), Err(PathError::IndexOutOfRange { index: 5, count: 5 }));
    assert_eq!(verify(&tree, 0, 0, &leaves[1], &honest), Err(PathError::IndexOutOfRange { index: 0, count: 0 }));
    let short = Err(PathError::WrongLength { index: 1, count: 5, actual: 2 });
    assert_eq!(verify(&tree, 5, 1, &leaves[1], &honest[..2]), short);
    assert!(matches!(verify(&tree, 5, 2, &leaves[1], &honest), Err(PathError::WrongRoot { .. })));
}

#[test]
fn a_node_is_not_a_leaf() {
    // Its two children, written one after the other, are the data of no leaf.
    let leaves = leaves(4);
    let reference = reference();
    let (left, right) = (reference.root(&leaves[..2]), reference.root(&leaves[2..]));
    let tree = root(slices(&leaves));
    assert!(verify(&tree, 1, 0, &[left, right].concat(), &[]).is_err());
    assert!(
        verify(&tree, 2, 0, &[reference.root(&leaves[..1]), reference.root(&leaves[1..2])].concat(), &[Digest(right)])
            .is_err()
    );
}

/// The tree's hasher, as `rs_merkle` wants it.
#[derive(Clone)]
struct BlockHasher;

impl Hasher for BlockHasher {
    type Hash = [u8; 32];

    fn hash(data: &[u8]) -> [u8; 32] {
        derive(&context::BLOCK_LEAF, data)
    }

    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        right.map_or(*left, |right| derive(&context::BLOCK_NODE, &[*left, *right].concat()))
    }
}

/// The published forgery (github.com/antouhou/rs-merkle, pull request 52): two leaves at one index.
/// The library rebuilds the root from the real one and does not look at the other.
#[test]
fn forgeries_that_the_library_accepts_are_refused() {
    let leaves = leaves(4);
    let hashes: Vec<[u8; 32]> = leaves.iter().map(|leaf| BlockHasher::hash(leaf)).collect();
    let tree = MerkleTree::<BlockHasher>::from_leaves(&hashes);
    let (library_root, ours) = (tree.root().unwrap(), root(slices(&leaves)));
    assert_eq!(library_root, ours.0);
    let shown = [hashes[0], hashes[1], BlockHasher::hash(b"forged")];
    let accepted = tree.proof(&[0, 1]).verify(library_root, &[0, 1, 1], &shown, 4);
    assert!(accepted, "the library accepts a forged leaf: the reason why it is never asked");
    // Ours speaks about one leaf at a time, and that leaf is in the hash or the proof fails.
    let honest = path(slices(&leaves), 1).unwrap();
    assert_eq!(verify(&ours, 4, 1, &leaves[1], &honest), Ok(()));
    assert!(verify(&ours, 4, 1, b"forged", &honest).is_err());

    // Hashes that are not needed are not looked at by the library: one proof, many spellings.
    let padded = [tree.proof(&[1]).proof_hashes(), &[[7; 32]]].concat();
    assert!(MerkleProof::<BlockHasher>::new(padded.clone()).verify(library_root, &[1], &[hashes[1]], 4));
    let padded: Vec<Digest> = padded.into_iter().map(Digest).collect();
    let refused = Err(PathError::WrongLength { index: 1, count: 4, actual: 3 });
    assert_eq!(verify(&ours, 4, 1, &leaves[1], &padded), refused);
}

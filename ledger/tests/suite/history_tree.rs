//! The history: roots and paths of `tlog_tiles` against a recursive reading of RFC 6962, checked by
//! our own verifier (sentences 4.1 to 4.5).

use crate::block_tree::{Rfc6962, SIZES, leaves, refuses_what_is_altered};
use crate::support::Chance;
use ledger::history::{append, empty_root, prove, verify};
use ledger::id::Digest;
use ledger::state::storage::MemoryStorage;
use sha2::{Digest as _, Sha256};

fn reference() -> Rfc6962<impl Fn(&[u8]) -> [u8; 32], impl Fn(&[u8; 32], &[u8; 32]) -> [u8; 32]> {
    Rfc6962 {
        leaf: |data: &[u8]| Sha256::digest([&[0], data].concat()).into(),
        node: |left: &[u8; 32], right: &[u8; 32]| Sha256::digest([&[1], &left[..], right].concat()).into(),
        empty: Sha256::digest([]).into(),
    }
}

fn slices(leaves: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    leaves.iter().map(Vec::as_slice)
}

#[test]
fn the_published_roots_of_rfc_6962_come_out() {
    // Test data of the certificate-transparency log: eight leaves, roots of every prefix.
    let data: Vec<Vec<u8>> =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
            .iter()
            .map(|text| hex::decode(text).unwrap())
            .collect();
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    for (size, root) in roots.iter().enumerate() {
        let made = append(&MemoryStorage::default(), 0, slices(&data[..size])).unwrap();
        assert_eq!(made.root.to_string(), *root, "{size} leaves");
    }
    assert_eq!(empty_root().to_string(), roots[0]);
}

#[test]
fn roots_of_every_size_are_those_of_rfc_6962_however_leaves_arrive() {
    let reference = reference();
    let leaves = leaves(SIZES);
    let mut chance = Chance(1);
    let (mut one_by_one, mut in_blocks) = (MemoryStorage::default(), MemoryStorage::default());
    let (mut size, mut block_size) = (0, 0);
    for n in 1..=SIZES {
        let update = append(&one_by_one, size, slices(&leaves[n - 1..n])).unwrap();
        one_by_one.write_history(&update);
        size = update.size;
        assert_eq!(update.root.0, reference.root(&leaves[..n]), "{n} leaves one by one");
        if chance.below(5) == 0 || n == SIZES {
            let update = append(&in_blocks, block_size as u64, slices(&leaves[block_size..n])).unwrap();
            in_blocks.write_history(&update);
            block_size = n;
            assert_eq!(update.root.0, reference.root(&leaves[..n]), "{n} leaves in blocks");
        }
    }
    let nothing = append(&one_by_one, size, []).unwrap();
    assert_eq!((nothing.size, nothing.root.0), (SIZES as u64, reference.root(&leaves)));
    assert!(nothing.hashes.is_empty());
}

#[test]
fn every_leaf_is_proven_in_every_size_from_one_storage() {
    let reference = reference();
    let leaves = leaves(SIZES);
    let mut storage = MemoryStorage::default();
    let update = append(&storage, 0, slices(&leaves)).unwrap();
    storage.write_history(&update);
    for n in 1..=SIZES {
        // All later leaves are in the storage already; a proof in the tree of the first n ignores them.
        let root = Digest(reference.root(&leaves[..n]));
        let step = if n <= 100 { 1 } else { 11 };
        for index in (0..n).step_by(step).chain([n - 1]) {
            let path = prove(&storage, n as u64, index as u64).unwrap();
            assert_eq!(path, reference.path(index, &leaves[..n]), "{index} of {n}");
            assert_eq!(verify(&root, n as u64, index as u64, &leaves[index], &path), Ok(()), "{index} of {n}");
        }
        assert!(prove(&storage, n as u64, n as u64).is_err());
    }
    assert!(prove(&storage, 0, 0).is_err());
    assert!(prove(&storage, SIZES as u64 + 1, 0).is_err(), "the last leaf was never stored");
}

#[test]
fn altered_leaves_indices_sizes_and_paths_are_refused() {
    let reference = reference();
    for n in [1, 2, 3, 6, 8, 11, 33, 100] {
        let leaves = leaves(n);
        let root = Digest(reference.root(&leaves));
        for index in 0..n {
            let path = reference.path(index, &leaves);
            refuses_what_is_altered(&leaves, index, &path, |size, at, leaf, path| verify(&root, size, at, leaf, path));
        }
    }
}

#[test]
fn a_node_is_not_a_leaf() {
    let reference = reference();
    let leaves = leaves(4);
    let (left, right) = (reference.root(&leaves[..2]), reference.root(&leaves[2..]));
    let root = Digest(reference.root(&leaves));
    assert!(verify(&root, 1, 0, &[left, right].concat(), &[]).is_err());
    assert!(verify(&root, 1, 0, &[&[1], &left[..], &right].concat(), &[]).is_err());
}

#[test]
fn a_storage_with_a_hole_is_an_error_and_no_verdict() {
    let leaves = leaves(9);
    let update = append(&MemoryStorage::default(), 0, slices(&leaves)).unwrap();
    let mut storage = MemoryStorage::default();
    let mut holed = update.clone();
    holed.hashes.truncate(3);
    storage.write_history(&holed);
    assert!(prove(&storage, 9, 8).is_err());
    assert!(append(&storage, 9, slices(&leaves)).is_err());
}

#!/usr/bin/env python3
"""Checks a Countersign evidence file offline, written from docs/protocol.md alone; numbers are its sentences.

Prints the keys of those who did it, one a line, or that nobody can be named. Exit status: 0 it is a fork, or keys
that the genesis file knows to validate are convicted; 1 refused, the check is named; 2 usage, or the genesis file is
none."""
import argparse, sys
import verify_proof as v
from verify_proof import CERTIFIED, EPOCHS, EVIDENCE, HASH, U16, Refused, check, decode, enum, struct

BRANCH = struct(epochs=EPOCHS, head=CERTIFIED)
FILE = struct(version=U16, chain_id=HASH,
              exhibit=enum({"epochs": EPOCHS, "one": BRANCH, "other": BRANCH}, {"evidence": EVIDENCE}))  # 9.7
VALIDATOR = 4  # 5.13


def follow(epochs, chain, validators, before):
    """6.6."""
    check(all(link["header"]["version"] == 1 for link in epochs), "version")
    for link in epochs:
        header, word = link["header"], "epoch-chain"
        check(header["chain_id"] == chain and header["height"] > before, word, "not above the one before")
        check(header["validators_hash"] != header["next_validators_hash"], word, "no change")
        v.check_final(link["certificate"], header, chain, validators, word)
        check(v.is_set(link["validators"]), word, "no set")
        check(v.validators_hash(link["validators"]) == header["next_validators_hash"], word, "another set")
        validators, before = link["validators"], header["height"]
    return validators, before


def fork(exhibit, chain, trusted):
    """9.8: who signed both sides; nobody, when their certificates are of two rounds (9.6)."""
    common = follow(exhibit["epochs"], chain, trusted, 0)
    sides = []
    for branch in (exhibit["one"], exhibit["other"]):
        validators, before = follow(branch["epochs"], chain, *common)
        header = branch["head"]["header"]
        check(header["version"] == 1, "version")
        check(header["chain_id"] == chain, "chain-id")
        check(header["height"] > before, "certificate", "certified by a later set")
        certificate = branch["head"]["certificate"]
        v.check_final(certificate, header, chain, validators, "certificate")
        sides.append((header, certificate, validators))
    (one, first, one_set), (other, second, other_set) = sides
    check(one["height"] == other["height"] and one.raw != other.raw, "fork", "no fork")
    return v.signers(first, one_set) & v.signers(second, other_set) if first["round"] == second["round"] else set()


def known(keys, genesis):
    """9.10: those of them that are validators', as far as the genesis file knows; or nobody is convicted."""
    members = decode(v.GENESIS, genesis, 2**20, "genesis")["organisations"]
    validating = {m["key"] for member in members for m in member["keys"] if m["role"].number == VALIDATOR}
    check(keys & validating, "unknown-key", "none of them is known to validate")
    return keys & validating


def judge(data, genesis):
    """The keys of those who did it."""
    chain, trusted = v.trust_root(genesis)[:2]
    file = decode(FILE, data, 2**20, "malformed")
    check(file["version"] == 1, "version")
    check(file["chain_id"] == chain, "chain-id")
    exhibit = file["exhibit"]
    if exhibit.number == 0:
        return fork(exhibit, chain, trusted)
    return known(v.convicted(exhibit["evidence"], chain), genesis)


def main():
    parser = argparse.ArgumentParser(description="Checks a Countersign evidence file offline.")
    parser.add_argument("file", type=argparse.FileType("rb"))
    parser.add_argument("genesis", type=argparse.FileType("rb"))
    arguments = parser.parse_args()
    data, genesis = arguments.file.read(1048577), arguments.genesis.read(1048577)
    try:
        v.trust_root(genesis)
    except Refused as refused:
        parser.error(f"not a genesis file: {refused}")
    try:
        culprits = judge(data, genesis)
    except Refused as refused:
        print(f"refused: {refused}")
        return 1
    print("\n".join(sorted(key.hex() for key in culprits)) or "a fork, and nobody can be named from it")
    return 0


if __name__ == "__main__":
    sys.exit(main())

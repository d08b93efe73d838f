#!/usr/bin/env python3
"""Verifies a Countersign proof file offline, written from docs/protocol.md alone; numbers are its sentences.

Exit status: 0 proven; 1 refused, the check is named; 2 usage, or the genesis file is none."""
import argparse, hashlib, sys, time
try:
    from blake3 import blake3
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError as missing:
    print(f"error: no Python library {missing.name}: python3 -m pip install blake3 cryptography", file=sys.stderr)
    sys.exit(2)


class Refused(Exception):
    def __init__(self, check, detail=""):
        super().__init__(f"{check}: {detail}" if detail else check)
        self.check = check


def check(holds, word, detail=""):
    if not holds:
        raise Refused(word, detail)


# Types as data (1.3): a kind, and what it is made of.
option, text = lambda of: ("option", of), lambda most: ("text", most)
list_, set_ = lambda of, most: ("list", of, most), lambda of, most: ("set", of, most)
struct, enum, plain = lambda **fields: ("struct", fields), lambda *of: ("enum", of), lambda n: ("enum", ({},) * n)
U8, U16, U32, U64, HASH, SIGNATURE = ("int", 1), ("int", 2), ("int", 4), ("int", 8), ("raw", 32), ("raw", 64)
BOOL, BYTES, NAME, PRODUCT = ("bool",), ("bytes",), ("name",), ("product",)
SENTENCE, VERSION, NOTES, ARGUMENT = text(512), text(128), text(16384), text(1024)
# Parts of transactions and of records (2.9, 2.13, 3.12, 5.8, 5.10, 5.13, 5.15)
NAMES, CLASS, SEVERITY, POSITION = set_(NAME, 16), plain(6), plain(4), struct(height=U64, index=U64)
VALIDATORS = set_(struct(key=HASH, organisation=NAME), 128)
PARAMETERS = struct(heartbeat_ms=U64, seal_ms=U64)
ROLE, STATUS = plain(6), plain(3)
PUBLISHER, APPROVER, REVOKED = 0, 1, 2
ORGANISATION = struct(name=NAME, namespaces=NAMES, keys=set_(struct(key=HASH, role=ROLE, status=STATUS), 64))
QUORUM = struct(approvals=U16, organisations=U16)
RULES = list_(struct(
    name=NAME, namespaces=NAMES, classes=set_(CLASS, 8), severities=set_(SEVERITY, 8), approvers=NAMES,
    quorum=QUORUM, emergency=option(QUORUM), rejections=U16, recalls=U16), 64)
# Transactions (section 2)
LABELS, RELATION = set_(struct(key=NAME, value=NAME), 16), struct(product=PRODUCT, release_min=U64, release_max=U64)
TARGET = struct(os=NAMES, architectures=NAMES, hardware=NAMES, labels=LABELS, from_versions=set_(VERSION, 16))
ARTIFACT = struct(name=NAME, size=U64, blake3=HASH, sha256=HASH, encoding=plain(1), delta_from=option(HASH))
PROBE = enum({"arguments": list_(ARGUMENT, 32), "expect": option(ARGUMENT)}, {"port": ARGUMENT},
             {"package": NAME, "version": VERSION})
MANIFEST = struct(
    product=PRODUCT, channel=NAME, version=VERSION, release=U64, class_=CLASS, severity=SEVERITY,
    advisories=set_(text(64), 256), title=SENTENCE, notes=NOTES, targets=list_(TARGET, 16),
    depends=set_(RELATION, 64), conflicts=set_(RELATION, 64), supersedes=set_(RELATION, 64), installer=plain(7),
    artifacts=list_(ARTIFACT, 64), services=NAMES,
    health=list_(struct(probe=PROBE, timeout_ms=U32, attempts=U16, interval_ms=U32), 16), reboot=plain(3))
VERDICT = struct(patch=HASH, evidence=HASH, note=NOTES)
RECEIPT = struct(patch=HASH, rollout=option(HASH), attempt=U32, from_version=VERSION, to_version=VERSION,
                 outcome=plain(5), reason=option(struct(code=plain(35), detail=SENTENCE)), health=plain(3),
                 log_digest=HASH, ended_at_ms=U64)
CHANGE = enum(  # 2.22
    {"organisation": ORGANISATION}, {"name": NAME}, {"organisation": NAME, "key": HASH, "role": ROLE},
    {"old": HASH, "new": HASH}, {"key": HASH}, {"key": HASH}, {"organisation": NAME, "namespace": NAME},
    {"organisation": NAME, "namespace": NAME}, {"validators": VALIDATORS}, {"rules": RULES}, {"parameters": PARAMETERS})
PROPOSAL, CHOICE = struct(changes=list_(CHANGE, 64), note=NOTES, closes_at_ms=U64), plain(2)
HEADER = struct(version=U16, chain_id=HASH, height=U64, time_ms=U64, parent=HASH, tx_root=HASH, tx_count=U32,
                history_root=HASH, history_size=U64, state_root=HASH, validators_hash=HASH,
                next_validators_hash=HASH, proposer=HASH)  # 3.1
CERTIFICATE = struct(height=U64, round=U32, block=HASH, signers=list_(U8, 16), signatures=list_(SIGNATURE, 128))  # 3.7
CERTIFIED = struct(header=HEADER, certificate=CERTIFICATE)
VOTE_BODY = struct(height=U64, round=U32, block=option(HASH))  # 3.10
VOTE = struct(kind=plain(2), body=VOTE_BODY, voter=HASH, signature=SIGNATURE)  # 9.2
PROPOSED_BLOCK = struct(body=struct(height=U64, round=U32, pol_round=option(U32), block=HASH), proposer=HASH,
                        signature=SIGNATURE)  # 9.3
EVIDENCE = enum({"one": VOTE, "other": VOTE}, {"one": PROPOSED_BLOCK, "other": PROPOSED_BLOCK},
                {"validators": VALIDATORS, "one": CERTIFIED, "other": CERTIFIED})  # 9.5
PUBLISH, APPROVAL, ACCUSE = 0, 1, 10
PAYLOAD = enum({"manifest": MANIFEST}, {"verdict": VERDICT, "urgent": BOOL}, {"verdict": VERDICT},
               {"verdict": VERDICT}, {"patch": HASH, "reason": SENTENCE},
               {"endpoint": HASH, "name": NAME, "group": NAME, "labels": LABELS}, {"endpoint": HASH},
               {"receipt": RECEIPT}, {"proposal": PROPOSAL}, {"proposal": HASH, "choice": CHOICE},
               {"evidence": EVIDENCE})
BODY = struct(version=U16, chain_id=HASH, signer=HASH, nonce=U64, expires_at_ms=U64, payload=PAYLOAD)
SIGNED = struct(body=BODY, signature=SIGNATURE)
# Records (section 5); None where nothing here asks for them
APPROVE, URGENT, REJECT, HOLD, RECALL = range(5)
SCOPE = enum({}, {"organisation": NAME}, {"product": PRODUCT}, {"rollout": HASH})
HALTS = set_(struct(scope=SCOPE, by=HASH, since=POSITION, reason=SENTENCE), 64)
PATCH = struct(
    product=PRODUCT, channel=NAME, version=VERSION, release=U64, class_=CLASS, severity=SEVERITY, organisation=NAME,
    publisher=HASH, published=POSITION,
    verdicts=list_(struct(key=HASH, organisation=NAME, decision=plain(5), position=POSITION), 64),
    approved=option(POSITION), recalled=option(POSITION), standing=plain(5))
MEMBERS = set_(NAME, 256)
KINDS = (0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 7, 8, 9)  # 5.2, by the number of the record
PROPOSED = struct(
    proposal=PROPOSAL, proposer=HASH, proposed=POSITION,
    ballots=set_(struct(organisation=NAME, key=HASH, choice=CHOICE), 256), standing=plain(4), settled=option(POSITION))
OFFENCE = struct(height=U64, round=U32, kind=plain(3))
CONVICTION = struct(organisation=NAME, offences=list_(struct(offence=OFFENCE, position=POSITION), 16))  # 5.21
COUNTED = list_(struct(proposal=HASH, key=HASH, until_ms=U64), 16)  # 5.22
RECORD = enum(None, None, {"is": RULES}, {"is": HALTS}, {"is": ORGANISATION}, None, None, {"is": PATCH}, None, None,
              {"is": MEMBERS}, {"is": PROPOSED}, {"is": CONVICTION}, {"is": COUNTED})
# Files (sections 6 and 8)
STATE_PROOF = struct(end=enum({"record": BYTES}, {}, {"key": HASH, "value_hash": HASH}),
                     siblings=list_(option(HASH), 256))
PROVEN = struct(transaction=SIGNED, index=U64, path=list_(HASH, 63))
EPOCHS = list_(struct(header=HEADER, certificate=CERTIFICATE, validators=VALIDATORS), 256)
BUNDLE = struct(
    version=U16, chain_id=HASH, epochs=EPOCHS,
    header=HEADER, certificate=CERTIFICATE, publish=PROVEN, approvals=list_(PROVEN, 64),
    state=struct(patch=STATE_PROOF, rules=STATE_PROOF, halts=STATE_PROOF,
                 organisations=list_(struct(name=NAME, proof=STATE_PROOF), 64)))
GENESIS = struct(version=U16, name=NAME, time_ms=U64, parameters=PARAMETERS,
                 organisations=set_(ORGANISATION, 256), validators=VALIDATORS, rules=RULES)


class Value(dict):
    """A decoded struct or enum variant: `number` is the variant's, `raw` its encoding."""


def decode(of, data, limit, word):
    """1.4: the one value whose encoding these bytes are."""
    check(len(data) <= limit, word, "size")
    value, end = read(of, data, 0, word)
    check(end == len(data), word, "trailing")
    return value


def read(of, data, at, word):
    kind = of[0]
    if kind in ("int", "raw"):
        piece = data[at:at + of[1]]
        check(len(piece) == of[1], word, "ends too early")
        return (int.from_bytes(piece, "little") if kind == "int" else piece), at + of[1]
    if kind in ("bool", "option"):
        flag, at = read(U8, data, at, word)
        check(flag <= 1, word, "neither 0 nor 1")
        return (bool(flag), at) if kind == "bool" else read(of[1], data, at, word) if flag else (None, at)
    if kind in ("struct", "enum"):
        value, begin, fields, number = Value(), at, of[1], -1
        if kind == "enum":
            number, at = read(U32, data, at, word)
            check(number < len(of[1]) and of[1][number] is not None, word, f"variant {number}")
            fields = of[1][number]
        for field, type_ in fields.items():
            value[field], at = read(type_, data, at, word)
        value.number, value.raw = number, data[begin:at]
        return value, at
    length, at = read(U64, data, at, word)
    if kind in ("list", "set"):
        check(length <= of[2], word, "too many elements")
        elements = []
        for _ in range(length):
            element, at = read(of[1], data, at, word)
            elements.append(element)
        check(kind == "list" or ascending([order(element) for element in elements]), word, "not ascending")
        return elements, at
    most = {"name": 64, "product": 128, "bytes": len(data)}.get(kind) or of[1]
    check(length <= most and at + length <= len(data), word, "too long")
    return (data[at:at + length] if kind == "bytes" else spelled(kind, data[at:at + length], word)), at + length


def spelled(kind, piece, word):
    """1.7 to 1.9."""
    try:
        value = piece.decode()
    except UnicodeDecodeError:
        raise Refused(word, "not UTF-8") from None
    if kind == "text":
        check(all(c == "\n" or not (c < " " or "\x7f" <= c <= "\x9f") for c in value), word, "control character")
        return value
    letters, parts = set("abcdefghijklmnopqrstuvwxyz0123456789"), value.split("/") if kind == "product" else [value]
    good = len(parts) == (2 if kind == "product" else 1) and all(
        1 <= len(part) <= 64 and part[0] in letters and set(part) <= letters | set("._+-:") for part in parts)
    check(good, word, f"not a {kind}")
    return value


def order(value):
    """1.6: what ascending compares."""
    if isinstance(value, Value):
        return (value.number, *map(order, value.values()))
    return tuple(map(order, value)) if isinstance(value, list) else (0,) if value is None else (1, value)


def ascending(values):
    return all(a < b for a, b in zip(values, values[1:]))


def H(context, data):
    return blake3(data, derive_key_context="countersign/v1/" + context).digest()


P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
SMALL_ORDER = (0, 1, P - 1, ORDER_8, P - ORDER_8)


def holds(key, message, signature):
    """1.17, as 1.18 says."""
    y = lambda point: int.from_bytes(point, "little") % 2**255
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    if s >= L or y(key) % P in SMALL_ORDER or y(r) % P in SMALL_ORDER or y(r) >= P:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def signed(tag, chain, body, key, signature):
    return holds(key, b"countersign/v1/" + tag + b"\0" + chain + body, signature)


def in_history(header, index, data, path):
    """4.4."""
    if index >= header["history_size"]:
        return False
    sha256 = lambda *parts: hashlib.sha256(b"".join(parts)).digest()
    fn, sn, r = index, header["history_size"] - 1, sha256(b"\0", data)
    for p in path:
        if sn == 0:
            return False
        if fn % 2 or fn == sn:
            r = sha256(b"\1", p, r)
            while fn % 2 == 0 and fn:
                fn, sn = fn // 2, sn // 2
        else:
            r = sha256(b"\1", r, p)
        fn, sn = fn // 2, sn // 2
    return sn == 0 and r == header["history_root"]


EMPTY = b"SPARSE_MERKLE_PLACEHOLDER_HASH__"


def state_key(number, fields):
    """5.3."""
    key = H("state-key", number.to_bytes(4, "little") + fields)
    return bytes([KINDS[number] * 16 + key[0] % 16]) + key[1:]


def in_state(root, number, fields, proof, what):
    """The record under this name (5.2), proven present (5.7, 6.11)."""
    key = state_key(number, fields)
    end, siblings, T = proof["end"], proof["siblings"], lambda *parts: H("state-tree", b"".join(parts))
    check(EMPTY not in siblings, "state-proof", f"{what}: an empty subtree is spelled out")
    if end.number == 0:
        r = T(b"JMT::LeafNode", key, T(end["record"]))
    elif end.number == 1:
        r = EMPTY
    else:
        differ = int.from_bytes(key, "big") ^ int.from_bytes(end["key"], "big")
        check(differ and 256 - differ.bit_length() >= len(siblings), "state-proof", f"{what}: leaf from elsewhere")
        r = T(b"JMT::LeafNode", end["key"], end["value_hash"])
    for j, s in enumerate(siblings):
        place, s = len(siblings) - 1 - j, EMPTY if s is None else s
        right = key[place // 8] >> (7 - place % 8) & 1
        r = T(b"JMT::IntrnalNode", s, r) if right else T(b"JMT::IntrnalNode", r, s)
    check(r == root, "state-proof", f"{what}: another root")
    check(end.number == 0, "state-proof", f"{what}: absent")
    record = decode(RECORD, end["record"], 65536, "proof-malformed")
    check(record.number == number, "state-proof", f"{what}: a record of another kind")
    return record["is"]


def validators_hash(validators):
    return H("validators-hash", len(validators).to_bytes(8, "little") + b"".join(v.raw for v in validators))


def is_set(validators):
    """3.12."""
    return 0 < len(validators) == len({v["key"] for v in validators})


def check_final(certificate, header, chain, validators, word):
    """3.8."""
    n, bitmap, signatures = len(validators), certificate["signers"], certificate["signatures"]
    check(certificate["height"] == header["height"], word, "another height")
    check(certificate["block"] == H("block-hash", header.raw), word, "another block")
    check(header["validators_hash"] == validators_hash(validators), word, "another validator set")
    places = [i for i in range(len(bitmap) * 8) if bitmap[i // 8] >> (i % 8) & 1]
    fits = len(bitmap) == (n + 7) // 8 and len(places) == len(signatures) and all(i < n for i in places)
    check(fits, word, "bitmap and signatures do not belong together")
    check(3 * len(places) > 2 * n, word, f"{len(places)} of {n} signed")
    body = certificate.raw[:12] + b"\1" + certificate["block"]  # 3.10: height and round; present; block
    for i, signature in zip(places, signatures):
        check(signed(b"precommit", chain, body, validators[i]["key"], signature), word, "signature")


VOTE_TAGS = (b"prevote", b"precommit")  # 9.2


def signers(certificate, validators):
    bitmap = certificate["signers"]
    return {k["key"] for i, k in enumerate(validators) if i // 8 < len(bitmap) and bitmap[i // 8] >> (i % 8) & 1}


def convicted(evidence, chain, word="evidence"):
    """9.5: the keys that evidence convicts."""
    one, other = evidence["one"], evidence["other"]
    place = lambda body: (body["height"], body["round"])
    if evidence.number == 0:
        check(one["voter"] == other["voter"] and one["kind"].number == other["kind"].number, word, "two voters or kinds")
        check(place(one["body"]) == place(other["body"]), word, "two rounds")
        check(one["body"]["block"] != other["body"]["block"], word, "the same vote")
        for vote in (one, other):
            holds = signed(VOTE_TAGS[vote["kind"].number], chain, vote["body"].raw, vote["voter"], vote["signature"])
            check(holds, word, "signature")
        return {one["voter"]}
    if evidence.number == 1:
        check(one["proposer"] == other["proposer"], word, "two proposers")
        check(place(one["body"]) == place(other["body"]) and one["body"].raw != other["body"].raw, word, "no conflict")
        for said in (one, other):
            check(signed(b"proposal", chain, said["body"].raw, said["proposer"], said["signature"]), word, "signature")
        return {one["proposer"]}
    validators, (first, second) = evidence["validators"], (one["certificate"], other["certificate"])
    check(is_set(validators), word, "no set")
    check(place(first) == place(second) and first["block"] != second["block"], word, "no conflict")
    for head in (one, other):
        check_final(head["certificate"], head["header"], chain, validators, word)
    return signers(first, validators) & signers(second, validators)


def check_proven(proven, header, chain):
    """6.9."""
    transaction, body, what = proven["transaction"], proven["transaction"]["body"], f"index {proven['index']}"
    check(in_history(header, proven["index"], transaction.raw, proven["path"]), "inclusion", what)
    known = len(transaction.raw) <= 65536 and body["version"] == 1 and body["chain_id"] == chain
    check(known and signed(b"transaction", chain, body.raw, body["signer"], transaction["signature"]), "signature", what)
    if body["payload"].number == ACCUSE:
        convicted(body["payload"]["evidence"], chain, "signature")


def rule_for(rules, manifest):
    """5.17, 5.18."""
    fits = lambda values, value: not values or value in values
    numbers = lambda values: [value.number for value in values]
    return next((rule for rule in rules if fits(rule["namespaces"], manifest["product"].split("/")[0])
                 and fits(numbers(rule["classes"]), manifest["class_"].number)
                 and fits(numbers(rule["severities"]), manifest["severity"].number)), None)


def standing(rule, vendor, opinions):
    """5.19, 5.20; opinions are (key, organisation, decision)."""
    opinions = [o for o in opinions if o[1] != vendor and (not rule["approvers"] or o[1] in rule["approvers"])]
    keys = lambda *of: len({key for key, _, decision in opinions if decision in of})
    organisations = lambda *of: len({organisation for _, organisation, decision in opinions if decision in of})
    reached = lambda q, *of: keys(*of) >= q["approvals"] and organisations(*of) >= q["organisations"]
    if rule["recalls"] and organisations(RECALL) >= rule["recalls"]:
        return "recalled"
    if rule["rejections"] and organisations(REJECT) >= rule["rejections"]:
        return "rejected"
    if organisations(HOLD):
        return "held"
    urgently = rule["emergency"] and reached(rule["emergency"], URGENT)
    return "approved" if urgently or reached(rule["quorum"], APPROVE, URGENT) else "approval-rule"


def trust_root(genesis):
    """Section 8, as far as a verifier of proofs needs it: chain id and first validator set."""
    root = decode(GENESIS, genesis, 1048576, "genesis")
    check(root["version"] == 1 and is_set(root["validators"]), "genesis")
    return H("chain-id", genesis), root["validators"]


def verify(proof, genesis, now_ms, max_age_ms=86400000, floor_ms=0, height_seen=0, change_seen=None):
    """Section 6: manifest, rule and header, or `Refused` with the first check that fails."""
    chain, validators = trust_root(genesis)
    check(len(proof) <= 1048576, "proof-size")  # 6.4
    bundle = decode(BUNDLE, proof, 1048576, "proof-malformed")  # 6.5
    header, epochs, state = bundle["header"], bundle["epochs"], bundle["state"]
    versions = [bundle["version"], header["version"], *(epoch["header"]["version"] for epoch in epochs)]
    in_order = ascending([a["index"] for a in bundle["approvals"]]) and ascending([o["name"] for o in state["organisations"]])
    check(set(versions) == {1} and in_order, "proof-malformed", "version or order")
    check(bundle["chain_id"] == header["chain_id"] == chain, "chain-id")  # 6.6
    before, word = 0, "epoch-chain"
    for epoch in epochs:
        head = epoch["header"]
        check(head["chain_id"] == chain and head["height"] > before, word, "chain or height")
        check(head["validators_hash"] != head["next_validators_hash"], word, "no change")
        check_final(epoch["certificate"], head, chain, validators, word)
        validators, before = epoch["validators"], head["height"]
        check(is_set(validators) and validators_hash(validators) == head["next_validators_hash"], word, "another set")
    check(header["height"] > before, word, "height")
    changes = {(epoch["header"]["height"], epoch["header"]["next_validators_hash"]) for epoch in epochs}
    is_later = change_seen is not None and header["height"] > change_seen[0]
    check(not is_later or tuple(change_seen) in changes, word, "past a change that was seen")
    check_final(bundle["certificate"], header, chain, validators, "certificate")  # 6.7
    now, time_ms = max(now_ms, floor_ms), header["time_ms"]  # 6.8
    check(header["height"] >= height_seen, "height-below-seen")
    check(time_ms - now <= 2000, "clock-behind", f"{time_ms - now} ms ahead of this clock")
    check(now - time_ms <= max_age_ms, "stale", f"{now - time_ms} ms old")
    for proven in [bundle["publish"], *bundle["approvals"]]:
        check_proven(proven, header, chain)
    publish, root = bundle["publish"]["transaction"]["body"], header["state_root"]
    check(publish["payload"].number == PUBLISH, "authority", "not a publish")  # 6.10
    manifest = publish["payload"]["manifest"]
    patch_id, namespace = H("patch-id", manifest.raw), manifest["product"].split("/")[0]
    patch = in_state(root, 7, patch_id, state["patch"], "patch")  # 6.11
    rules = in_state(root, 2, b"", state["rules"], "rules")
    halts = in_state(root, 3, b"", state["halts"], "halts")
    named = lambda name: len(name).to_bytes(8, "little") + name.encode()
    members = {o["name"]: in_state(root, 4, named(o["name"]), o["proof"], o["name"]) for o in state["organisations"]}
    rule = rule_for(rules, manifest)  # 6.12
    check(rule, "approval-rule", "no rule is for this patch")
    vendor = patch["organisation"]  # 6.13, 6.14
    may = lambda key, of, role: of in members and any(
        (m["key"], m["role"].number) == (key, role) and m["status"].number != REVOKED for m in members[of]["keys"])
    check(patch["published"]["index"] == bundle["publish"]["index"], "authority", "published elsewhere")
    check(patch["publisher"] == publish["signer"] and may(publish["signer"], vendor, PUBLISHER), "authority", "publisher")
    check(namespace in members[vendor]["namespaces"], "authority", "namespace")
    opinions = []
    for proven in bundle["approvals"]:
        signer, payload = proven["transaction"]["body"]["signer"], proven["transaction"]["body"]["payload"]
        approves = payload.number == APPROVAL and payload["verdict"]["patch"] == patch_id
        check(approves, "authority", "not an approval of this patch")
        wanted = (signer, URGENT if payload["urgent"] else APPROVE, proven["index"])
        of = next((v["organisation"] for v in patch["verdicts"]
                   if (v["key"], v["decision"].number, v["position"]["index"]) == wanted), None)
        check(of is not None and may(signer, of, APPROVER), "authority", "no such verdict, or no approver's key")
        opinions.append((signer, of, wanted[1]))
    revoked = lambda v: v["organisation"] in members and any(
        (m["key"], m["status"].number) == (v["key"], REVOKED) for m in members[v["organisation"]]["keys"])
    opinions += [(v["key"], v["organisation"], v["decision"].number) for v in patch["verdicts"]
                 if v["decision"].number not in (APPROVE, URGENT) and not revoked(v)]  # 6.15
    check(patch["recalled"] is None, "recalled")  # 6.16
    stands = standing(rule, vendor, opinions)
    check(stands == "approved", stands)
    for halt in halts:  # 6.17
        scope = halt["scope"]
        stops = scope.number == 0 or vendor == scope.get("organisation") or manifest["product"] == scope.get("product")
        check(not stops, "halted", halt["reason"])
    return manifest, rule, header


def main():
    parser = argparse.ArgumentParser(description="Verifies a Countersign proof file offline.")
    parser.add_argument("proof", type=argparse.FileType("rb"))
    parser.add_argument("genesis", type=argparse.FileType("rb"))
    parser.add_argument("--at", type=int, metavar="MS", default=time.time_ns() // 10**6, help="instead of this clock")
    parser.add_argument("--max-age", type=int, metavar="MS", default=86400000, help="how old the header may be")
    arguments = parser.parse_args()
    proof, genesis = arguments.proof.read(1048577), arguments.genesis.read(1048577)
    try:
        trust_root(genesis)
    except Refused as refused:
        parser.error(f"not a genesis file: {refused}")
    try:
        manifest, rule, header = verify(proof, genesis, arguments.at, arguments.max_age)
    except Refused as refused:
        print(f"refused: {refused}")
        return 1
    patch = f"{manifest['product']} {manifest['version']} (release {manifest['release']})"
    print(f"proven: {patch}, patch {H('patch-id', manifest.raw).hex()}, rule {rule['name']}, height {header['height']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

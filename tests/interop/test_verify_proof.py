#!/usr/bin/env python3
"""Asks the verifier written from docs/protocol.md what docs/vectors/ and, when it is there, out/demo/ promise.

Run it with the packages of requirements.txt installed. The last line is `N passed, N failed`."""
import copy, hashlib, json, re, subprocess, sys, unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import verify_evidence as e
import verify_proof as v
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ROOT = HERE.parent.parent
VECTORS, DEMO = ROOT / "docs" / "vectors", ROOT / "out" / "demo"
INDEX = json.loads((VECTORS / "index.json").read_text())
GENESIS = (VECTORS / "genesis.bin").read_bytes()
CHAIN = v.trust_root(GENESIS)[0]


KIND_OF_TRANSACTION = ["publish", "approve", "reject", "hold", "recall", "enroll", "retire", "receipt", "propose",
                       "ballot", "accuse"]  # 2.3


def vector(entry):
    return (VECTORS / entry["file"]).read_bytes()


def verdict(proof, genesis, at_ms):
    """The word of the check that refuses; empty when the proof holds."""
    try:
        v.verify(proof, genesis, at_ms)
        return ""
    except v.Refused as refused:
        return refused.check


def proven_files():
    """Name, proof, genesis and clock of every file that must be accepted."""
    for entry in INDEX["proofs"]:
        if entry["verdict"] == "proven":
            yield entry["file"], vector(entry), GENESIS, entry["at_ms"]
    trust = DEMO / "genesis.trust"
    for file in sorted(DEMO.glob("*.proof")) if trust.exists() else []:
        if file.name != "altered.proof":
            proof = file.read_bytes()
            header = v.decode(v.BUNDLE, proof, len(proof), "demo")["header"]
            yield f"out/demo/{file.name}", proof, trust.read_bytes(), header["time_ms"]


# ---- an encoder, so that decoded structures can be altered and written again

def encode(of, value):
    kind = of[0]
    if kind == "int":
        return value.to_bytes(of[1], "little")
    if kind == "raw":
        return value
    if kind == "bool":
        return bytes([value])
    if kind == "option":
        return b"\0" if value is None else b"\1" + encode(of[1], value)
    if kind == "struct":
        return b"".join(encode(type_, value[field]) for field, type_ in of[1].items())
    if kind == "enum":
        fields = of[1][value.number]
        return value.number.to_bytes(4, "little") + b"".join(encode(t, value[f]) for f, t in fields.items())
    if kind in ("list", "set"):
        return len(value).to_bytes(8, "little") + b"".join(encode(of[1], element) for element in value)
    piece = value if kind == "bytes" else value.encode()
    return len(piece).to_bytes(8, "little") + piece


def some(of):
    """A value of this type that was not there before."""
    kind = of[0]
    if kind in ("struct", "enum"):
        value = v.Value()
        value.number = 0 if kind == "enum" else -1
        for field, type_ in (of[1][0] if kind == "enum" else of[1]).items():
            value[field] = some(type_)
        return value
    return {"int": 1, "raw": v.EMPTY[:of[1]] if kind == "raw" else b"", "bool": True, "option": None, "list": [], "set": [],
            "text": "x", "name": "x", "product": "x/x", "bytes": b"x"}[kind]


def with_(value, field, other):
    changed = copy.copy(value)
    changed.number = value.number
    changed[field] = other
    return changed


def alterations(of, value, path):
    """Every single change of a decoded value: (where and what, the changed value)."""
    kind = of[0]
    if kind == "int":
        top = 2 ** (8 * of[1]) - 1
        for other in {value ^ 1, (value + 1) & top, 0, top} - {value}:
            yield f"{path} = {other}", other
    elif kind == "raw":
        for place in (0, len(value) // 2, len(value) - 1):
            yield f"{path}, byte {place}", value[:place] + bytes([value[place] ^ 1]) + value[place + 1:]
        yield f"{path} = 0", bytes(len(value))
    elif kind == "bool":
        yield f"{path} = {not value}", not value
    elif kind == "option":
        if value is None:
            yield f"{path} appears", some(of[1])
        else:
            yield f"{path} is left out", None
            yield from alterations(of[1], value, path)
    elif kind == "struct":
        for field, type_ in of[1].items():
            for where, other in alterations(type_, value[field], f"{path}.{field}"):
                yield where, with_(value, field, other)
    elif kind == "enum":
        for number, fields in enumerate(of[1]):
            if number != value.number and fields is not None:
                other = v.Value({field: some(type_) for field, type_ in fields.items()})
                other.number = number
                yield f"{path} becomes variant {number}", other
        for field, type_ in of[1][value.number].items():
            for where, other in alterations(type_, value[field], f"{path}.{field}"):
                yield where, with_(value, field, other)
    elif kind in ("list", "set"):
        for i, element in enumerate(value):
            yield f"{path}[{i}] removed", value[:i] + value[i + 1:]
            yield f"{path}[{i}] duplicated", value[:i] + [element] + value[i:]
            if i + 1 < len(value) and element != value[i + 1]:
                yield f"{path}[{i}] and the next swapped", value[:i] + [value[i + 1], element] + value[i + 2:]
            for where, other in alterations(of[1], element, f"{path}[{i}]"):
                yield where, value[:i] + [other] + value[i + 1:]
        yield f"{path} grows", value + [some(of[1])]
    elif kind == "bytes":
        yield f"{path} grows", value + b"\0"
        yield f"{path} shrinks", value[:-1]
        # Bytes in a proof file are a record: every change inside of it, too.
        record = v.decode(v.RECORD, value, 65536, "record")
        for where, other in alterations(v.RECORD, record, path):
            yield where, encode(v.RECORD, other)
    else:
        yield f"{path} grows", value + "x"
        yield f"{path} = x", "x/x" if kind == "product" else "x"


def must_still_hold(where, bundle):
    """The one change that takes nothing away: approvals beyond what the rule needs need not be shown (6.20)."""
    return where.startswith("bundle.approvals[") and where.endswith("removed") and len(bundle["approvals"]) > 1


class Vectors(unittest.TestCase):
    def test_every_proof_of_the_index_is_judged_as_it_says(self):
        misses = [miss for miss in INDEX["near_misses"] if miss["kind"] == "proof"]
        self.assertGreater(len(misses), 30)
        for entry in INDEX["proofs"] + misses:
            with self.subTest(entry["file"], about=entry["about"]):
                self.assertEqual(verdict(vector(entry), GENESIS, entry["at_ms"]), entry["check"])

    def test_the_last_reason_of_the_document_is_one_and_the_next_is_none(self):
        document = (ROOT / "docs" / "protocol.md").read_text()
        listed = document.split("**2.6**")[1].split("\n### ")[0]
        last = max(int(number) for number in re.findall(r"\| (\d+) `", listed))
        self.assertGreater(last, 30)
        first = v.Value()
        first.number = 0
        receipt = dict(patch=bytes(32), rollout=None, attempt=1, from_version="1", to_version="2", outcome=first,
                       reason=dict(code=first, detail=""), health=first, log_digest=bytes(32), ended_at_ms=1)
        data = bytearray(encode(v.RECEIPT, receipt))
        # The code stands before the empty detail, the health, the digest and the time.
        place = len(data) - 8 - 32 - 4 - 8 - 4
        data[place:place + 4] = last.to_bytes(4, "little")
        self.assertEqual(v.decode(v.RECEIPT, bytes(data), len(data), "receipt")["reason"]["code"].number, last)
        data[place:place + 4] = (last + 1).to_bytes(4, "little")
        self.assertRaises(v.Refused, v.decode, v.RECEIPT, bytes(data), len(data), "receipt")

    def test_every_signature_is_judged_as_the_index_says(self):
        for case in json.loads((VECTORS / "signatures.json").read_text()):
            key, message, signature = (bytes.fromhex(case[part]) for part in ("key", "message", "signature"))
            with self.subTest(case["about"]):
                self.assertEqual(v.holds(key, message, signature), case["accepted"])

    def test_transactions_have_the_ids_and_signatures_the_document_says(self):
        def judge(data):
            """2.8."""
            try:
                transaction = v.decode(v.SIGNED, data, 65536, "malformed")
            except v.Refused as refused:
                detail = str(refused).split(": ", 1)[1]
                return (detail if detail in ("size", "trailing") else "malformed"), None
            body = transaction["body"]
            if body["version"] != 1:
                return "version", None
            if body["chain_id"] != CHAIN:
                return "chain-id", None
            if not v.signed(b"transaction", CHAIN, body.raw, body["signer"], transaction["signature"]):
                return "signature", None
            return "", body

        for entry in INDEX["transactions"]:
            with self.subTest(entry["file"]):
                word, body = judge(vector(entry))
                self.assertEqual(word, "")
                self.assertEqual(v.H("transaction-id", body.raw).hex(), entry["id"])
                self.assertEqual(body["signer"].hex(), entry["signer"])
                self.assertEqual(body["payload"].number, KIND_OF_TRANSACTION.index(entry["kind"]))
                if entry["kind"] == "publish":
                    self.assertEqual(v.H("patch-id", body["payload"]["manifest"].raw).hex(), entry["patch"])
        for entry in INDEX["near_misses"]:
            if entry["kind"] == "transaction":
                with self.subTest(entry["file"], about=entry["about"]):
                    self.assertEqual(judge(vector(entry))[0], entry["check"])

    def test_what_is_decoded_is_encoded_to_the_same_bytes(self):
        for of, section in ((v.BUNDLE, "proofs"), (v.SIGNED, "transactions"), (v.GENESIS, "genesis"), (v.RECORD, "records")):
            for entry in INDEX[section]:
                if section == "records" and v.RECORD[1][vector(entry)[0]] is None:
                    continue  # a record this verifier never asks for
                with self.subTest(entry["file"]):
                    self.assertEqual(encode(of, v.decode(of, vector(entry), 2**20, "malformed")), vector(entry))

    def test_hashes_are_those_of_the_index(self):
        self.assertEqual(CHAIN.hex(), INDEX["genesis"][0]["chain_id"])
        header = v.decode(v.HEADER, bytes.fromhex(INDEX["genesis"][0]["header"]), 65536, "header")
        self.assertEqual(v.H("block-hash", header.raw).hex(), INDEX["genesis"][0]["header_hash"])
        self.assertEqual(header["tx_root"], v.H("block-empty", b""))
        validators = v.decode(v.VALIDATORS, vector(INDEX["validators"][0]), 65536, "validators")
        self.assertEqual(v.validators_hash(validators).hex(), INDEX["validators"][0]["hash"])
        for vote in INDEX["votes"]:
            signer, signature = bytes.fromhex(vote["signer"]), bytes.fromhex(vote["signature"])
            tag, body = vote["tag"].removeprefix("countersign/v1/").encode(), bytes.fromhex(vote["body"])
            self.assertTrue(v.signed(tag, CHAIN, body, signer, signature))

    def test_records_stand_under_the_keys_the_document_says(self):
        numbers = set()
        for entry in INDEX["records"]:
            name = bytes.fromhex(entry["key"])
            with self.subTest(entry["file"]):
                self.assertEqual(v.state_key(name[0], name[4:]).hex(), entry["state_key"])
                self.assertEqual(vector(entry)[:4], name[:4], "a record has the number of its name")
            numbers.add(name[0])
        self.assertEqual(numbers, set(range(14)))

    def test_governance_is_read_as_the_document_lays_it_out(self):
        bodies = lambda kind: [v.decode(v.SIGNED, vector(entry), 65536, "malformed")["body"]
                               for entry in INDEX["transactions"] if entry["kind"] == kind]
        proposes, ballots = bodies("propose"), bodies("ballot")
        ids = {v.H("transaction-id", body.raw): body for body in proposes}
        changes = [change for body in proposes for change in body["payload"]["proposal"]["changes"]]
        self.assertEqual({change.number for change in changes}, set(range(11)), "every kind of change (2.22)")
        self.assertTrue(ballots)
        for body in ballots:
            self.assertIn(body["payload"]["proposal"], ids)

        genesis, records = v.decode(v.GENESIS, GENESIS, 2**20, "genesis"), {}
        for entry in INDEX["records"]:
            number = bytes.fromhex(entry["key"])[0]
            if number in (10, 11, 13):
                record = v.decode(v.RECORD, vector(entry), 65536, "malformed")["is"]
                records.setdefault(number, []).append((bytes.fromhex(entry["key"])[4:], record))
        names = [organisation["name"] for organisation in genesis["organisations"]]
        self.assertEqual(records[10], [(b"", names)], "the members of genesis (8.4)")
        governors = {(organisation["name"], key["key"]) for organisation in genesis["organisations"]
                     for key in organisation["keys"] if key["role"].number == 5}  # 5.13
        counted = [proposal for _, proposals in records[13] for proposal in proposals]
        self.assertTrue(counted)
        for proposal in counted:
            self.assertEqual(proposal["key"], ids[proposal["proposal"]]["signer"])
        for name, record in records[11]:
            proposed = ids[name]
            self.assertEqual(record["proposal"], proposed["payload"]["proposal"])
            self.assertEqual(record["proposer"], proposed["signer"])
            cast = [(ballot["organisation"], ballot["key"]) for ballot in record["ballots"]]
            self.assertLessEqual(set(cast), governors, "each ballot shows a governor's key of its organisation")
            proposing = {name for name, key in governors if key == record["proposer"]}
            self.assertLessEqual(proposing, {name for name, _ in cast}, "the ballot a proposal begins with (2.23)")
            self.assertEqual(record["standing"].number == 0, record["settled"] is None)  # 2.26

    def test_evidence_names_whom_the_index_says_and_near_misses_nobody(self):
        file = lambda evidence: b"\1\0" + CHAIN + b"\1\0\0\0" + evidence
        for entry in INDEX["evidence"]:
            with self.subTest(entry["file"]):
                culprits = e.judge(file(vector(entry)), GENESIS)
                self.assertEqual(sorted(key.hex() for key in culprits), sorted(entry["culprits"]))
        for entry in INDEX["forks"]:
            with self.subTest(entry["file"]):
                if entry["file"].endswith(".evidence"):
                    culprits = e.judge(vector(entry), GENESIS)
                    self.assertEqual(sorted(key.hex() for key in culprits), entry["culprits"])
        misses = [miss for miss in INDEX["near_misses"] if miss["kind"] == "evidence"]
        self.assertGreater(len(misses), 10)
        for entry in misses:
            with self.subTest(entry["file"], about=entry["about"]):
                with self.assertRaises(v.Refused) as refused:
                    e.judge(vector(entry), GENESIS)
                words = str(refused.exception).split(": ")
                self.assertIn(entry["check"], (words[0], words[-1]), "1.4 is told apart by its detail")

    def test_the_version_of_every_epoch_is_looked_at_before_any_of_them_is_followed(self):
        file = next(vector(entry) for entry in INDEX["forks"] if entry["file"] == "forks/after-a-change.evidence")
        fork = v.decode(e.FILE, file, 2**20, "malformed")
        link = fork["exhibit"]["epochs"][0]
        with_header = lambda field, value: with_(link, "header", with_(link["header"], field, value))
        stranger, later = with_header("chain_id", bytes(32)), with_header("version", 2)
        for epochs, word in (([link], None), ([stranger], "epoch-chain"), ([stranger, later], "version")):
            data = encode(e.FILE, with_(fork, "exhibit", with_(fork["exhibit"], "epochs", epochs)))
            with self.subTest(word):
                if word is None:
                    self.assertEqual(data, file)
                else:
                    self.assertRaisesRegex(v.Refused, f"^{word}", e.judge, data, GENESIS)

    def test_an_accusation_whose_evidence_proves_nothing_is_no_transaction(self):
        seed = next(bytes.fromhex(key["seed"]) for key in INDEX["keys"] if key["name"] == "host-1")
        key = Ed25519PrivateKey.from_private_bytes(seed)
        for entry in INDEX["transactions"]:
            if entry["kind"] != "accuse":
                continue
            body = v.decode(v.SIGNED, vector(entry), 65536, "malformed")["body"]
            evidence = body["payload"]["evidence"]
            for convicts, shown in ((True, evidence), (False, with_(evidence, "other", evidence["one"]))):
                said = with_(body, "payload", with_(body["payload"], "evidence", shown))
                data = encode(v.BODY, with_(said, "signer", key.public_key().public_bytes_raw()))
                data += key.sign(b"countersign/v1/transaction\0" + CHAIN + data)
                transaction = v.decode(v.SIGNED, data, 65536, "malformed")
                header = {"history_root": hashlib.sha256(b"\0" + data).digest(), "history_size": 1}
                proven = {"transaction": transaction, "index": 0, "path": []}
                with self.subTest(entry["file"], convicts=convicts):
                    if convicts:
                        v.check_proven(proven, header, CHAIN)
                    else:
                        self.assertRaisesRegex(v.Refused, "^signature", v.check_proven, proven, header, CHAIN)

    def test_keys_that_are_not_known_to_validate_are_not_named(self):
        validating, stranger = e.judge(b"\1\0" + CHAIN + b"\1\0\0\0" + vector(INDEX["evidence"][0]), GENESIS), b"\7" * 32
        self.assertEqual(e.known(validating | {stranger}, GENESIS), validating)
        root = v.decode(v.GENESIS, GENESIS, 2**20, "genesis")
        others = {m["key"] for member in root["organisations"] for m in member["keys"] if m["role"].number != e.VALIDATOR}
        for keys in [{stranger}, *({key} for key in others)]:
            with self.assertRaisesRegex(v.Refused, "^unknown-key"):
                e.known(keys, GENESIS)

    def test_governance_that_is_laid_out_otherwise_is_malformed(self):
        def malformed(of, data, why):
            with self.assertRaisesRegex(v.Refused, f"^malformed: {why}$"):
                v.decode(of, data, 65536, "malformed")

        for of, number in ((v.PAYLOAD, 11), (v.CHANGE, 11), (v.CHOICE, 2), (v.RECORD, 14)):
            malformed(of, number.to_bytes(4, "little") + bytes(4096), f"variant {number}")
        for of, most in ((v.PROPOSAL, 64), (v.MEMBERS, 256), (v.COUNTED, 16), (v.PROPOSED[1]["ballots"], 256)):
            malformed(of, (most + 1).to_bytes(8, "little") + bytes(60000), "too many elements")
        for entry in INDEX["records"]:
            data, number = vector(entry), bytes.fromhex(entry["key"])[0]
            if number not in (10, 11):
                continue
            record = v.decode(v.RECORD, data, 65536, "malformed")
            elements = record["is"] if number == 10 else record["is"]["ballots"]
            self.assertGreater(len(elements), 1)
            for others in (elements[::-1], elements[:1] + elements):
                other = others if number == 10 else with_(record["is"], "ballots", others)
                malformed(v.RECORD, encode(v.RECORD, with_(record, "is", other)), "not ascending")
            for end in range(len(data)):
                with self.assertRaises(v.Refused):
                    v.decode(v.RECORD, data[:end], 65536, "malformed")

    def test_state_proofs_show_presence_and_both_kinds_of_absence(self):
        for entry in INDEX["state_proofs"]:
            name, root = bytes.fromhex(entry["key"]), bytes.fromhex(entry["root"])
            proof = v.decode(v.STATE_PROOF, vector(entry), 2**20, "state proof")
            with self.subTest(entry["kind"]):
                if entry["kind"] == "present":
                    record = v.in_state(root, name[0], name[4:], proof, "it")
                    self.assertEqual(record.raw, bytes.fromhex(entry["record"])[4:])
                else:
                    with self.assertRaisesRegex(v.Refused, "it: absent"):
                        v.in_state(root, name[0], name[4:], proof, "it")
                with self.assertRaisesRegex(v.Refused, "it: another root"):
                    v.in_state(bytes(32), name[0], name[4:], proof, "it")

    def test_history_paths_lead_to_the_root_and_altered_ones_do_not(self):
        for entry in INDEX["history_paths"]:
            header = {"history_root": bytes.fromhex(entry["root"]), "history_size": entry["size"]}
            leaf, path = bytes.fromhex(entry["leaf"]), [bytes.fromhex(hash_) for hash_ in entry["path"]]
            self.assertTrue(v.in_history(header, entry["index"], leaf, path))
            for index in set(range(9)) - {entry["index"]}:
                self.assertFalse(v.in_history(header, index, leaf, path))
            self.assertFalse(v.in_history(header, entry["index"], leaf + b"x", path))
            self.assertFalse(v.in_history(header, entry["index"], leaf, path[1:]))
            self.assertFalse(v.in_history(header, entry["index"], leaf, path + path[:1]))


class Alterations(unittest.TestCase):
    def test_files_that_must_be_accepted_are(self):
        for file, proof, genesis, at_ms in proven_files():
            with self.subTest(file):
                self.assertEqual(verdict(proof, genesis, at_ms), "")
        altered, honest = DEMO / "altered.proof", DEMO / "redis.proof"
        if altered.exists() and honest.exists():
            time_ms = v.decode(v.BUNDLE, honest.read_bytes(), 2**20, "demo")["header"]["time_ms"]
            self.assertNotEqual(verdict(altered.read_bytes(), (DEMO / "genesis.trust").read_bytes(), time_ms), "")

    def test_every_single_change_of_a_structure_is_refused(self):
        for file, proof, genesis, at_ms in proven_files():
            bundle, changes, checks = v.decode(v.BUNDLE, proof, len(proof), "proof"), 0, set()
            for where, changed in alterations(v.BUNDLE, bundle, "bundle"):
                data = encode(v.BUNDLE, changed)
                word = verdict(data, genesis, at_ms)
                if data == proof or (word == "" and must_still_hold(where, bundle)):
                    continue
                self.assertNotEqual(word, "", f"{file}: {where} is believed")
                changes += 1
                checks.add(word)
            self.assertGreater(changes, 1000, file)
            print(f"{file}: {changes} changes, refused as {', '.join(sorted(checks))}")

    def test_every_flipped_byte_is_refused(self):
        for file, proof, genesis, at_ms in proven_files():
            for place in range(len(proof)):
                flipped = bytearray(proof)
                flipped[place] ^= 0x11
                self.assertNotEqual(verdict(bytes(flipped), genesis, at_ms), "", f"{file}: byte {place}")
            print(f"{file}: {len(proof)} bytes flipped")

    def test_another_genesis_file_is_another_ledger(self):
        _, proof, genesis, at_ms = next(proven_files())
        for place in range(0, len(genesis), 3):
            flipped = bytearray(genesis)
            flipped[place] ^= 1
            self.assertIn(verdict(proof, bytes(flipped), at_ms), ("chain-id", "genesis"), f"byte {place}")

    def test_time_and_height_are_judged_as_the_document_says(self):
        entry = INDEX["proofs"][0]
        proof, time_ms, height = vector(entry), entry["at_ms"], entry["height"]
        for now, options, word in [
            (time_ms, {}, ""), (time_ms + 86400000, {}, ""), (time_ms + 86400001, {}, "stale"),
            (time_ms - 2000, {}, ""), (time_ms - 2001, {}, "clock-behind"), (0, {"floor_ms": time_ms}, ""),
            (time_ms + 1, {"max_age_ms": 0}, "stale"), (time_ms, {"height_seen": height}, ""),
            (time_ms, {"change_seen": (height, bytes(32))}, ""), (time_ms, {"change_seen": (height - 1, bytes(32))}, "epoch-chain"),
            (time_ms, {"height_seen": height + 1}, "height-below-seen"), (0, {"height_seen": 2**64}, "height-below-seen"),
        ]:
            with self.subTest(now=now, **options):
                try:
                    v.verify(proof, GENESIS, now, **options)
                    self.assertEqual(word, "")
                except v.Refused as refused:
                    self.assertEqual(refused.check, word)


class CommandLine(unittest.TestCase):
    def run_it(self, *arguments):
        command = [sys.executable, str(HERE / "verify_proof.py"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout

    def test_exit_status_and_words(self):
        proofs = {Path(entry["file"]).stem: entry for entry in INDEX["proofs"]}
        for name, status, begins in [("approved", 0, "proven: acme/redis"), ("pending", 1, "refused: approval-rule"),
                                     ("recalled", 1, "refused: recalled"), ("halted", 1, "refused: halted")]:
            entry = proofs[name]
            code, said = self.run_it(VECTORS / entry["file"], VECTORS / "genesis.bin", "--at", entry["at_ms"])
            self.assertEqual((code, said[:len(begins)]), (status, begins))
        approved = VECTORS / proofs["approved"]["file"]
        self.assertEqual(self.run_it(approved, VECTORS / "genesis.bin")[1][:14], "refused: stale")
        code, _ = self.run_it(approved, VECTORS / "genesis.bin", "--max-age", 2**62)
        self.assertEqual(code, 0)
        self.assertEqual(self.run_it(VECTORS / "genesis.bin", VECTORS / "genesis.bin")[0], 1)
        for usage in [(), (approved,), (approved, approved), (approved, VECTORS / "nothing-here"),
                      (approved, VECTORS / "genesis.bin", "--at", "soon")]:
            self.assertEqual(self.run_it(*usage)[0], 2, usage)


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=2).result
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    sys.exit(failed > 0)

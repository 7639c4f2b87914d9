"""The tamper matrix: whatever is not exactly what was signed is refused, each kind by exactly its codes.

A row: name, what is done, codes. `tampering.py` does it; `benchmarks/manifest.py` counts the kinds.
"""
# One row a line, so that it can be read as the table that it is.
# ruff: noqa: E501

from __future__ import annotations

import base64
import os
import shutil
import stat
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import tampering
from cryptography.hazmat.primitives.asymmetric import ec
from derivatives import TODAY
from hypothesis import given, settings
from hypothesis import strategies as st
from tampering import (
    ACCENTED,
    ADAPTER,
    CONFIG,
    COUNTERSIGNATURE,
    EVIDENCE,
    Case,
    Kind,
    Originals,
    adopted,
    append,
    approved,
    both,
    broken_key,
    countersigned_other,
    cut,
    denied,
    downgraded,
    exchanged,
    exchanged_file,
    flip,
    followed,
    from_older,
    hint,
    key_listed,
    link,
    listed,
    meanwhile,
    model_signed,
    move,
    nested,
    on,
    other_half,
    own_parent,
    padded,
    parent_forgotten,
    payload,
    powers,
    remove,
    renamed_folder,
    resigned,
    resigned_file,
    resigned_text,
    reversed_keys,
    revoked,
    rewritten,
    rows,
    said,
    signature,
    spare_bits,
    special,
    subject_of,
    swap,
    text,
    tightened,
    under,
    unknown_key,
    write,
)

from coherence_ft.authority.keys import Signer, load_private
from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.codes import catalogue
from coherence_ft.documents.tenant import Power
from coherence_ft.manifest.files import BUNDLE, MANIFEST, MODEL_SIGNATURE, countersignature
from coherence_ft.manifest.lineage import manifest_name
from coherence_ft.manifest.statement import CONSTRAINTS_FILE, RECIPE_FILE

# fmt: off
BYTES = rows(
    "full",
    ("a bit of the weights", flip(ADAPTER, 77), "CFT614 CFT626"),
    ("a bit of the configuration", flip(CONFIG, 20), "CFT614 CFT626"),
    ("a bit of the tokenizer", flip("tokenizer/tokenizer.json"), "CFT614 CFT626"),
    ("a bit of the recipe", flip(RECIPE_FILE, 32), "CFT614 CFT626 CFT640"),
    ("a bit of the constraints", flip(CONSTRAINTS_FILE, 8 * 30), "CFT604 CFT614 CFT626"),
    ("a bit of the calibrator", flip("coherence/calibrator.json", 8 * 45), "CFT614 CFT626 CFT640"),
    ("a bit of the evidence", flip(EVIDENCE), "CFT614 CFT626"),
    ("a bit of an ancestor", flip("PARENT", 8 * 700), "CFT614 CFT626 CFT691 CFT692"),
    ("a bit of an ancestor's bundle", flip("PARENT BUNDLE", 8 * 30), "CFT614 CFT626 CFT692"),
    ("a bit of the manifest", text(MANIFEST, '"seed":7', '"seed":6'), "CFT608 CFT626"),
    ("a bit of the bundle", flip(BUNDLE, 8 * 30), "CFT608 CFT626 CFT630"),
    ("a bit of the countersignature", flip(COUNTERSIGNATURE, 8 * 30), "CFT608 CFT626"),
    ("a bit of model.sig", flip(MODEL_SIGNATURE, 8 * 30), "CFT604"),
)
CONTENTS = rows(
    "plain",
    ("another file of the same name", write(ADAPTER, b"another adapter"), "CFT614"),
    ("a file emptied", cut(ADAPTER, 0), "CFT614"),
    ("a file truncated", cut(ADAPTER, 63), "CFT614"),
    ("a byte appended", append(ADAPTER, b"\0"), "CFT614"),
    ("a line ending changed", append(CONFIG, b"\r\n"), "CFT614"),
    ("two files exchanged", swap(ADAPTER, CONFIG), "CFT614"),
    ("JSON keys of a document reordered", rewritten(RECIPE_FILE, reversed_keys), "CFT614"),
    ("a constraint loosened", text(CONSTRAINTS_FILE, '"bound":"0.3"', '"bound":"0.5"'), "CFT614 CFT640"),
)
NAMES = rows(
    "plain",
    ("a file added", write("modeling.py", b"import os"), "CFT616"),
    ("a hidden file added", write(".hidden", b""), "CFT616"),
    ("an empty file added", write("model.safetensors", b""), "CFT616"),
    ("a file added in a new folder", write("remote/code.py", b""), "CFT616"),
    ("a file added beside our documents", write("coherence/note.json", b"{}"), "CFT616"),
    ("evidence added that nobody states", write("coherence/evidence/x.jsonl.gz", b""), "CFT616"),
    ("a name that is no text", write(os.fsdecode(b"\xff"), b""), "CFT616"),
    ("a name with a line break", write("a\nb", b""), "CFT616"),
    ("what a crash leaves", write(f"{MANIFEST}.partial", b"{}"), "CFT616"),
    ("a signature's name further down", write("tokenizer/model.sig", b""), "CFT616"),
    ("a manifest further down", write(f"tokenizer/{MANIFEST}", b"{}"), "CFT616"),
    ("a file removed", remove(ADAPTER), "CFT615"),
    ("evidence removed", remove(EVIDENCE), "CFT615"),
    ("the calibrator removed", remove("coherence/calibrator.json"), "CFT615 CFT641"),
    ("the constraints removed", remove(CONSTRAINTS_FILE), "CFT615 CFT641"),
    ("a file renamed", move(ADAPTER, "model.safetensors"), "CFT615 CFT616"),
    ("a file moved down", move(CONFIG, "tokenizer/adapter_config.json"), "CFT615 CFT616"),
    ("a name with a space at its end", move(CONFIG, f"{CONFIG} "), "CFT615 CFT616"),
    ("a look-alike letter", move(CONFIG, CONFIG.replace("a", "\u0430", 1)), "CFT615 CFT616"),
    ("a name in another case", move(CONFIG, "Adapter_Config.json"), "CFT618"),
    ("a folder in another case", move("tokenizer/tokenizer.json", "Tokenizer/tokenizer.json"), "CFT618"),
    ("a name in another Unicode form", move(ACCENTED, "vocabulary/cafe\u0301.txt"), "CFT618"),
    ("a twin of a name in another case", write("ADAPTER_CONFIG.JSON", b"{}"), "CFT618"),
    ("a twin of a name in another Unicode form", write("vocabulary/cafe\u0301.txt", b""), "CFT618"),
    ("a twin of the manifest", write("Coherence_Manifest.json", b"{}"), "CFT618"),
    ("a twin of the signature", write("MODEL.SIG", b"{}"), "CFT618"),
)
NO_FILES = rows(
    "plain",
    ("a file replaced by a link", link(ADAPTER), "CFT611"),
    ("a folder replaced by a link", link("tokenizer"), "CFT611 CFT615"),
    ("the manifest a link", link(MANIFEST), "CFT611"),
    ("the bundle a link", link(BUNDLE), "CFT611"),
    ("a dangling link added", lambda c: c.path("x").symlink_to("nowhere"), "CFT611"),
    ("a link to itself", lambda c: c.path("x").symlink_to("x"), "CFT611"),
    ("a link to the folder above", lambda c: c.path("tokenizer/x").symlink_to(".."), "CFT611"),
    ("a file replaced by a pipe", special(ADAPTER, stat.S_IFIFO), "CFT619"),
    ("a pipe added", special("x", stat.S_IFIFO), "CFT619"),
    ("a socket added", special("x", stat.S_IFSOCK), "CFT619"),
    ("a device added", special("x", stat.S_IFCHR, os.makedev(1, 3)), "CFT619"),
    ("the manifest a pipe", both(special(MANIFEST, stat.S_IFIFO)), "CFT619"),
    ("an empty folder added", lambda c: c.path("original").mkdir(), "CFT619"),
    ("a file replaced by a folder", both(remove(ADAPTER), lambda c: c.path(ADAPTER).mkdir()), "CFT619"),
    ("the folder removed", lambda c: shutil.rmtree(c.folder), "CFT601"),
)
READING = rows(
    "plain",
    ("the manifest removed", remove(MANIFEST), "CFT602"),
    ("the bundle removed", remove(BUNDLE), "CFT602"),
    ("both removed", remove(MANIFEST, BUNDLE), "CFT602"),
    ("the manifest truncated", cut(MANIFEST, 200), "CFT604"),
    ("the manifest emptied", cut(MANIFEST, 0), "CFT604"),
    ("the bundle truncated", cut(BUNDLE, 200), "CFT604"),
    ("the bundle without its last byte", lambda c: cut(BUNDLE, c.path(BUNDLE).stat().st_size - 1)(c), "CFT604"),
    ("the manifest of 64 GiB", cut(MANIFEST, 2**36), "CFT603"),
    ("the bundle of 64 GiB", cut(BUNDLE, 2**36), "CFT603"),
    ("a manifest of ten million lists", write(MANIFEST, b"[" + b"[]," * 10_000_000 + b"[]]"), "CFT603"),
    ("a bundle of ten million texts", write(BUNDLE, b"[" + b'"",' * 10_000_000 + b'""]'), "CFT603"),
    ("a deep manifest", write(MANIFEST, nested(200_000)), "CFT606"),
    ("a deep bundle", write(BUNDLE, nested(200_000)), "CFT606"),
    ("brackets that never end", write(MANIFEST, b"[" * 1_000_000), "CFT606"),
    ("a deep document", resigned_file(RECIPE_FILE, nested(40)), "CFT606"),
    ("a second key in the manifest", text(MANIFEST, '"_type":', '"_type":"x","_type":'), "CFT605"),
    ("a second key in the bundle", text(BUNDLE, '"mediaType":', '"mediaType":"x","mediaType":'), "CFT605"),
    ("a second key in a document", resigned_file(RECIPE_FILE, b'{"name":"x","name":"clinical"}'), "CFT605"),
    ("a key twice, once escaped", text(MANIFEST, '"_type":', '"\\u005ftype":"x","_type":'), "CFT605"),
    ("not UTF-8", write(MANIFEST, b'{"a": "\xff"}'), "CFT604"),
    ("UTF-16", lambda c: write(MANIFEST, c.path(MANIFEST).read_text().encode("utf-16"))(c), "CFT604"),
    ("a byte order mark", lambda c: write(MANIFEST, b"\xef\xbb\xbf" + c.path(MANIFEST).read_bytes())(c), "CFT604"),
    ("half a surrogate pair", write(MANIFEST, b'{"a": "\\ud800"}'), "CFT604"),
    ("NaN", resigned_text('"seed":7', '"seed":NaN'), "CFT604"),
    ("Infinity", resigned_text('"seed":7', '"seed":-Infinity'), "CFT604"),
    ("a number with a leading zero", resigned_text('"seed":7', '"seed":07'), "CFT604"),
    ("a number with a plus sign", resigned_text('"seed":7', '"seed":+7'), "CFT604"),
    ("a hexadecimal number", resigned_text('"seed":7', '"seed":0x7'), "CFT604"),
    ("a number of 5,000 digits", resigned_text('"seed":7', f'"seed":{"7" * 5000}'), "CFT604"),
    ("a comment", text(MANIFEST, '"_type":', '/* */"_type":'), "CFT604"),
    ("a comma too many", text(MANIFEST, '"_type":', ',"_type":'), "CFT604"),
    ("an integer with a fraction", resigned_text('"seed":7', '"seed":7.0'), "CFT600"),
    ("an integer with an exponent", resigned_text('"look":2', '"look":2e0'), "CFT600"),
    ("minus zero", resigned_text('"skipped":0', '"skipped":-0'), "CFT600"),
    ("a huge exponent", resigned_text('"seed":7', '"seed":1e999999'), "CFT600"),
    ("an infinite number in a document", resigned_file(RECIPE_FILE, b'{"rate":1e400}'), "CFT600"),
    ("a decimal string that is no number", said("coverage", value="NaN"), "CFT620"),
    ("a decimal string with an exponent", said("coverage", value="7e-1"), "CFT620"),
    ("a number for a decimal string", said("coverage", value=1), "CFT620"),
    ("text for a number", said("recipe", "seed", value="7"), "CFT620"),
    ("white space in the manifest", append(MANIFEST, b"\n"), "CFT608"),
    ("JSON keys of the manifest reordered", rewritten(MANIFEST, reversed_keys), "CFT608"),
    ("the manifest spelled otherwise", text(MANIFEST, '"clinical-icd"', '"clinical\\u002dicd"'), "CFT608"),
    ("white space in the bundle", append(BUNDLE, b"\n"), "CFT607"),
    ("JSON keys of the bundle reordered", rewritten(BUNDLE, reversed_keys), "CFT607"),
    ("the bundle spelled otherwise", text(BUNDLE, '"mediaType"', '"media\\u0054ype"'), "CFT607"),
    ("the bundle a list", write(BUNDLE, b"[]"), "CFT607"),
    ("a field added to the bundle", rewritten(BUNDLE, lambda d: d.update(note="approved")), "CFT607"),
    ("the manifest a list", write(MANIFEST, b"[]"), "CFT609"),
    ("the manifest another JSON file", lambda c: shutil.copy(c.path(CONSTRAINTS_FILE), c.path(MANIFEST)), "CFT609"),
)
SIGNATURES = rows(
    "plain",
    ("the payload edited", payload('"seed":7', '"seed":6'), "CFT608 CFT630"),
    ("payload and manifest edited alike", both(text(MANIFEST, '"seed":7', '"seed":6'), payload('"seed":7', '"seed":6')), "CFT630"),
    ("a subject's digest edited", followed, "CFT608"),
    ("a bit of the signature", signature(lambda s: s[:20] + ("A" if s[20] != "A" else "B") + s[21:]), "CFT630"),
    ("an empty signature", signature(lambda s: ""), "CFT630"),
    ("a signature with its bytes reversed", signature(lambda s: base64.b64encode(base64.b64decode(s)[::-1]).decode()), "CFT630"),
    ("a signature in no strict DER", signature(padded), "CFT630"),
    ("base64 with other spare bits", signature(spare_bits), "CFT607"),
    ("no signature", rewritten(BUNDLE, lambda d: d["dsseEnvelope"]["signatures"].clear()), "CFT607"),
    ("a second signature", rewritten(BUNDLE, lambda d: d["dsseEnvelope"]["signatures"].append(d["dsseEnvelope"]["signatures"][0])), "CFT607"),
    ("another payload type", rewritten(BUNDLE, lambda d: d["dsseEnvelope"].update(payloadType="text/plain")), "CFT607"),
    ("another bundle version", text(BUNDLE, "bundle.v0.3", "bundle.v0.2"), "CFT607"),
    ("another key's id", hint("0" * 64), "CFT631"),
    ("another listed key's id", lambda c: hint(load_private(c.signed.keys / "training.pem").key_id)(c), "CFT630"),
    ("a key that nobody lists", unknown_key(), "CFT631"),
    ("that key under a listed one's id", unknown_key(rename=True), "CFT630"),
    ("a signer without the power to attest", both(resigned(lambda m: m["predicate"]["evaluation"].update(evaluator="training"), "training")), "CFT632"),
    ("another evaluator than the signer", said("evaluation", "evaluator", value="training"), "CFT633"),
    ("the power to attest taken back", powers("model-risk", Power.SET), "CFT632"),
    ("the key revoked", key_listed("model-risk", revoked=TODAY), "CFT667"),
    ("the key revoked before it signed", key_listed("model-risk", revoked=date(2020, 1, 1)), "CFT667"),
    ("signed after the key had expired", key_listed("model-risk", valid_until=date(2026, 5, 19)), "CFT636"),
    ("signed before the key was valid", key_listed("model-risk", valid_from=date(2026, 5, 21)), "CFT635"),
    ("the key file gone", key_listed("model-risk", path=Path("nowhere.pub.pem")), "CFT631"),
    ("the key file no key", broken_key, "CFT631 CFT663"),
)
CIRCUMSTANCES = rows(
    "plain",
    ("another tenant", under(lambda c: replace(c.tenant, id="clinic")), "CFT634"),
    ("a tenant that has no such authority", under(lambda c: replace(c.tenant, authorities=c.tenant.authorities[1:])), "CFT301 CFT631"),
    ("constraints tightened since", under(tightened), "CFT650"),
    ("made in the future", said("createdAt", value="2026-05-22T00:00:00Z"), "CFT627"),
    ("verified by a clock that is behind", on(TODAY - timedelta(days=2)), "CFT627"),
    ("made before it was measured", said("createdAt", value="2026-05-20T11:59:59Z"), "CFT649"),
    ("a day of no calendar", said("createdAt", value="2026-02-30T00:00:00Z"), "CFT620"),
    ("a moment in another time zone", said("createdAt", value="2026-05-20T12:00:00+02:00"), "CFT620"),
    ("an older manifest over newer files", from_older(MANIFEST, BUNDLE), "CFT614"),
    ("an older manifest, newer bundle", from_older(MANIFEST), "CFT608 CFT614"),
    ("a newer manifest, older bundle", from_older(BUNDLE), "CFT608"),
    ("older weights under the newer manifest", from_older(ADAPTER), "CFT614"),
    ("the whole older derivative, revoked", both(from_older(), revoked(lambda c: file_digest(c.originals.older.manifest))), "CFT699"),
    ("the whole older derivative, not the one approved", both(from_older(), approved()), "CFT476"),
    ("the manifest revoked", revoked(lambda c: file_digest(c.signed.manifest)), "CFT699"),
    ("a later predicate type", resigned(lambda m: m.update(predicateType="https://coherence-ft.dev/manifest/v2")), "CFT609"),
    ("a later statement type", resigned(lambda m: m.update(_type="https://in-toto.io/Statement/v2")), "CFT609"),
    ("a later major version", said("schemaVersion", value="2.0"), "CFT609"),
    ("no version", resigned(lambda m: m["predicate"].pop("schemaVersion")), "CFT609"),
    ("the version downgraded", said("schemaVersion", value="1.0"), "CFT628"),
    ("the version downgraded, its fields taken out", resigned(downgraded), "CFT628"),
    ("the stage downgraded", text(MANIFEST, '"stage":"certified"', '"stage":"monitoring"'), "CFT608 CFT651"),
    ("a newer engine needed", said("runtime", "engineVersion", value=99), "CFT621"),
)
SUBJECTS = rows(
    "plain",
    ("a path out of the folder", listed("../evil"), "CFT612"),
    ("a path out and in again", listed(f"../derivative/{ADAPTER}"), "CFT612"),
    ("an absolute path", listed("/etc/passwd"), "CFT612"),
    ("a drive", listed("C:evil"), "CFT612"),
    ("a backslash", listed("tokenizer\\evil"), "CFT612"),
    ("a dot", listed(f"./{CONFIG}"), "CFT612"),
    ("an empty part", listed("tokenizer//tokenizer.json"), "CFT612"),
    ("a folder for a file", listed("tokenizer/"), "CFT612"),
    ("a control character", listed("a\x1b[2Jb"), "CFT612"),
    ("NUL", listed("adapter_config.json\0.txt"), "CFT612"),
    ("a name that is written right to left", listed("nosj.\u202egfx"), "CFT612"),
    ("a name twice", resigned(lambda m: m["subject"].append(m["subject"][0])), "CFT612"),
    ("a name in two cases", listed("ADAPTER_CONFIG.JSON"), "CFT612"),
    ("a name in two Unicode forms", listed("vocabulary/cafe\u0301.txt"), "CFT612"),
    ("the manifest itself", listed(MANIFEST), "CFT612"),
    ("its bundle", listed(BUNDLE), "CFT612"),
    ("model.sig", listed(MODEL_SIGNATURE), "CFT612"),
    ("a countersignature", listed(COUNTERSIGNATURE), "CFT612"),
    ("no name", listed(""), "CFT620"),
    ("a file that is not there", listed("model.safetensors"), "CFT615"),
    ("a subject left out", resigned(lambda m: m["subject"].remove(subject_of(m, ADAPTER))), "CFT616"),
    ("no subject at all", resigned(lambda m: m["subject"].clear()), "CFT620"),
    ("a digest of another file", resigned(lambda m: subject_of(m, ADAPTER).update(digest=subject_of(m, CONFIG)["digest"])), "CFT614"),
    ("a digest in capitals", resigned(lambda m: subject_of(m, ADAPTER)["digest"].update(sha256=subject_of(m, ADAPTER)["digest"]["sha256"].upper())), "CFT620"),
    ("a digest by another algorithm only", resigned(lambda m: subject_of(m, ADAPTER).update(digest={"md5": "0" * 32})), "CFT620"),
)
EVIDENCES = rows(
    "plain",
    ("evidence edited", write(EVIDENCE, b"better ones"), "CFT614"),
    ("evidence edited and signed for", resigned_file(EVIDENCE, b"better ones"), "CFT654"),
    ("evidence of one pass denied", resigned(lambda m: m["predicate"]["evidence"].pop()), "CFT651"),
    ("evidence of one pass twice", resigned(lambda m: m["predicate"]["evidence"].append(m["predicate"]["evidence"][0])), "CFT651"),
    ("evidence of two passes exchanged", resigned(exchanged), "CFT654"),
    ("evidence not stated", resigned(lambda m: m["predicate"].pop("evidence")), "CFT620"),
    ("evidence in a file of another name", resigned(lambda m: m["predicate"]["evidence"][0].update(file=ADAPTER)), "CFT654"),
)
ANCESTORS = rows(
    "child",
    ("an ancestor removed", remove("PARENT"), "CFT615 CFT690"),
    ("an ancestor's bundle removed", remove("PARENT BUNDLE"), "CFT615 CFT692"),
    ("an ancestor truncated", cut("PARENT", 100), "CFT614 CFT691 CFT694"),
    ("an ancestor deep", write("PARENT", nested(100)), "CFT614 CFT691 CFT694"),
    ("an ancestor edited", text("PARENT", '"seed":7', '"seed":6'), "CFT614 CFT691 CFT692"),
    ("another manifest for an ancestor", lambda c: shutil.copy(c.originals.older.manifest, c.path("PARENT")), "CFT614 CFT691 CFT692"),
    ("an ancestor that nobody named", write(manifest_name("0" * 64), b"{}"), "CFT616 CFT696"),
    ("an ancestor's name without the manifest", said("lineage", "ancestors", value=[]), "CFT696"),
    ("the parents denied", resigned(parent_forgotten), "CFT696"),
    ("another parent named", resigned(lambda m: m["predicate"]["lineage"]["parents"][0].update(manifestDigest="0" * 64)), "CFT690 CFT696"),
    ("a parent of itself", own_parent, "CFT690 CFT696"),
    ("an ancestor revoked", revoked(lambda c: c.parent), "CFT698"),
    ("an ancestor of another tenant", adopted(lambda p: p.update(tenant="clinic")), "CFT695"),
    ("an ancestor that somebody else signed", adopted(lambda p: None, Signer.of(ec.generate_private_key(ec.SECP256R1()))), "CFT693"),
    ("an ancestor signed without the power", adopted(lambda p: p["evaluation"].update(evaluator="training"), "training"), "CFT693"),
    ("an ancestor of a later version", adopted(lambda p: p.update(schemaVersion="2.0")), "CFT694"),
    ("the key of child and ancestor revoked", key_listed("model-risk", revoked=TODAY), "CFT667 CFT693"),
    ("an ancestor in another case", lambda c: c.path("PARENT").rename(c.path("PARENT").with_suffix(".JSON")), "CFT618 CFT690 CFT696"),
)
COUNTERSIGNED = rows(
    "full",
    ("the countersignature removed", remove(COUNTERSIGNATURE), "CFT622 CFT626"),
    ("the countersignature and model.sig removed", remove(COUNTERSIGNATURE, MODEL_SIGNATURE), "CFT622"),
    ("the countersignature a copy of the maker's", lambda c: shutil.copy(c.signed.bundle, c.path(COUNTERSIGNATURE)), "CFT623 CFT626"),
    ("the countersignature under another name", move(COUNTERSIGNATURE, countersignature("training")), "CFT622 CFT626 CFT632"),
    ("a countersigner that nobody knows", lambda c: shutil.copy(c.path(COUNTERSIGNATURE), c.path(countersignature("nobody"))), "CFT301"),
    ("a countersignature over another manifest", countersigned_other, "CFT608 CFT626"),
    ("a countersignature for the maker", lambda c: shutil.copy(c.signed.bundle, c.path(countersignature("model-risk"))), "CFT624 CFT626"),
    ("a countersignature edited", payload('"seed":7', '"seed":6', COUNTERSIGNATURE), "CFT608 CFT626"),
    ("white space in a countersignature", append(COUNTERSIGNATURE, b" "), "CFT607 CFT622 CFT626"),
    ("the power to countersign taken back", powers("regulator", Power.TIGHTEN), "CFT622 CFT626 CFT632"),
    ("the countersigner's key revoked", key_listed("regulator", revoked=TODAY), "CFT667"),
    ("the countersigner's key expired before", key_listed("regulator", valid_until=date(2026, 5, 19)), "CFT636"),
    ("model.sig truncated", cut(MODEL_SIGNATURE, 100), "CFT604"),
    ("model.sig of 64 GiB", cut(MODEL_SIGNATURE, 2**36), "CFT603"),
    ("model.sig deep", write(MODEL_SIGNATURE, nested(100)), "CFT606"),
    ("model.sig with a key twice", text(MODEL_SIGNATURE, '"mediaType":', '"mediaType":"x","mediaType":'), "CFT605"),
    ("white space in model.sig", append(MODEL_SIGNATURE, b"\n"), "CFT607"),
    ("model.sig reordered", rewritten(MODEL_SIGNATURE, reversed_keys), "CFT607"),
    ("model.sig's payload edited", payload('"allow_symlinks":false', '"allow_symlinks":true', MODEL_SIGNATURE), "CFT625 CFT630"),
    ("model.sig that ignores a path", payload('"ignore_paths":["model.sig"]', f'"ignore_paths":["model.sig","{ADAPTER}"]', MODEL_SIGNATURE), "CFT625 CFT630"),
    ("model.sig signed with a key that nobody lists", lambda c: model_signed(c, Signer.of(ec.generate_private_key(ec.SECP256R1()))), "CFT631"),
    ("model.sig signed without the power", lambda c: model_signed(c, load_private(c.signed.keys / "training.pem")), "CFT632"),
    ("model.sig signed over other names", lambda c: model_signed(c, load_private(c.signed.keys / "regulator.pem"), ADAPTER, "other"), "CFT626"),
    ("model.sig a bundle over the manifest", lambda c: shutil.copy(c.signed.bundle, c.path(MODEL_SIGNATURE)), "CFT607"),
    ("the manifest signed again after it was countersigned", resigned(lambda m: m["predicate"]["recipe"].update(seed=8)), "CFT608 CFT626"),
)
RACES = rows(
    "plain",
    ("an unreadable file", denied(ADAPTER), "CFT610"),
    ("an unreadable manifest", denied(MANIFEST), "CFT610"),
    ("an unreadable folder", denied("tokenizer"), "CFT610 CFT615"),
    ("a file that grows while it is hashed", meanwhile(ADAPTER, append(ADAPTER, b"x")), "CFT629"),
    ("a file that is edited while it is hashed", meanwhile(ADAPTER, flip(ADAPTER)), "CFT629"),
    ("a file that is exchanged while it is hashed", meanwhile(ADAPTER, exchanged_file), "CFT629"),
    ("a file that becomes a link while it is hashed", meanwhile(ADAPTER, link(ADAPTER)), "CFT629"),
    ("a file that becomes a pipe before it is hashed", meanwhile(MANIFEST, special(ADAPTER, stat.S_IFIFO)), "CFT610"),
    ("a file that becomes a link before it is hashed", meanwhile(MANIFEST, link(ADAPTER)), "CFT610"),
    ("a file that is gone before it is hashed", meanwhile(MANIFEST, remove(ADAPTER)), "CFT610"),
    ("a manifest that is edited while it is read", meanwhile(MANIFEST, text(MANIFEST, '"seed":7', '"seed":6')), "CFT629"),
    ("a document that is edited while it is read", meanwhile(RECIPE_FILE, flip(RECIPE_FILE, 32)), "CFT614 CFT641"),
    ("a file that is edited before it is hashed", meanwhile(MANIFEST, flip(ADAPTER)), "CFT614"),
)
KINDS = (*BYTES, *CONTENTS, *NAMES, *NO_FILES, *READING, *SIGNATURES, *CIRCUMSTANCES, *SUBJECTS, *EVIDENCES, *ANCESTORS, *COUNTERSIGNED, *RACES)

# What is accepted though something differs, and why that is right.
ACCEPTED = rows(
    "full",
    ("nothing", lambda c: None, ""),
    ("file times", lambda c: os.utime(c.path(ADAPTER), (0, 0)), ""),
    ("permissions", lambda c: c.path(ADAPTER).chmod(0o755), ""),
    ("the folder's own name", renamed_folder, ""),
    ("a hard link, as backups make", lambda c: os.link(c.path(ADAPTER), c.folder.parent / "backup"), ""),
    ("model.sig, an extra, taken away", remove(MODEL_SIGNATURE), ""),
    ("the other signature of the same key: (r, n - s)", both(remove(MODEL_SIGNATURE), signature(other_half)), ""),
)
REPLAYED = Kind("the whole older derivative, not revoked", from_older(), "")
# fmt: on


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Originals:
    return tampering.make(tmp_path_factory.mktemp("originals"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_was_tampered_with_is_refused_by_its_code(
    kind: Kind, originals: Originals, tmp_path: Path
) -> None:
    try:
        assert kind.refuse(originals, tmp_path) == set(kind.codes.split())
    except PermissionError:
        pytest.skip("only root makes device files")


@pytest.mark.parametrize("kind", ACCEPTED, ids=lambda kind: kind.name)
def test_what_means_nothing_is_accepted(kind: Kind, originals: Originals, tmp_path: Path) -> None:
    assert kind.refuse(originals, tmp_path) == set()


def test_an_older_derivative_put_back_verifies_until_it_is_revoked(
    originals: Originals, tmp_path: Path
) -> None:
    """A signature knows no newer one. docs/trust.md says what does."""
    assert REPLAYED.refuse(originals, tmp_path) == set()


def test_the_matrix_is_one() -> None:
    assert len(KINDS) >= 40
    assert [name for name, count in Counter(kind.name for kind in KINDS).items() if count > 1] == []
    assert {code for kind in KINDS for code in kind.codes.split()} <= catalogue().keys()
    assert all(kind.codes for kind in KINDS)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_in_any_file_is_refused(originals: Originals, data: st.DataObject) -> None:
    full = Case(originals.full, originals, originals.demanding)
    path = data.draw(st.sampled_from(sorted(path for path in full.folder.rglob("*") if path.is_file())))
    content = path.read_bytes()
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    try:
        flip(path.relative_to(full.folder).as_posix(), bit)(full)
        assert full.codes()
    finally:
        path.write_bytes(content)

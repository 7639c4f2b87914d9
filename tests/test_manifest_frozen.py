"""Signed derivatives of every released schema version: what verified once must verify for ever.

tests/golden/manifests/VERSION/ holds a tenant document, its constraint set, the public keys, and a derivative
for each stage. They were made by the code of that version with keys that exist no more; `tests/frozen.py`,
which goes along with the code, makes those of the next one. Never make a released one again, not even for a
change that looks harmless: auditors hold manifests that nobody can sign anew. Where one of these tests fails,
the code is wrong. For that reason their digests are named below.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from coherence_ft.cli import main
from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.schemas import load_schema
from coherence_ft.manifest.reading import SINCE_1_1

ROOT = Path(__file__).parent / "golden" / "manifests"
FROZEN = {  # folder to the sha256 of its manifest
    "1.0/certified": "86aa899fd2107e46fe4f8620a4a021fbf1c61753ae6ea9353319d48e9c454154",
    "1.0/monitoring": "d3cc3af9970e828d939c3527b6b3961f00e2876f00b6823e6007a2bbd1bf2862",
    "1.1/certified": "005fe4812c95210a937a438fe466d5095f264387d778c0ce65faf6cb96d431b9",
    "1.1/monitoring": "ce00e3c7468e1f54b34d30e6463c046b6719a11f0470ea3034208cd051abb429",
}


def run(folder: Path, version: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, object]]:
    tenant = ROOT / version / "tenant.yaml"
    code = main._run(["verify", str(folder), "--tenant", str(tenant), "--format", "json"])
    return code, json.loads(capsys.readouterr().out)


def test_every_frozen_derivative_is_named_here() -> None:
    assert {str(path.parent.relative_to(ROOT)) for path in ROOT.rglob("coherence_manifest.json")} == set(
        FROZEN
    )


@pytest.mark.parametrize("name", FROZEN)
def test_a_frozen_derivative_verifies(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    version, _, stage = name.partition("/")
    assert file_digest(ROOT / name / "coherence_manifest.json") == FROZEN[name]
    code, report = run(ROOT / name, version, capsys)
    assert code == 0
    assert report["verified"] is True
    assert (report["digest"], report["stage"]) == (FROZEN[name], stage)
    predicate = json.loads((ROOT / name / "coherence_manifest.json").read_bytes())["predicate"]
    assert (predicate["schemaVersion"], predicate["evaluation"]["evaluator"]) == (version, report["signer"])


def test_version_1_1_holds_what_it_brought(capsys: pytest.CaptureFixture[str]) -> None:
    _, report = run(ROOT / "1.1" / "certified", "1.1", capsys)
    assert (report["countersigners"], report["modelSigned"]) == (["regulator", "safety"], True)
    relations = {}
    for stage in ("certified", "monitoring"):
        predicate = json.loads((ROOT / "1.1" / stage / "coherence_manifest.json").read_bytes())["predicate"]
        relations[stage] = (predicate["lineage"]["relation"], len(predicate["evidence"]))
    assert relations == {"certified": ("continued", 4), "monitoring": ("merged", 0)}


@pytest.mark.parametrize("name", FROZEN)
def test_one_flipped_bit_of_any_file_is_still_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version, folder = name.partition("/")[0], tmp_path / "derivative"
    shutil.copytree(ROOT / name, folder)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        code, report = run(folder, version, capsys)
        assert (code, report["verified"]) == (1, False), path
        path.write_bytes(content)
    assert run(folder, version, capsys)[0] == 0


def test_the_fields_that_a_downgrade_would_hide_are_those_of_the_schema() -> None:
    later = load_schema("manifest")["$defs"]["predicate"]["else"]
    required = {(): tuple(later["required"])}
    required |= {(name,): tuple(inner["required"]) for name, inner in later["properties"].items()}
    assert required == SINCE_1_1

"""Writing a manifest: the same from the same facts, and nothing by half, whatever happens."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from derivatives import (
    NOW,
    TODAY,
    Signed,
    codes,
)

from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.manifest.verify import verify
from coherence_ft.manifest.write import write_manifest


def test_the_same_facts_give_the_same_statement(signed: Signed) -> None:
    before = signed.manifest.read_bytes()
    digest = write_manifest(signed.folder, signed.facts, signed.key, created_at=NOW)
    assert signed.manifest.read_bytes() == before
    assert digest == file_digest(signed.manifest)
    assert verify(signed.folder, signed.tenant, today=TODAY)


def test_a_calibrator_of_an_earlier_save_does_not_stay(signed: Signed) -> None:
    facts = replace(signed.facts, calibrator=None)
    assessment = replace(facts.evaluation.assessment, abstention_threshold=None, coverage=None)
    facts = replace(facts, evaluation=replace(facts.evaluation, assessment=assessment))
    write_manifest(signed.folder, facts, signed.key, created_at=NOW)
    assert verify(signed.folder, signed.tenant, today=TODAY).calibrator is None


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda f: (f / "link").symlink_to("adapter_config.json"), "CFT611"),
        (lambda f: (f / "back\\slash").write_text(""), "CFT612"),
        (lambda f: (f / "ADAPTER_CONFIG.json").write_text(""), "CFT612"),
        (lambda f: Path(os.fsdecode(os.fsencode(f) + b"/\xff")).write_text(""), "CFT612"),
    ],
)
def test_what_could_not_be_verified_is_not_signed(
    signed: Signed, make: Callable[[Path], Any], code: str
) -> None:
    make(signed.folder)
    with pytest.raises(CoherenceError) as caught:
        write_manifest(signed.folder, signed.facts, signed.key)
    assert code in caught.value.codes
    assert not signed.manifest.exists()


def test_facts_that_do_not_fit_the_schema_are_not_signed(signed: Signed) -> None:
    facts = replace(signed.facts, chat_template_digest="unknown")
    with pytest.raises(CoherenceError) as caught:
        write_manifest(signed.folder, facts, signed.key)
    assert caught.value.codes == ("CFT620",)
    assert not signed.manifest.exists()


def test_a_full_disk_leaves_no_manifest_and_no_remains(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coherence_ft.manifest import write

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write.os, "fsync", full)
    with pytest.raises(CoherenceError) as caught:
        write_manifest(signed.folder, signed.facts, signed.key)
    assert caught.value.codes == ("CFT617",)
    assert "No space left" in str(caught.value)
    assert not list(signed.folder.rglob("*.partial"))
    assert codes(signed) == {"CFT602"}


def test_a_kill_at_any_step_leaves_nothing_that_verifies(signed: Signed) -> None:
    """The writer is killed before its first, second, … change on the disk, until it gets through."""
    old = file_digest(signed.manifest)
    new = replace(signed.facts, seed=8)
    for step in range(100):
        child = os.fork()
        if not child:
            _die_before(step)
            write_manifest(signed.folder, new, signed.key, created_at=NOW)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            break
        try:
            verify(signed.folder, signed.tenant, today=TODAY)
        except CoherenceError:
            continue
        # Nothing was changed yet, or everything was.
        assert step == 0 or json.loads(signed.manifest.read_bytes())["predicate"]["recipe"]["seed"] == 8
    assert step > 10
    assert file_digest(signed.manifest) != old
    assert verify(signed.folder, signed.tenant, today=TODAY).predicate["recipe"]["seed"] == 8


def _die_before(step: int) -> None:
    """In the child: exit without any cleaning up at the `step`-th call that changes the disk."""
    calls = iter(range(10_000))

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if next(calls) == step:
                os._exit(9)
            return call(*arguments, **options)

        return wrapped

    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, deadly(getattr(os, name)))

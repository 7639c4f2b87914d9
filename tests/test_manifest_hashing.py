"""Hashing: what changes meanwhile, who waits, who interrupts, and what file times may stand for."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from derivatives import ADAPTER, TODAY, Signed, codes

from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.manifest import file_times, files, hashing
from coherence_ft.manifest.files import MANIFEST, ChangedWhileRead, open_folder
from coherence_ft.manifest.hashing import hash_files, watched
from coherence_ft.manifest.verify import verify
from coherence_ft.manifest.write import write_manifest

MANY = 40 * 2**20  # bytes: enough for threads


def large(folder: Path) -> dict[str, int]:
    folder.mkdir(exist_ok=True)
    sizes = {"a": MANY // 2, "b": MANY // 2 - 7, "c": 1, "d": 0}
    for n, (name, size) in enumerate(sizes.items()):
        (folder / name).write_bytes(bytes([n]) * size)
    return sizes


@pytest.mark.parametrize("small", [10**12, 0])
def test_the_digests_are_those_of_hashlib(
    small: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_SMALL", small)
    sizes = large(tmp_path / "f")
    with open_folder(tmp_path / "f") as opened:
        found = opened.digests(sizes)
    assert found == {name: file_digest(tmp_path / "f" / name) for name in sizes}
    assert opened.hashed == found


def test_whoever_waits_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_EVERY", 0.001)
    sizes, seen = large(tmp_path / "f"), []
    with open_folder(tmp_path / "f") as opened, watched(lambda *so_far: seen.append(so_far)):
        opened.digests(sizes)
    assert seen and {total for _, total in seen} == {sum(sizes.values())}
    done = [count for count, _ in seen]
    assert done == sorted(done) and done[-1] <= sum(sizes.values())


def test_an_interruption_stops_every_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file never ends, so only being stopped ends its thread."""
    monkeypatch.setattr(hashing, "_EVERY", 0.01)
    reads = []

    @contextmanager
    def endless(name: str) -> Iterator[BinaryIO]:
        with open("/dev/zero", "rb", buffering=0) as file:
            reads.append(name)
            yield file

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with watched(interrupt), pytest.raises(KeyboardInterrupt):
        hash_files(dict.fromkeys("abcdefghijklmnopqrstuvwxyz", MANY), endless)
    assert 0 < len(reads) < 26, "those that had not begun were never begun"
    assert threading.active_count() == before


# --- files that change while they are hashed ---


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


def _same_size(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"!")


def _times_set_back(path: Path) -> None:
    status = path.stat()
    _same_size(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _exchange(path: Path) -> None:
    content = path.read_bytes()
    path.rename(path.with_name("old"))
    path.write_bytes(content)  # even the same bytes: they are in another file


@pytest.mark.parametrize("change", [_grow, _same_size, _times_set_back, _exchange, Path.unlink])
def test_a_file_that_changes_while_it_is_hashed(
    signed: Signed, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = files.OpenFolder.open

    def opened(self: Any, name: str) -> int:
        descriptor = really(self, name)
        if name == ADAPTER:
            change(signed.folder / ADAPTER)
        return descriptor

    monkeypatch.setattr(files.OpenFolder, "open", opened)
    assert codes(signed) == {"CFT629"}


def test_nor_is_one_signed(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    really = files.OpenFolder.open

    def opened(self: Any, name: str) -> int:
        descriptor = really(self, name)
        if name == ADAPTER:
            _grow(signed.folder / ADAPTER)
        return descriptor

    monkeypatch.setattr(files.OpenFolder, "open", opened)
    with pytest.raises(CoherenceError) as caught:
        write_manifest(signed.folder, signed.facts, signed.key)
    assert caught.value.codes == ("CFT629",)


def test_what_is_hashed_and_then_read_is_the_same(signed: Signed) -> None:
    with open_folder(signed.folder) as opened:
        opened.digests([ADAPTER])
        assert hashlib.sha256(opened.read(ADAPTER, 1000)).hexdigest() == opened.hashed[ADAPTER]
        assert opened.read(ADAPTER, 1000) is opened.read(ADAPTER, 1000)
    with open_folder(signed.folder) as opened:
        opened.digests([ADAPTER])
        _same_size(signed.folder / ADAPTER)
        with pytest.raises(ChangedWhileRead):
            opened.read(ADAPTER, 1000)
    with open_folder(signed.folder) as opened:
        assert len(opened.read(ADAPTER, 10)) == 11
        assert not opened.hashed, "a part has no digest of the whole"


# --- trust in file times, where the user asks for it ---


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COHERENCE_FT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def rested(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> Signed:
    """Files count as at rest at once: the tests do not wait."""
    monkeypatch.setattr(file_times, "_REST", 0)
    return signed


def hashed_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    really = files.hash_files

    def counted(sizes: Any, open: Any) -> Any:
        names.extend(sizes)
        return really(sizes, open)

    monkeypatch.setattr(files, "hash_files", counted)
    return names


def trusting(signed: Signed) -> Any:
    return verify(signed.folder, signed.tenant, today=TODAY, trust_file_times=True)


def test_nothing_is_hashed_twice(rested: Signed, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = hashed_files(monkeypatch)
    first = trusting(rested)
    assert ADAPTER in names
    names.clear()
    assert trusting(rested) == first
    assert names == []
    assert verify(rested.folder, rested.tenant, today=TODAY) == first
    assert ADAPTER in names, "never by default"


def test_without_being_asked_nothing_is_remembered(rested: Signed, cache: Path) -> None:
    verify(rested.folder, rested.tenant, today=TODAY)
    assert not cache.exists()


@pytest.mark.parametrize("change", [_grow, _same_size, _times_set_back])
def test_a_changed_file_is_hashed_again(rested: Signed, cache: Path, change: Any) -> None:
    trusting(rested)
    change(rested.folder / ADAPTER)
    with pytest.raises(CoherenceError) as caught:
        trusting(rested)
    assert caught.value.codes == ("CFT614",)


def test_files_exchanged_for_one_another_are_found(rested: Signed, cache: Path) -> None:
    """A digest goes with the file, not with its name."""
    trusting(rested)
    a, b = rested.folder / ADAPTER, rested.folder / "adapter_config.json"
    a.rename(rested.folder / "x")
    b.rename(a)
    (rested.folder / "x").rename(b)
    with pytest.raises(CoherenceError) as caught:
        trusting(rested)
    assert set(caught.value.codes) == {"CFT614"}


def test_a_file_that_was_just_written_is_not_remembered(signed: Signed, cache: Path) -> None:
    trusting(signed)
    [remembered] = cache.rglob("*.json")
    assert json.loads(remembered.read_bytes())["files"] == []


def test_a_file_that_changes_after_it_was_hashed_is_not_remembered_as_it_was(
    rested: Signed, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = file_times.remember

    def later(opened: Any) -> None:
        _same_size(rested.folder / ADAPTER)
        really(opened)

    monkeypatch.setattr(file_times, "remember", later)
    trusting(rested)
    with pytest.raises(CoherenceError) as caught:
        trusting(rested)
    assert caught.value.codes == ("CFT614",)


def _entry(cache: Path) -> Path:
    [path] = (cache / "file-digests").iterdir()
    return path


ODD: dict[str, Any] = {
    "empty": lambda path: path.write_bytes(b""),
    "no JSON": lambda path: path.write_bytes(b"{"),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "not UTF-8": lambda path: path.write_bytes(b"\xff"),
    "a list": lambda path: path.write_bytes(b"[]"),
    "another version": lambda path: path.write_text('{"version": 2, "files": []}'),
    "a short entry": lambda path: path.write_text('{"version": 1, "files": [[1, 2, "a"]]}'),
    "no digest": lambda path: path.write_text('{"version": 1, "files": [[1, 2, 3, 4, 5, "yes"]]}'),
    "text for a number": lambda path: path.write_text(
        json.dumps({"version": 1, "files": [["1", 2, 3, 4, 5, "0" * 64]]})
    ),
    "open to others": lambda path: path.chmod(0o666),
    "a link": lambda path: (path.rename(path.with_name("kept")), path.symlink_to(path.with_name("kept"))),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_cache_counts_as_none(
    name: str, rested: Signed, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting(rested)
    ODD[name](_entry(cache))
    names = hashed_files(monkeypatch)
    assert trusting(rested)
    assert ADAPTER in names


def test_a_cache_that_cannot_be_written_is_no_refusal(rested: Signed, cache: Path) -> None:
    cache.write_text("a file stands where the folder would be")
    assert trusting(rested)


def test_the_cache_never_lies_in_the_folder(rested: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COHERENCE_FT_CACHE", str(rested.folder / "tokenizer"))
    trusting(rested)
    assert trusting(rested)
    assert sorted(path.name for path in (rested.folder / "tokenizer").iterdir()) == ["tokenizer.json"]
    assert (rested.folder / MANIFEST).exists()


def test_the_cache_is_the_users_own(rested: Signed, cache: Path) -> None:
    trusting(rested)
    assert _entry(cache).stat().st_mode & 0o777 == 0o600

"""Events: a batch is there or is not, whatever happens meanwhile, and what was edited is found."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.documents.canonical import canonical_digest, canonical_json
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.ledger.events import FIRST, Events, appending, read_events

NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)


def append(path: Path, *numbers: int, padding: int = 0) -> None:
    with appending(path) as (_, appender):
        appender.append([("number", {"n": n, "padding": "x" * padding}) for n in numbers], NOW)


def numbers(path: Path) -> list[int]:
    return [event.data["n"] for event in read_events(path).events]


def refused(path: Path) -> tuple[str, ...]:
    with pytest.raises(CoherenceError) as caught:
        read_events(path)
    return caught.value.codes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "state" / "events.jsonl"
    append(made, 1, 2)
    append(made, 3)
    return made


def test_batches_are_read_in_order(path: Path, tmp_path: Path) -> None:
    there = read_events(path)
    assert numbers(path) == [1, 2, 3]
    assert (there.torn, there.size) == (0, path.stat().st_size)
    assert {event.at for event in there.events} == {"2026-05-20T12:00:00+00:00"}
    assert path.stat().st_mode & 0o077 == 0
    assert read_events(tmp_path / "nothing") == Events((), FIRST, 0, 0)


def test_every_cut_leaves_whole_batches_and_the_next_append_goes_on(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    for cut in range(len(content)):
        torn = tmp_path / "torn.jsonl"
        torn.write_bytes(content[:cut])
        whole = [1, 2] if cut >= ends[1] else []
        there = read_events(torn)
        assert [event.data["n"] for event in there.events] == whole
        assert there.size + there.torn == cut
    torn.write_bytes(content[: ends[2] - 5])
    append(torn, 4)
    assert numbers(torn) == [1, 2, 4]
    assert read_events(torn).torn == 0


def test_what_is_edited_removed_or_moved_is_found(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    wrong = [
        [lines[0].replace(b'"n":1', b'"n":7'), *lines[1:]],
        [*lines[:2], lines[2].replace(b'"n":3', b'"n":7')],
        [lines[0], lines[2]],
        [lines[1], lines[0], lines[2]],
        lines[1:],
        [*lines, lines[2]],
        [*lines, b"{}\n"],
        [*lines, b"[1]\n"],
        [*lines, b"\xff\n"],
        [b" " + lines[0], *lines[1:]],
    ]
    for content in wrong:
        path.write_bytes(b"".join(content))
        assert refused(path) == ("CFT485",)
        with pytest.raises(CoherenceError), appending(path):
            raise AssertionError("it was opened for more")


def test_a_line_edited_with_its_own_digest_breaks_the_chain(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[0])
    record["data"]["n"] = 7
    record.pop("digest")
    lines[0] = canonical_json(record | {"digest": canonical_digest(record)}) + b"\n"
    path.write_bytes(b"".join(lines))
    assert refused(path) == ("CFT485",)


@given(st.data())
def test_no_changed_byte_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "events.jsonl"
    append(path, 1)
    append(path, 2)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    path.write_bytes(bytes(content))
    try:
        there = read_events(path)
    except CoherenceError as error:
        assert error.codes == ("CFT485",)
    else:  # a line end that is gone is a batch that was not finished
        assert there.torn > 0
        assert [event.data["n"] for event in there.events] == [1]


def _forever(path: Path) -> None:
    for n in range(10**6):
        append(path, 2 * n, 2 * n + 1, padding=200_000)


def test_kill_leaves_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for delay in (0.05, 0.11, 0.17, 0.23):
        child = multiprocessing.get_context("fork").Process(target=_forever, args=(path,))
        child.start()
        time.sleep(delay)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        found = numbers(path)
        assert len(found) % 2 == 0
        assert all(b == a + 1 and a % 2 == 0 for a, b in zip(found[::2], found[1::2], strict=True))
        append(path, 0, 1)
        assert numbers(path) == [*found, 0, 1]
        path.unlink()


def test_a_full_disk_adds_nothing(path: Path) -> None:
    """A limit on the size of files stops the write in the middle, as a full disk does."""
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 1000, hard))
    try:
        with pytest.raises(CoherenceError) as caught:
            append(path, 4, padding=5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.codes == ("CFT486",)
    assert path.read_bytes() == before
    append(path, 4)
    assert numbers(path) == [1, 2, 3, 4]


def test_what_cannot_be_synced_was_not_added(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CoherenceError) as caught:
        append(path, 4)
    assert caught.value.codes == ("CFT486",)
    assert path.read_bytes() == before


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    assert refused(tmp_path / "folder.jsonl") == ("CFT485",)
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file" / "events.jsonl") == ("CFT485",)
    with pytest.raises(CoherenceError) as caught:
        append(tmp_path / "file" / "events.jsonl", 1)
    assert caught.value.codes == ("CFT486",)


def test_who_appends_at_the_same_time_waits(path: Path) -> None:
    def work(n: int) -> None:
        append(path, n, n)

    threads: list[Any] = [threading.Thread(target=work, args=(n,)) for n in range(10, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = numbers(path)[3:]
    assert sorted(found) == sorted([*range(10, 30)] * 2)
    assert found[::2] == found[1::2]


def test_a_torn_batch_longer_than_the_next_one_is_cut_off(path: Path) -> None:
    append(path, 4, padding=5000)
    path.write_bytes(path.read_bytes()[:-1])
    append(path, 5)
    assert numbers(path) == [1, 2, 3, 5]
    assert read_events(path).torn == 0

"""Append-only events of one subject: JSON lines, each chained to the one before, appended in batches.

A batch counts when its last line is there: what a power cut or kill left of one is not read, is reported, and
is cut off by the next append. The chain shows an edited, removed or exchanged line. It does not show that
whole batches are missing at the end: keep a copy elsewhere where that matters.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from coherence_ft.documents.canonical import canonical_digest, canonical_json
from coherence_ft.documents.diagnostics import CoherenceError, refusal

FIRST = "0" * 64


@dataclass(frozen=True, slots=True)
class Event:
    """`data` is what happened; `at` when it was written down, ISO 8601 in UTC."""

    kind: str
    at: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Events:
    """`head`: digest of the last event. `size`: bytes up to there. `torn`: bytes of an unfinished batch."""

    events: tuple[Event, ...] = ()
    head: str = FIRST
    size: int = 0
    torn: int = 0


def read_events(path: Path) -> Events:
    """Every finished batch, its chain checked. A file that is not there has no events. Raises CFT485."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Events()
    except OSError as error:
        raise _broken(path, 0, error.strerror or str(error)) from error
    return _parsed(content, path)


@contextmanager
def appending(path: Path) -> Iterator[tuple[Events, Appender]]:
    """What is there, and the means to append one batch to it; nobody else appends meanwhile.

    Raises CFT485 where the file is not readable, CFT486 where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error
    with FileIO(descriptor, "r+") as file:  # nothing is left to write at closing
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            content = file.readall()
        except OSError as error:
            raise _broken(path, 0, error.strerror or str(error)) from error
        there = _parsed(content, path)
        yield there, Appender(path, file, there)


@dataclass(slots=True)
class Appender:
    path: Path
    file: FileIO
    there: Events

    def append(self, events: Sequence[tuple[str, dict[str, Any]]], at: datetime) -> None:
        """All of them (kind, data) or none, and on the disk when this returns. Raises CFT486."""
        lines, head = [], self.there.head
        for number, (kind, data) in enumerate(events, 1):
            record = {
                "previous": head,
                "kind": kind,
                "at": at.astimezone(UTC).isoformat(),
                "last": number == len(events),
                "data": data,
            }
            head = canonical_digest(record)
            lines.append(canonical_json(record | {"digest": head}) + b"\n")
        content = b"".join(lines)
        try:
            self.file.truncate(self.there.size)
            self.file.seek(self.there.size)
            left = memoryview(content)
            while left:
                left = left[self.file.write(left) :]
            os.fsync(self.file.fileno())
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self.file.fileno(), self.there.size)
            raise _unwritable(self.path, error) from error


def _parsed(content: bytes, path: Path) -> Events:
    finished: list[Event] = []
    batch: list[Event] = []
    head = before = FIRST
    position = size = 0
    *lines, _unfinished = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        event, before, last = _event(line, before, path, number)
        batch.append(event)
        position += len(line) + 1
        if last:
            finished += batch
            batch, head, size = [], before, position
    return Events(tuple(finished), head, size, len(content) - size)


def _event(line: bytes, before: str, path: Path, number: int) -> tuple[Event, str, bool]:
    try:
        record = json.loads(line)
        digest = record.pop("digest")
        event = Event(record["kind"], record["at"], record["data"])
        if digest != canonical_digest(record) or line != canonical_json(record | {"digest": digest}):
            raise ValueError("the line is not what was written")
        if record["previous"] != before:
            raise ValueError("a line is missing before it, or was moved")
        return event, digest, bool(record["last"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(path, number, str(error)) from None


def _broken(path: Path, line: int, found: str) -> CoherenceError:
    return refusal(
        "CFT485",
        "the run-time evidence cannot be read, or was edited",
        path=path,
        line=line,
        column=1 if line else 0,
        found=found[:200],
        help="Restore the file from a backup. Never mend it by hand.",
    )


def _unwritable(path: Path, error: OSError) -> CoherenceError:
    return refusal(
        "CFT486",
        "the run-time evidence cannot be written; nothing was added",
        path=path,
        found=error.strerror or str(error),
        help="Free space or grant access, then add the same file again: nothing is counted twice.",
    )


def digest_of(*parts: str) -> str:
    """A short name for what these parts name together: 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

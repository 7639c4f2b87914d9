"""Observations as a file: compressed JSON lines, written once, read strictly.

The first line is a header that says what was measured; then one observation a line, answers before groups
before replies. Floats are written by `repr`, so that they read back as the same number. Of a mixture the
expert counts are written, from which routing patterns are assigned again, and not the patterns; nor the
router's weights, since no estimate is made of them.

gzip, level 6: 500 answers take 14 kB. xz saves a quarter and takes 40 times as long.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.evidence.routing_patterns import UNKNOWN
from coherence_ft.loops.observation import (
    DENSE,
    AnswerObservation,
    CheckResult,
    GroupObservation,
    Observations,
    ReplyObservation,
)

VERSION = 1
MAX_STORED = 256 * 2**20  # bytes as stored
MAX_UNPACKED = 512 * 2**20  # 10,000 answers of a mixture with 58 layers of 256 experts take 300 MB
MAX_LINE = 8 * 2**20
_PIECE = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS  # one gzip member, whose header holds neither a name nor a time

Row = dict[str, Any]
T = TypeVar("T")


def dump(seen: Observations) -> bytes:
    """The file's content. The same observations give the same bytes with the same zlib.

    Raises ValueError for a number that is not finite: no such observation is evidence (CFT452).
    """
    rows = [_header(seen, _counts(seen))]
    for kind, (write, _) in _KINDS.items():
        rows += map(write, getattr(seen, kind))
    packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    return b"".join([*(packer.compress(canonical_json(row) + b"\n") for row in rows), packer.flush()])


def load(content: bytes, where: str) -> Observations:
    """What `dump` was given, but with the routing patterns of a mixture `unknown`, as they were measured.

    `where`: for messages. Raises CoherenceError: CFT655 for what is larger than any real pass, CFT656 for
    what `dump` would not write, CFT657 where other observations follow than the header announces.
    """
    lines = _lines(content, where)
    seen, counts = _strictly(next(lines, b""), f"{where}:1", _read_header, lambda h: _header(*h))
    found: dict[str, Any] = {kind: [] for kind in _KINDS}
    for number, line in enumerate(lines, 2):
        kind = next((kind for kind in _KINDS if len(found[kind]) < counts[kind]), None)
        if kind is None:
            raise _other_counts(where, counts, f"more, from line {number} on")
        write, read = _KINDS[kind]
        found[kind].append(_strictly(line, f"{where}:{number}", read, write))
    if any(len(found[kind]) != counts[kind] for kind in _KINDS):
        raise _other_counts(where, counts, _listed({kind: len(rows) for kind, rows in found.items()}))
    rows: dict[str, Any] = {kind: tuple(rows) for kind, rows in found.items()}
    return replace(seen, **rows)


def _lines(content: bytes, where: str) -> Iterator[bytes]:
    """The unpacked lines, without their ends, unpacked piece by piece."""
    if len(content) > MAX_STORED:
        raise _too_large(where, f"{len(content)} bytes as stored", MAX_STORED)
    packed = zlib.decompressobj(_GZIP)
    total, rest = 0, b""
    while not packed.eof:
        try:
            piece = packed.decompress(content, _PIECE)
        except zlib.error as error:
            raise _unreadable(where, error) from error
        if not piece and not packed.eof:
            raise _unreadable(where, EOFError("the compressed data end in the middle"))
        content = packed.unconsumed_tail
        total += len(piece)
        *whole, rest = (rest + piece).split(b"\n")
        if total > MAX_UNPACKED:
            raise _too_large(where, f"more than {MAX_UNPACKED} bytes unpacked", MAX_UNPACKED)
        if max(map(len, (*whole, rest))) > MAX_LINE:
            raise _too_large(where, f"a line of more than {MAX_LINE} bytes", MAX_LINE)
        yield from whole
    if rest or packed.unused_data:
        raise _unreadable(where, ValueError("something follows the last line"))


def _strictly(line: bytes, where: str, read: Callable[[Row], T], write: Callable[[T], Row]) -> T:
    """What a line says, if writing it again gives the same bytes.

    That holds for no unknown field, no key twice, no number of another kind or spelling, and no NaN.
    """
    try:
        made = read(json.loads(line))
        if canonical_json(write(made)) != line:
            raise ValueError("not in the form in which observations are written")
    # ValueError: no JSON or no UTF-8 either; OverflowError: a count beyond 64 bits
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise _unreadable(where, error) from error
    return made


def _counts(seen: Observations) -> dict[str, int]:
    return {kind: len(getattr(seen, kind)) for kind in _KINDS}


def _header(seen: Observations, counts: dict[str, int]) -> Row:
    return {
        "kind": "pass",
        "version": VERSION,
        "model": seen.model,
        "base": seen.base,
        "probe_set": seen.probe_set,
        "split": seen.split,
        "skipped": seen.skipped,
        "tokens": seen.tokens,
        "seconds": seen.seconds,
        "capture": seen.capture,
        "codebook": seen.codebook,
        "confidence_source": seen.confidence_source,
        "largest_group": seen.largest_group,
        "authority": seen.authority,
        "software": seen.software,
        **counts,
    }


def _read_header(row: Row) -> tuple[Observations, dict[str, int]]:
    if row["version"] != VERSION:
        raise ValueError(f"version {row['version']!r}")
    texts = ("model", "base", "probe_set", "split", "capture", "codebook", "confidence_source")
    facts: Row = {name: str(row[name]) for name in (*texts, "authority", "software")}
    facts |= {name: _count(row[name]) for name in ("skipped", "tokens", "largest_group")}
    counts = {kind: _count(row[kind]) for kind in _KINDS}
    return Observations(**facts, seconds=float(row["seconds"])), counts


def _count(value: Any) -> int:
    if int(value) < 0:
        raise ValueError("a count below zero")
    return int(value)


def _marked(of: AnswerObservation | GroupObservation | ReplyObservation) -> Row:
    """As the probe is marked, if it is."""
    marks = {"language": of.language, "audience": of.audience}
    return {name: mark for name, mark in marks.items() if mark is not None}


def _read_marks(row: Row) -> Row:
    return {name: str(row[name]) for name in ("language", "audience") if name in row}


def _answer(answer: AnswerObservation) -> Row:
    row = {
        "kind": "answer",
        "probe": answer.probe,
        "group": answer.group,
        "domain": answer.domain,
        "probabilities": [float(p) for p in answer.probabilities],
        "answer": answer.answer,
        **_marked(answer),
    }
    if answer.stated is not None:  # null: the model was asked and stated none
        row["stated"] = None if math.isnan(answer.stated) else float(answer.stated)
    if answer.experts is not None:
        row["experts"] = answer.experts.tolist()
    return row


def _read_answer(row: Row) -> AnswerObservation:
    experts = np.array(row["experts"], dtype=np.int64) if "experts" in row else None
    stated = None
    if "stated" in row:
        stated = math.nan if row["stated"] is None else float(row["stated"])
    return AnswerObservation(
        str(row["probe"]),
        str(row["group"]),
        str(row["domain"]),
        tuple(float(p) for p in row["probabilities"]),
        int(row["answer"]),
        DENSE if experts is None else UNKNOWN,
        experts=experts,
        stated=stated,
        **_read_marks(row),
    )


def _group(group: GroupObservation) -> Row:
    return {
        "kind": "group",
        "probe": group.probe,
        "domain": group.domain,
        "relation": group.relation,
        "choices": list(group.choices),
        **_marked(group),
    }


def _read_group(row: Row) -> GroupObservation:
    return GroupObservation(
        str(row["probe"]),
        str(row["domain"]),
        str(row["relation"]),
        tuple(map(int, row["choices"])),
        **_read_marks(row),
    )


def _reply(reply: ReplyObservation) -> Row:
    return {
        "kind": "reply",
        "probe": reply.probe,
        "domain": reply.domain,
        "category": reply.category,
        "reply": reply.reply,
        "checks": [{"verifier": c.verifier, "passed": c.passed, "detail": c.detail} for c in reply.checks],
        **_marked(reply),
    }


def _read_reply(row: Row) -> ReplyObservation:
    return ReplyObservation(
        str(row["probe"]),
        str(row["domain"]),
        str(row["category"]),
        str(row["reply"]),
        tuple(CheckResult(str(c["verifier"]), bool(c["passed"]), str(c["detail"])) for c in row["checks"]),
        **_read_marks(row),
    )


_KINDS: dict[str, tuple[Callable[[Any], Row], Callable[[Row], Any]]] = {
    "answers": (_answer, _read_answer),
    "groups": (_group, _read_group),
    "replies": (_reply, _read_reply),
}
"""Field of `Observations` to the two directions, in the order in which they are written."""


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def _too_large(where: str, found: str, limit: int) -> CoherenceError:
    return refusal(
        "CFT655",
        "the stored observations are larger than any real ones",
        path=where,
        found=found,
        expected=f"at most {limit} bytes",
    )


def _unreadable(where: str, error: Exception) -> CoherenceError:
    return refusal(
        "CFT656",
        "the stored observations cannot be read",
        path=where,
        found=f"{type(error).__name__}: {error}"[:200],
        help="take the file as `promote` wrote it; never mend it by hand",
    )


def _other_counts(where: str, counts: dict[str, int], found: str) -> CoherenceError:
    return refusal(
        "CFT657",
        "there are other observations than the header announces",
        path=where,
        found=found,
        expected=_listed(counts),
    )

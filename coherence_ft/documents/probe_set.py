"""Probe sets: inputs with known outcomes, one JSON object a line (schema/v1/probe-set.schema.yaml)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coherence_ft.documents.constraint_set import DOMAINS
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal, shortened
from coherence_ft.documents.reader import Document
from coherence_ft.documents.rules import unknown_domain
from coherence_ft.documents.rules.probe_sets import PROBE_RULES, VERIFIER_RULES
from coherence_ft.documents.schemas import problems, show, validator

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": "…"}


@dataclass(frozen=True, slots=True)
class Question:
    """A question with a certain answer. `answer` is an index into `options`."""

    id: str
    domain: str
    group: str  # rows that share a group are not independent: splits and resampling keep them together
    messages: tuple[Message, ...]
    options: tuple[str, ...]
    answer: int
    language: str | None = None  # what a constraint's scope may ask for
    audience: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    messages: tuple[Message, ...]
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProbeGroup:
    """Questions whose answers constrain each other, whatever the true answers are.

    `paraphrase`, `symmetry`: the same option index for every member. `negation`: two members, two
    options each, different indices. `implication`: index 0 for the first member demands index 0 for
    the second. `exclusion`: at most one member has index 0. Index 0 is the affirmative option.
    """

    id: str
    domain: str
    relation: str
    members: tuple[Member, ...]
    language: str | None = None
    audience: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A deterministic test of a reply: `verifier` names one of `loops/verifiers.py`."""

    verifier: str
    arguments: dict[str, object]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation up to a user turn; the model's reply to it is checked."""

    id: str
    domain: str
    category: str
    messages: tuple[Message, ...]
    checks: tuple[Check, ...]
    max_new_tokens: int
    language: str | None = None
    audience: str | None = None


Probe = Question | ProbeGroup | Conversation


@dataclass(frozen=True, slots=True)
class ProbeSet:
    questions: tuple[Question, ...]
    groups: tuple[ProbeGroup, ...]
    conversations: tuple[Conversation, ...]
    digest: str  # sha256 of the file's bytes, hex
    path: str

    def __len__(self) -> int:
        return len(self.questions) + len(self.groups) + len(self.conversations)


MAX_ROW_BYTES = 2**20


def read_probe_set(path: Path | str, domains: Collection[str] = DOMAINS) -> ProbeSet:
    """Read a probe set line by line. `domains` are those of the tenant.

    Raises `CoherenceError` with every broken row (CFT120, CFT2xx, CFT307, CFT44x), of which at most
    `MAX_SHOWN` are listed.
    """
    try:
        with Path(path).open("rb") as file:
            return parse_probe_set(file, str(path), domains)
    except OSError as error:
        raise CoherenceError(
            Diagnostic("CFT101", f"the file cannot be read: {error.strerror or error}", str(path))
        ) from error


def parse_probe_set(
    lines: Iterable[bytes], path: str = "probes.jsonl", domains: Collection[str] = DOMAINS
) -> ProbeSet:
    """`read_probe_set` on lines that are in memory, each with its line end."""
    probes: list[Probe] = []
    wrong: list[Diagnostic] = []
    seen: dict[str, int] = {}
    digest = hashlib.sha256()
    compiled = validator("probe-set")
    for number, line in enumerate(lines, 1):
        digest.update(line)
        if not line.strip():
            continue
        try:
            row = json_row(line, path, number)
        except CoherenceError as error:
            wrong += error.diagnostics
            continue
        document = Document(path, row, values={(): (number, 1)})
        if not compiled.is_valid(row):
            wrong += problems("probe-set", document)
            continue
        found = [*_wrong(document, domains)]
        if (first := seen.setdefault(row["id"], number)) != number:
            found.append(
                document.diagnostic(
                    "CFT441", f"the id {show(row['id'])} is given twice; first in line {first}"
                )
            )
        wrong += found
        if not found:
            probes.append(_probe(row))
    if not seen and not wrong:
        wrong.append(Diagnostic("CFT440", "the probe set has no rows", path))
    if wrong:
        raise CoherenceError(shortened(wrong, path))
    return ProbeSet(
        questions=tuple(p for p in probes if isinstance(p, Question)),
        groups=tuple(p for p in probes if isinstance(p, ProbeGroup)),
        conversations=tuple(p for p in probes if isinstance(p, Conversation)),
        digest=digest.hexdigest(),
        path=path,
    )


def json_row(line: bytes, path: str, number: int) -> dict[str, Any]:
    """The JSON object of one line. Raises CFT102, CFT104 and CFT120."""

    def broken(message: str, column: int = 1, code: str = "CFT120") -> CoherenceError:
        return refusal(code, message, path=path, line=number, column=column)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs]
            raise broken(f"the key {show(next(n for n in names if names.count(n) > 1))} is given twice")
        return row

    def constant(name: str) -> None:
        raise broken(f"{name} is not a number of JSON")

    if len(line) > MAX_ROW_BYTES:
        raise broken(f"the row is longer than {MAX_ROW_BYTES:,} bytes", code="CFT104")
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip()
        row = json.loads(text, object_pairs_hook=unique, parse_constant=constant)
        json.dumps(
            row, ensure_ascii=False
        ).encode()  # a lone surrogate cannot be written, signed or tokenized
    except UnicodeDecodeError as error:
        raise broken(f"byte 0x{line[error.start]:02x} is not UTF-8", code="CFT102") from error
    except UnicodeEncodeError as error:
        raise broken("an escape is half of a surrogate pair, which is no character", code="CFT102") from error
    except json.JSONDecodeError as error:
        raise broken(f"not JSON: {error.msg}", error.colno) from error
    except (RecursionError, ValueError) as error:  # ValueError: an integer of thousands of digits
        raise broken("not JSON that can be read: nested too deeply, or a number too long") from error
    if not isinstance(row, dict):
        raise broken(f"not a JSON object but {show(row)}")
    return row


def _probe(row: dict[str, Any]) -> Probe:
    marks = row.get("language"), row.get("audience")
    if row["kind"] == "question":
        options = tuple(row["options"])
        return Question(
            row["id"],
            row["domain"],
            row["group"],
            tuple(row["messages"]),
            options,
            options.index(row["answer"]),
            *marks,
        )
    if row["kind"] == "group":
        members = tuple(Member(tuple(m["messages"]), tuple(m["options"])) for m in row["members"])
        return ProbeGroup(row["id"], row["domain"], row["relation"], members, *marks)
    checks = tuple(
        Check(c["verifier"], {name: value for name, value in c.items() if name != "verifier"})
        for c in row["checks"]
    )
    messages = tuple(row["messages"])
    return Conversation(
        row["id"], row["domain"], row["category"], messages, checks, int(row["max_new_tokens"]), *marks
    )


def _wrong(row: Document, domains: Collection[str]) -> Iterator[Diagnostic]:
    yield from unknown_domain.of_row(row, domains)
    for rule in PROBE_RULES:
        yield from rule.check(row)
    for n, test in enumerate(row.data.get("checks", ())):
        for rule in VERIFIER_RULES:
            yield from rule.check(test, row, ("checks", n))

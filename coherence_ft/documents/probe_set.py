"""Probe sets: inputs with known outcomes, one JSON object a line (schema/v1/probe-set.schema.yaml)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coherence_ft.documents.constraint_set import DOMAINS
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.reader import Document, JsonPath, dotted
from coherence_ft.documents.schemas import either, problems, show, suggestion, validator

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


VERIFIERS: dict[str, frozenset[str]] = {
    name: frozenset(arguments.split())
    for name, arguments in {
        "contains": "text",
        "not_contains": "text",
        "regex": "pattern",
        "not_regex": "pattern",
        "starts_with": "text",
        "ends_with": "text",
        "max_words": "words",
        "min_words": "words",
        "max_sentences": "sentences",
        "max_characters": "characters",
        "lowercase": "",
        "uppercase": "",
        "no_digits": "",
        "json": "",
        "bullets": "count",
        "language": "code",
        "role_boundary": "forbidden referral",
        "named_constraint": "name forbidden required",
    }.items()
}
"""The arguments of every verifier. All are needed, but `named_constraint` may leave out one of its lists."""

MAX_SHOWN = 50
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
            row = _row(line, path, number)
        except CoherenceError as error:
            wrong += error.diagnostics
            continue
        document = Document(path, row, values={(): (number, 1)})
        if not compiled.is_valid(row):
            wrong += problems("probe-set", document)
            continue
        found = [*_wrong_row(document, domains)]
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


def shortened(found: list[Diagnostic], path: str, shown: int = MAX_SHOWN) -> list[Diagnostic]:
    """The first `shown` diagnostics, and one that says how many more there are."""
    if len(found) <= shown:
        return found
    more = Diagnostic("CFT449", f"{len(found) - shown} more problems in this file are not shown", path)
    return [*found[:shown], more]


def _row(line: bytes, path: str, number: int) -> dict[str, Any]:
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
    if row["kind"] == "question":
        options = tuple(row["options"])
        return Question(
            row["id"],
            row["domain"],
            row["group"],
            tuple(row["messages"]),
            options,
            options.index(row["answer"]),
        )
    if row["kind"] == "group":
        members = tuple(Member(tuple(m["messages"]), tuple(m["options"])) for m in row["members"])
        return ProbeGroup(row["id"], row["domain"], row["relation"], members)
    checks = tuple(
        Check(c["verifier"], {name: value for name, value in c.items() if name != "verifier"})
        for c in row["checks"]
    )
    messages = tuple(row["messages"])
    return Conversation(
        row["id"], row["domain"], row["category"], messages, checks, int(row["max_new_tokens"])
    )


def _wrong_row(row: Document, domains: Collection[str]) -> Iterator[Diagnostic]:
    data = row.data
    if data["domain"] not in domains:
        yield row.diagnostic(
            "CFT307",
            "the row's domain is neither a published one nor the tenant's",
            found=data["domain"],
            expected=either(domains),
            help=suggestion(data["domain"], domains),
        )
    if data["kind"] == "group":
        yield from _wrong_group(row)
        for n, member in enumerate(data["members"]):
            yield from _wrong_messages(row, ("members", n, "messages"), member["messages"])
    else:
        yield from _wrong_messages(row, ("messages",), data["messages"])
    if data["kind"] == "question" and data["answer"] not in data["options"]:
        yield row.diagnostic(
            "CFT442",
            "the answer is not one of the options",
            found=show(data["answer"]),
            expected=either(map(show, data["options"])),
        )
    for n, check in enumerate(data.get("checks", ())):
        yield from _wrong_check(row, ("checks", n), check)


def _wrong_group(row: Document) -> Iterator[Diagnostic]:
    relation, members = row.data["relation"], row.data["members"]
    counts = {len(m["options"]) for m in members}
    if relation in ("negation", "implication") and len(members) != 2:
        yield row.diagnostic(
            "CFT443", f"{relation} holds between two members", found=str(len(members)), expected="2"
        )
    if relation == "negation" and counts != {2}:
        yield row.diagnostic("CFT443", "negation needs members with two options each")
    if relation in ("paraphrase", "symmetry") and len(counts) != 1:
        yield row.diagnostic("CFT443", f"{relation} needs members with the same number of options")


def _wrong_messages(row: Document, at: JsonPath, messages: list[Message]) -> Iterator[Diagnostic]:
    """Roles as chat templates demand them: a system message first if any, then user and assistant in turn."""
    roles = [m["role"] for m in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    if turns[-1:] != ["user"] or turns != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        yield row.diagnostic(
            "CFT444",
            f"`{dotted(at)}` is not a conversation that a model can answer",
            found=", ".join(roles) if len(roles) <= 8 else f"{', '.join(roles[:3])}, …, {roles[-1]}",
            expected="an optional system message, then user and assistant in turn, the user last",
        )


def _wrong_check(row: Document, at: JsonPath, check: dict[str, Any]) -> Iterator[Diagnostic]:
    name, known = check["verifier"], VERIFIERS[check["verifier"]]
    given = check.keys() - {"verifier"}
    needed = known
    if name == "named_constraint" and given & {"forbidden", "required"}:
        needed = frozenset({"name"})
    if given - known or needed - given:
        yield row.diagnostic(
            "CFT445",
            f"`{dotted(at)}`: wrong arguments for the verifier {name}",
            found=", ".join(sorted(given)) or "none",
            expected="name, and forbidden or required" if name == "named_constraint" else _list(known),
        )
    if "pattern" in given & known:
        try:
            re.compile(check["pattern"])
        except (re.error, OverflowError, RecursionError) as error:
            yield row.diagnostic(
                "CFT446", f"`{dotted(at)}`: not a regular expression: {error}", found=show(check["pattern"])
            )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"

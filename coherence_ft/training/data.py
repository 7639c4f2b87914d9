"""Training rows in TRL's formats, checked before anything is trained.

`messages`, or `prompt` with `completion`, for SFT; `prompt` with `chosen` and `rejected` for DPO
(https://huggingface.co/docs/trl/dataset_formats). Every broken row is reported with file, line and
reason, all of them at once.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coherence_ft.documents.canonical import canonical_digest
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.probe_set import Message, ProbeSet

if TYPE_CHECKING:
    from datasets import Dataset

Row = dict[str, list[Message]]

SHAPES: dict[str, tuple[tuple[str, ...], ...]] = {
    "sft": (("messages",), ("prompt", "completion")),
    "dpo": (("prompt", "chosen", "rejected"),),
}
"""The columns that a regime trains on."""

_ROLES = ("system", "user", "assistant")
_UNSUPPORTED = ("tools", "images", "image", "videos")  # TRL would train on these; we do not probe them
_PRINTED = 50
_HUB = re.compile(r"hub:(?P<id>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[^#]+))?(?:#(?P<split>.+))?")


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Rows of one shape. Texts without roles were made a user's and an assistant's turn.

    `digest`: sha256 (hex) of the file's bytes, or of the canonical JSON of the rows for a hub id.
    """

    source: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    digest: str
    license: str | None = None

    @property
    def count(self) -> int:
        return len(self.rows)

    def dataset(self) -> Dataset:
        """The rows as `datasets.Dataset`, in their order."""
        from datasets import Dataset

        return Dataset.from_list(list(self.rows))


def read_training_data(
    source: str, regime: str = "sft", *, prepare: str | None = None, license: str | None = None
) -> TrainingData:
    """Read and check `source`: a path (`.jsonl`, `.parquet`) or `hub:ID@REVISION#SPLIT`.

    Columns beside those of the shape are left out. `prepare` is the command that makes a missing file.
    Raises `CoherenceError`: CFT750 (missing file), CFT751 (unreadable), CFT752 (not JSON), CFT753 (a row of
    the wrong shape), CFT754 (no rows), CFT755 (hub). Broken rows are collected; at most 50 are listed.
    """
    if source.startswith("hub:"):
        records, digest = _read_hub(source)
    else:
        records, digest = _read_file(Path(source), prepare)
    columns: tuple[str, ...] = ()
    rows: list[Row] = []
    problems: list[Diagnostic] = []
    for line, record in records:
        if isinstance(record, Diagnostic):
            problems.append(record)
            continue
        try:
            found, row = _row(record, SHAPES[regime])
            if columns and found != columns:
                raise _Broken(f"has {_and(found)}, while the rows before have {_and(columns)}")
        except _Broken as broken:
            help = f"a {regime} row has {' or '.join(_and(s) for s in SHAPES[regime])}"
            problems.append(Diagnostic("CFT753", str(broken), source, line, 1, help=help))
        else:
            columns = found
            rows.append(row)
    if problems:
        raise CoherenceError([*problems[:_PRINTED], *_more(source, problems[_PRINTED:])])
    if not rows:
        raise refusal("CFT754", "the training data holds no rows", path=source, help=_prepare(prepare))
    return TrainingData(source, columns, tuple(rows), digest, license)


def _more(source: str, rest: Sequence[Diagnostic]) -> list[Diagnostic]:
    if not rest:
        return []
    places = ", ".join(str(problem.line) for problem in rest[:5])
    message = f"{len(rest)} more rows are broken: {places}, …"
    return [Diagnostic("CFT753", message, source, rest[0].line, 1)]


def _prepare(prepare: str | None) -> str:
    return f"build it: {prepare}" if prepare else "correct the path under data.train"


def _read_file(path: Path, prepare: str | None) -> tuple[Iterable[tuple[int, Any]], str]:
    if not path.is_file():
        raise refusal("CFT750", "the training data does not exist", path=path, help=_prepare(prepare))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise refusal("CFT751", f"the training data cannot be read: {error.strerror}", path=path) from error
    digest = hashlib.sha256(content).hexdigest()
    match path.suffix:
        case ".jsonl":
            return _json_lines(path, content), digest
        case ".parquet":
            return _parquet(path, content), digest
    raise refusal(
        "CFT751",
        "not a kind of file that is read",
        path=path,
        found=path.suffix,
        expected=".jsonl or .parquet",
    )


def _json_lines(path: Path, content: bytes) -> Iterator[tuple[int, Any]]:
    for line, encoded in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not encoded.strip():
            continue
        try:
            yield line, json.loads(encoded.decode())
        except UnicodeDecodeError as error:
            yield line, Diagnostic("CFT752", "the line is not UTF-8", str(path), line, error.start + 1)
        except json.JSONDecodeError as error:
            yield line, Diagnostic("CFT752", f"not JSON: {error.msg}", str(path), line, error.colno)
        except (RecursionError, ValueError) as error:
            yield line, Diagnostic("CFT752", f"not JSON that can be read: {error}", str(path), line, 1)


def _parquet(path: Path, content: bytes) -> Iterator[tuple[int, Any]]:
    """Rows count from 1."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise refusal("CFT751", f"the Parquet file cannot be read: {reason}", path=path) from error
    return iter(enumerate(table.to_pylist(), 1))


def _read_hub(source: str) -> tuple[Iterable[tuple[int, Any]], str]:
    match = _HUB.fullmatch(source)
    if match is None or not match["revision"]:
        raise refusal(
            "CFT755",
            "data of the hub is named with its revision, so that tomorrow's run trains on the same rows",
            path=source,
            expected="hub:ID@REVISION#SPLIT",
            help="take the commit from the history of the data set; #SPLIT is #train unless given",
        )
    import datasets

    try:
        loaded = datasets.load_dataset(
            match["id"], revision=match["revision"], split=match["split"] or "train"
        )
        records = [dict(record) for record in loaded]
    except Exception as error:  # the library's errors have no base of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise refusal("CFT755", f"the data set cannot be loaded: {reason}", path=source) from error
    return enumerate(records, 1), canonical_digest(json.loads(json.dumps(records, default=str)))


class _Broken(Exception):
    """Why a row is refused, as the rest of the sentence 'the row …'."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the row {reason}")


def _row(record: Any, shapes: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], Row]:
    """The shape that `record` has and its columns, checked."""
    if not isinstance(record, Mapping):
        raise _Broken(f"is {_kind(record)}, not an object")
    present = {name for name, value in record.items() if value is not None}
    shape = next((s for s in shapes if present.issuperset(s)), None)
    if shape is None:
        closest = max(shapes, key=lambda s: len(present.intersection(s)))
        missing = [name for name in closest if name not in present]
        raise _Broken(f"lacks {_and(missing)} (it has {_and(sorted(map(str, present))) or 'nothing'})")
    if unsupported := [name for name in _UNSUPPORTED if record.get(name)]:
        raise _Broken(f"has {_and(unsupported)}, which are not trained on")
    if shape == ("messages",):
        messages = _messages(record["messages"], "messages", "user")
        _in_turn(messages, "messages")
        if messages[-1]["role"] != "assistant":
            raise _Broken("ends with the user's turn: messages must end with the assistant's")
        return shape, {"messages": messages}
    row = {"prompt": _messages(record["prompt"], "prompt", "user")}
    _in_turn(row["prompt"], "prompt")
    if row["prompt"][-1]["role"] != "user":
        raise _Broken("has a prompt that ends with the assistant's turn, not the user's")
    for name in shape[1:]:
        row[name] = _messages(record[name], name, "assistant")
        if row[name][0]["role"] != "assistant":
            raise _Broken(f"has a {name} that starts with {row[name][0]['role']}: it starts with assistant")
        _in_turn([*row["prompt"], *row[name]], f"prompt and {name}")
        if row[name][-1]["role"] != "assistant":
            raise _Broken(f"has a {name} that ends with the user's turn, not the assistant's")
    if shape[-1] == "rejected" and row["chosen"] == row["rejected"]:
        raise _Broken("prefers nothing: chosen and rejected are the same")
    return shape, row


def _messages(value: Any, name: str, role: str) -> list[Message]:
    """Turns with a role and a text; a bare text becomes one turn of `role`."""
    if isinstance(value, str):
        return [{"role": role, "content": _content(value, name)}]
    if not isinstance(value, list) or not value:
        raise _Broken(f"has {name} that is {_kind(value)}, not a list of turns")
    messages = []
    for number, turn in enumerate(value, 1):
        place = f"{name}[{number}]"
        if not isinstance(turn, Mapping):
            raise _Broken(f"has {place} that is {_kind(turn)}, not an object with role and content")
        if turn.get("role") not in _ROLES:
            raise _Broken(f"has {place} with the role {turn.get('role')!r}, not one of {', '.join(_ROLES)}")
        messages.append({"role": turn["role"], "content": _content(turn.get("content"), place)})
    return messages


def _content(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise _Broken(f"has {place} whose text is {_kind(value)}")
    if not value.strip():
        raise _Broken(f"has {place} without text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Broken(f"has {place} with a text that is not Unicode (a lone surrogate)") from None
    return value


def _in_turn(messages: Sequence[Message], name: str) -> None:
    """An optional system turn, then user and assistant by turns: many chat templates raise otherwise."""
    spoken = messages[1:] if messages[0]["role"] == "system" else messages
    for number, message in enumerate(spoken):
        expected = ("user", "assistant")[number % 2]
        if message["role"] != expected:
            place = number + 1 + len(messages) - len(spoken)
            raise _Broken(f"has {name} out of turn: turn {place} is {message['role']}, not {expected}")
    if not spoken:
        raise _Broken(f"has {name} with nothing but a system turn")


def _kind(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case str():
            return "a text"
        case []:
            return "an empty list"
        case list():
            return "a list"
        case dict():
            return "an object"
    return f"the value {value!r:.40}"


def _and(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def overlap(rows: Iterable[Row], probes: ProbeSet) -> list[str]:
    """Prompts of `probes` that the training rows contain, as they stand in the probe set.

    Texts are compared without regard to case, white space and system turns. A probe of several turns is
    found as a whole; one of a single turn also inside a longer training conversation.
    """
    trained: set[tuple[str, ...]] = set()
    for row in rows:
        spoken = [m for m in row.get("messages") or row["prompt"] if m["role"] != "system"]
        texts = [_normal(m["content"]) for m in spoken]
        for end, message in enumerate(spoken):
            if message["role"] == "user":
                trained.add((texts[end],))
                trained.add(tuple(texts[: end + 1]))
    prompts = [q.messages for q in probes.questions]
    prompts += [member.messages for group in probes.groups for member in group.members]
    prompts += [c.messages for c in probes.conversations]
    shared = {}
    for prompt in prompts:
        contents = [m["content"] for m in prompt if m["role"] != "system"]
        key = tuple(map(_normal, contents))
        if key in trained:
            shared[key] = "\n".join(contents)
    return list(shared.values())


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())

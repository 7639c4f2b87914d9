"""Plain data from the events of a YAML parser, with the place of every key and value, hazards refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.limits import Limits
from coherence_ft.documents.scalars import NOT_TEXT, ScalarError, resolve

JsonPath = tuple[str | int, ...]
Place = tuple[int, int]  # line and column, from 1

# Stand in the place of a mapping's key: the next scalar is one; it was refused, and its value goes nowhere.
_WANTED, _DROPPED = object(), object()


class Builder:
    """Builds plain data from events, with an explicit stack: depth costs no recursion."""

    def __init__(self, path: str, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        self.root: Any = None
        self.keys: dict[JsonPath, Place] = {}
        self.values: dict[JsonPath, Place] = {}
        self.problems: list[Diagnostic] = []
        self._begun_again: set[JsonPath] = set()  # entries whose first key came back: a dash was forgotten

    def problem(
        self, code: str, message: str, place: Place, found: str = "", expected: str = "", help: str = ""
    ) -> None:
        self.problems.append(
            Diagnostic(code, message, self.path, *place, found=_cut(found), expected=expected, help=help)
        )

    def too_much(self, limit: str, message: str, place: Place) -> None:
        self.problems.append(self.limits.exceeded(limit, message, self.path, *place))

    def consume(self, events: Iterator[Any]) -> None:
        """Build from all events, or up to the first that must not be followed.

        One loop, with what is open in local variables: half of the time that a constraint set takes is spent
        here.
        """
        keys, values = self.keys, self.values
        most, deepest = self.limits.events, self.limits.depth
        documents = 0
        stack: list[tuple[Any, JsonPath, Any]] = []
        container: Any = (
            None  # the innermost open list or mapping, its path, and the key whose value comes next
        )
        path: JsonPath = ()
        key: Any = None
        for count, event in enumerate(events):
            mark = event.start_mark
            place = (mark.line + 1, mark.column + 1)
            if count > most:
                self.too_much("events", "the document has too many parts", place)
                return
            kind = event.__class__
            if kind is ScalarEvent:
                value = event.value
                plain = event.implicit[0]
                if event.tag is not None or event.anchor is not None:
                    self._hazards(event, place)
                    plain = plain and event.tag is None
                if plain and value[:1] in NOT_TEXT:
                    value = self._resolve(value, place)
                if key is _WANTED:
                    at = (*path, value)
                    if value.__class__ is str and value not in container and not (plain and value == "<<"):
                        key = value
                        container[value] = None
                        keys[at] = place
                    else:
                        key = _DROPPED
                        self._wrong_key(value, event.value, at, place)
                    continue
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                container, path, key = stack.pop()
                continue
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                self._hazards(event, place)
                if len(stack) >= deepest:
                    self.too_much("depth", "the nesting is too deep", place)
                    return
                value = {} if kind is MappingStartEvent else []
            elif kind is AliasEvent:
                self._anchor(f"*{event.anchor}", place)
                if key is _WANTED:
                    key = _DROPPED
                    continue
                value = None
            else:
                if kind is DocumentStartEvent:
                    documents += 1
                    self._document(event, documents, place)
                    if documents > 1:
                        return
                continue
            if container.__class__ is list:
                at = (*path, len(container))
                container.append(value)
            elif key is _WANTED:
                self.problem(
                    "CFT109",
                    "a key that is not text",
                    place,
                    found="a list or mapping",
                    help="fill in templates such as {{ name }} first; put text with brackets into quotes",
                )
                at = ("?", len(stack))
                key = _DROPPED
            elif container is None:
                at = ()
                self.root = value
            else:
                at = (*path, key)
                if key is not _DROPPED:
                    container[key] = value
                key = _WANTED
            values[at] = place
            if kind is MappingStartEvent:
                stack.append((container, path, key))
                container, path, key = value, at, _WANTED
            elif kind is SequenceStartEvent:
                stack.append((container, path, key))
                container, path, key = value, at, None
        if documents == 0 or (self.root is None and not self.problems):
            self.problem("CFT111", "the file holds no document", (1, 1), help="write one, or remove the file")

    def _document(self, event: Any, number: int, place: Place) -> None:
        if number > 1:
            self.problem("CFT110", "a second document begins here", place, help="write one document a file")
        elif event.version or event.tags:
            self.problem("CFT106", "a YAML directive", place, help="remove the line that starts with %")

    def _hazards(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            self._anchor(f"&{event.anchor}", place)
        if event.tag is not None:
            self.problem(
                "CFT106",
                "a YAML tag",
                place,
                found=event.tag,
                help="remove it; quote the value if it is text",
            )

    def _anchor(self, found: str, place: Place) -> None:
        self.problem(
            "CFT105",
            "a YAML anchor or alias",
            place,
            found=found,
            help='write the value out where it is used; quote text that starts with & or *: "*.jsonl"',
        )

    def _resolve(self, text: str, place: Place) -> Any:
        try:
            return resolve(text)
        except ScalarError as error:
            code, message, help = error.args
            self.problem(code, message, place, found=text, help=help)
            return text

    def _wrong_key(self, value: Any, written: str, path: JsonPath, place: Place) -> None:
        if value.__class__ is not str:
            self.problem(
                "CFT109",
                "a key that is not text",
                place,
                found=written or "nothing",
                help=f'quote it: "{_cut(written)}"',
            )
        elif first := self.keys.get(path):
            self._key_twice(value, path, first, place)
        else:
            self.problem("CFT107", "a YAML merge key", place, help="write the merged keys out")

    def _key_twice(self, key: str, path: JsonPath, first: Place, place: Place) -> None:
        entry, help = path[:-1], f"remove one of the two; the first is at line {first[0]}"
        if entry in self._begun_again:
            return  # one forgotten dash is one problem
        if entry and entry[-1].__class__ is int and self.values.get(entry) == first:
            self._begun_again.add(entry)
            help = f"begin an entry of its own with `- `, or {help}"
        self.problem("CFT108", f"the key `{_cut(key)}` is given twice", place, help=help)


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:56]}…"

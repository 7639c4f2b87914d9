"""A document as a tree that keeps its comments, for the commands that rewrite files.

Built on the events of PyYAML's C parser, which give where each scalar begins and ends: a `#` outside of all
scalars begins a comment. (ruamel.yaml hangs a comment on the token before it, so that it loses its place as
soon as keys change theirs.) An own-line comment belongs to the key or list item below it, or, indented deeper
than that, to the end of the block above it; a trailing comment belongs to what ends before it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import yaml

from coherence_ft.documents.reader import Place, events
from coherence_ft.documents.scalars import resolve

BLANK = ""  # a blank line among comments
_BREAK = re.compile("\r?\n")  # the reader refuses what else could end a line


@dataclass(slots=True, eq=False)
class Scalar:
    """`style` is empty for plain, else one of `" ' | >`; `lines` is a block scalar's text, not indented.

    `folded`: plain or quoted over several lines. `keep`: a block scalar that keeps all line ends (`|+`).
    """

    value: str
    style: str = ""
    place: Place = (0, 0)
    folded: bool = False
    keep: bool = False
    lines: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Collection:
    """A mapping or list. `flow` if it stands on one line in brackets and holds no comment.

    `tail` is what follows the last entry: comments and blank lines.
    """

    is_mapping: bool
    entries: list[Entry] = field(default_factory=list)
    flow: bool = False
    tail: list[str] = field(default_factory=list)
    place: Place = (0, 0)

    def pairs(self) -> Iterator[tuple[str, Entry]]:
        """The entries of a mapping with their keys."""
        return ((entry.key.value, entry) for entry in self.entries if entry.key)

    def get(self, key: str) -> Entry | None:
        return next((entry for name, entry in self.pairs() if name == key), None)

    def mapping(self, key: str) -> Collection | None:
        """The mapping or list at a key."""
        entry = self.get(key)
        return entry.value if entry and isinstance(entry.value, Collection) else None

    def mappings(self) -> list[Collection]:
        """The mappings and lists of a list."""
        return [entry.value for entry in self.entries if isinstance(entry.value, Collection)]


@dataclass(slots=True, eq=False)
class Entry:
    """A key with its value, or (without a key) a list item, with the comments about it.

    `leading` is what stands above it: comments and blank lines. `trailing` is the comment on its line.
    """

    value: Node
    key: Scalar | None = None
    leading: list[str] = field(default_factory=list)
    trailing: str = ""

    @property
    def place(self) -> Place:
        return (self.key or self.value).place

    def remark(self, comment: str) -> None:
        """Add a trailing comment. A line has one, so an earlier one moves above it."""
        if self.trailing:
            self.leading.append(self.trailing)
        self.trailing = comment


Node = Scalar | Collection


def read_tree(text: str) -> Collection:
    """The tree of a document that the reader accepts and whose root is a mapping."""
    builder = _Builder(text)
    root = builder.root
    if not isinstance(root, Collection):
        raise ValueError("the root of the document is no mapping")
    builder.attach(root)
    return root


def comments(text: str) -> list[str]:
    """Every comment, from its `#` on, in order."""
    return [remark.text for remark in _Builder(text).remarks() if remark.text]


def plain(node: Node) -> Any:
    """The data of a tree."""
    if isinstance(node, Scalar):
        return node.value if node.style else resolve(node.value)
    if node.is_mapping:
        return {key: plain(entry.value) for key, entry in node.pairs()}
    return [plain(entry.value) for entry in node.entries]


@dataclass(slots=True, eq=False)
class _Box:
    """A collection in the text. `column` counts from 0; `end` is known for those in brackets."""

    node: Collection
    column: int
    start: int
    owner: _Spot | None
    depth: int
    bracketed: bool
    end: int = -1
    waiting: _Spot | None = None  # a key whose value comes next

    def chain(self) -> Iterator[_Box]:
        """This box and those around it, the innermost first."""
        box: _Box | None = self
        while box is not None:
            yield box
            box = box.owner.box if box.owner else None


@dataclass(slots=True, eq=False)
class _Spot:
    """An entry in the text. `inside` is the box of its value."""

    entry: Entry
    box: _Box
    start: int
    value_start: int
    inside: _Box | None = None


@dataclass(frozen=True, slots=True)
class _Remark:
    """A comment, or (without text) a blank line. `alone`: nothing stands before it on its line."""

    text: str
    index: int
    line: int
    column: int
    alone: bool


class _Builder:
    def __init__(self, text: str) -> None:
        self.text = text
        breaks = [(match.start(), match.end()) for match in _BREAK.finditer(text)]
        self.starts = [0, *(end for _, end in breaks)]  # of lines
        self.ends = [*(start for start, _ in breaks), len(text)]
        self.root: Node | None = None
        self.spots: list[_Spot] = []
        self._anchors: list[tuple[int, int, _Spot]] = []  # what a trailing comment can follow: end and line
        self._scalars: list[tuple[int, int]] = []
        self._open: list[_Box] = []
        for event in events(text):
            self._take(event)

    def _take(self, event: Any) -> None:
        start, end = event.start_mark, event.end_mark
        place = (start.line + 1, start.column + 1)
        if isinstance(event, yaml.ScalarEvent):
            block = event.style in ("|", ">")
            scalar = Scalar(event.value, event.style or "", place)
            if block:
                self._block(scalar, start.line, end.index)
            else:
                scalar.folded = start.line != end.line
                self._scalars.append((start.index, end.index))
            if spot := self._put(scalar, start.index):
                last = start if block else end
                self._anchors.append((last.index, last.line, spot))
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            node = Collection(isinstance(event, yaml.MappingStartEvent), place=place)
            owner = self._put(node, start.index)
            box = _Box(node, start.column, start.index, owner, len(self._open), bool(event.flow_style))
            if owner:
                owner.inside = box
            self._open.append(box)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            box = self._open.pop()
            if box.bracketed:
                box.end = end.index
                box.node.flow = end.line + 1 == box.node.place[0]
                if box.owner:
                    self._anchors.append((end.index, end.line, box.owner))

    def _put(self, node: Node, start: int) -> _Spot | None:
        """Put a key or a value where it belongs; None for the root."""
        if not self._open:
            self.root = node
            return None
        box = self._open[-1]
        if spot := box.waiting:
            spot.entry.value, spot.value_start, box.waiting = node, start, None
            return spot
        is_key = box.node.is_mapping and isinstance(node, Scalar)
        spot = _Spot(Entry(node, node if is_key else None), box, start, start)  # type: ignore[arg-type]
        box.waiting = spot if is_key else None
        box.node.entries.append(spot.entry)
        self.spots.append(spot)
        return spot

    def _block(self, scalar: Scalar, line: int, end: int) -> None:
        """The lines of a block scalar: the value of a folded one no longer shows them."""
        header = self.text[self.starts[line] + scalar.place[1] - 1 : self.ends[line]].split("#")[0]
        scalar.keep = "+" in header
        after = bisect_right(self.starts, end - 1)
        lines = [self.text[self.starts[n] : self.ends[n]] for n in range(line + 1, after)]
        if digits := re.sub(r"\D", "", header):
            indent = self._open[-1].column + int(digits)
        else:
            indent = next((len(text) - len(text.lstrip(" ")) for text in lines if text.strip(" ")), 0)
        # Spaces beyond the indentation are text.
        while lines and not lines[-1].strip(" ") and len(lines[-1]) <= indent and not scalar.keep:
            lines.pop()
        self._scalars.append((self.ends[line], self.ends[line + len(lines)] + 1))
        scalar.lines = tuple(text[indent:] for text in lines)

    def remarks(self) -> Iterator[_Remark]:
        """Comments and blank lines outside of scalars, in order."""
        pieces, at = [], 0
        for start, end in self._scalars:
            pieces += [self.text[at:start], "x" * (end - start)]
            at = max(at, end)
        masked = "".join(pieces) + self.text[at:]
        for line, (start, end) in enumerate(zip(self.starts, self.ends, strict=True)):
            before, hash, _ = masked[start : end + 1].partition("#")
            index = start + len(before)
            if hash:
                text = self.text[index:end].rstrip()
                yield _Remark(text, index, line, len(before), not before.strip())
            elif not before.strip():
                yield _Remark(BLANK, start, line, 0, True)

    def attach(self, root: Collection) -> None:
        """Give every comment and blank line to what it is about."""
        starts = [spot.start for spot in self.spots]
        ends = [end for end, _, _ in self._anchors]
        alone = []
        for remark in self.remarks():
            before = bisect_right(starts, remark.index) - 1
            if remark.text and before >= 0:
                for box in self._around(self.spots[before], remark.index):
                    box.node.flow = False
            anchor = bisect_right(ends, remark.index) - 1
            if not remark.alone and anchor >= 0 and self._anchors[anchor][1] == remark.line:
                self._anchors[anchor][2].entry.remark(remark.text)
            else:
                alone.append((before, remark))
        for before, gap in groupby(alone, key=lambda pair: pair[0]):
            self._fill(root, before, [remark for _, remark in gap])

    def _around(self, spot: _Spot, index: int) -> list[_Box]:
        """The bracketed collections around a place that `spot` is the last entry before, innermost first."""
        boxes = [*([spot.inside] if spot.inside else []), *spot.box.chain()]
        return [box for box in boxes if box.bracketed and box.start < index < box.end]

    def _fill(self, root: Collection, before: int, remarks: list[_Remark]) -> None:
        """Give away what stands between the entry at `before` and the next one."""
        last = self.spots[before] if before >= 0 else None
        below = self.spots[before + 1] if before + 1 < len(self.spots) else None
        limit = len(self.spots)  # of depth: after a comment that went outwards, none goes inwards again
        blank = False
        for remark in remarks:
            if last and (self._around(last, remark.index) or _waits(last, remark.index)):
                inner = self._inner(last, below, remark)
                inner += [remark.text] if remark.text else []
            elif not remark.text:
                blank = True
            else:
                target, limit = _outer(root, last, below, remark, limit)
                target += [BLANK, remark.text] if blank else [remark.text]
                blank = False
        if blank and below:
            below.entry.leading.append(BLANK)

    def _inner(self, last: _Spot, below: _Spot | None, remark: _Remark) -> list[str]:
        """What takes a comment inside of brackets, or between a key and its value."""
        if around := self._around(last, remark.index):
            inside = below is not None and below.start < around[0].end
            return below.entry.leading if below and inside else around[0].node.tail
        return last.entry.leading


def _waits(spot: _Spot, index: int) -> bool:
    """Whether the place lies between a key and its value, if that is no block with comments of its own."""
    return spot.value_start > index and (spot.inside is None or spot.inside.bracketed)


def _outer(
    root: Collection, last: _Spot | None, below: _Spot | None, remark: _Remark, limit: int
) -> tuple[list[str], int]:
    """What takes a comment between two entries, and its depth: the entry below, or a block that ends here."""
    column = below.box.column if below else -1
    around = list(below.box.chain()) if below else []
    best = None
    for box in reversed(list(last.box.chain()) if last and remark.alone else []):
        ends_here = not box.bracketed and box not in around and box.depth <= limit
        if ends_here and column < box.column <= remark.column and (not best or box.column > best.column):
            best = box
    if best:
        return best.node.tail, best.depth
    return (below.entry.leading if below else root.tail), -1

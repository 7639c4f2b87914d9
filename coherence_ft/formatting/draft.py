"""A document on its way from one version of the format to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Place
from coherence_ft.formatting.tree import Collection, Entry, Scalar


@dataclass(slots=True)
class Draft:
    """The tree that is being translated, what was changed (with lines), and why it cannot be."""

    path: str
    root: Collection
    notes: dict[str, list[int]] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)

    def note(self, place: Place, note: str) -> None:
        lines = self.notes.setdefault(note, [])
        lines += [place[0]] if place[0] not in lines else []

    def printed_notes(self) -> list[str]:
        """`lines 4, 9: NOTE`, in the order of the first line."""
        lines = {note: sorted(numbers) for note, numbers in self.notes.items()}
        return [
            f"line{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}: {note}"
            for note, numbers in sorted(lines.items(), key=lambda item: item[1][0])
        ]

    def inexpressible(self, entry: Entry, message: str, help: str) -> None:
        self._refuse("CFT220", entry.place, message, help)

    def undecided(self, place: Place, message: str, help: str) -> None:
        self._refuse("CFT221", place, message, help)

    def _refuse(self, code: str, place: Place, message: str, help: str) -> None:
        self.problems.append(Diagnostic(code, message, self.path, *place, help=help))

    def rename(self, node: Collection, keys: Mapping[str, str]) -> None:
        for key, entry in node.pairs():
            if new := keys.get(key):
                self.note(entry.place, f"`{key}` is `{new}`")
                entry.key = Scalar(new, place=entry.place)

    def replace(self, entry: Entry, values: Mapping[str, str]) -> None:
        """Exchange one word for another."""
        if isinstance(entry.value, Scalar) and (new := values.get(entry.value.value)):
            self.note(entry.value.place, f"`{entry.value.value}` is `{new}`")
            entry.value = Scalar(new, '"', entry.value.place)

    def gather(self, name: str, keys: Mapping[str, str]) -> Collection:
        """Move keys of the root into a mapping of their own, in the place of the first of them."""
        inside = Collection(True)
        for key, entry in list(self.root.pairs()):
            if new := keys.get(key):
                self.note(entry.place, f"`{key}` is `{new}` of `{name}`")
                if not inside.entries:
                    inside.place = entry.place
                    outside = Entry(inside, Scalar(name, place=entry.place), entry.leading)
                    self.root.entries.insert(self.root.entries.index(entry), outside)
                    entry.leading = []
                entry.key = Scalar(new, place=entry.place)
                self.root.entries.remove(entry)
                inside.entries.append(entry)
        return inside

    def listed(self, name: str) -> list[Collection]:
        """Turn a mapping by id under `name` into a list of mappings that begin with their `id`; these."""
        entry = self.root.get(name)
        if entry is None or not isinstance(entry.value, Collection):
            return []
        self.note(entry.place, f"`{name}` is a list; each has an `id`")
        node = entry.value
        entry.value = Collection(False, [], node.flow, node.tail, node.place)
        for id, each in node.pairs():
            if isinstance(each.value, Collection):
                each.value.place = each.place
                first = Entry(Scalar(id, '"', each.place), Scalar("id", place=each.place))
                each.value.entries.insert(0, first)
                if not each.value.flow:
                    first.trailing, each.trailing = each.trailing, ""
                entry.value.entries.append(Entry(each.value, None, each.leading, each.trailing))
        return entry.value.mappings()

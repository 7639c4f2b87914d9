"""The house: imports go down, never up and never round; no file grows beyond reading at one sitting."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "coherence_ft"
MOST_LINES = 450


def floors() -> dict[str, int]:
    """Package to floor, as the table in CONTRIBUTING.md has it."""
    table: dict[str, int] = {}
    for line in (HOUSE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[1].isdigit():
            table |= {name.strip("` /"): int(cells[1]) for name in cells[2].split(",")}
    return table


def rooms() -> list[str]:
    return sorted(p.parent.name for p in HOUSE.glob("*/__init__.py"))


def imported(path: Path) -> Iterator[str]:
    """Every module of ours that a file imports, at any depth of nesting and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides the floor"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def used_rooms(path: Path) -> set[str]:
    parts = [name.split(".") for name in imported(path)]
    return {p[1] for p in parts if p[0] == "coherence_ft" and len(p) > 1} & set(rooms())


def test_the_table_names_every_room() -> None:
    table = floors()
    assert set(rooms()) == table.keys()


@pytest.mark.parametrize("room", rooms())
def test_a_room_imports_from_floors_below_and_from_itself(room: str) -> None:
    table = floors()
    upwards = {
        f"{path.relative_to(HOUSE)} imports {other}"
        for path in (HOUSE / room).rglob("*.py")
        for other in used_rooms(path) - {room}
        if table[other] >= table[room]
    }
    assert not upwards


def test_rooms_of_one_floor_do_not_import_each_other_round() -> None:
    graph = {
        room: {other for path in (HOUSE / room).rglob("*.py") for other in used_rooms(path)} - {room}
        for room in rooms()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError with the circle


WITHOUT_TORCH = (
    "documents",
    "formatting",
    "ledger",
    "evidence",
    "authority",
    "loops",
    "manifest",
    "comparison",
)


@pytest.mark.parametrize("room", [*WITHOUT_TORCH, "reporting", "projections"])
def test_lower_floors_do_without_torch(room: str) -> None:
    heavy = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes"}
    found = {
        f"{path.relative_to(HOUSE)} imports {name}"
        for path in (HOUSE / room).rglob("*.py")
        for name in imported(path)
        if name.split(".")[0] in heavy
    }
    assert not found


def test_no_file_is_too_long() -> None:
    lengths = {
        str(path.relative_to(HOUSE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in HOUSE.rglob("*.py")
    }
    assert {name: count for name, count in lengths.items() if count > MOST_LINES} == {}

"""Which files a command that takes files and folders looks at."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from coherence_ft.documents.diagnostics import Diagnostic

SCHEMA_SUFFIXES = (".schema.yaml", ".schema.yml")


def files_of(paths: Iterable[Path | str]) -> tuple[list[Path], list[Diagnostic]]:
    """The files that are checked, absolute and in order, and CFT412 for every folder that holds none."""
    files: dict[Path, None] = {}
    found = []
    for given in paths:
        if not os.path.isdir(given):  # Path.is_dir raises for a name that is too long
            files[Path(given).absolute()] = None
            continue
        below = sorted(_below(Path(given).absolute()), key=lambda path: path.split(os.sep))
        if not below:
            found.append(
                Diagnostic("CFT412", "the folder holds no YAML files", str(given), help="name another folder")
            )
        files |= dict.fromkeys(map(Path, below))
    return list(files), found


def _below(folder: Path) -> Iterator[str]:
    """The YAML files below a folder, without what is hidden."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.endswith((".yaml", ".yml")) and not name.startswith("."):
                yield os.path.join(parent, name)

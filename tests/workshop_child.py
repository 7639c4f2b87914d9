"""What a process of `workshop.Elsewhere` runs. Importing it imports all that training needs."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import coherence_ft.cli.main

for _heavy in ("coherence_ft.training.run", "coherence_ft.training.sft", "coherence_ft.training.dpo"):
    __import__(_heavy)


def main(log: str, arguments: list[str], file_limit: int | None) -> None:
    """The command line, its output in `log`. `file_limit`: no file may grow over so many bytes."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    os.chdir(Path(log).parent)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    coherence_ft.cli.main.main(arguments)

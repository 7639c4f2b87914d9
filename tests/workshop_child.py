"""What a process of `workshop.Elsewhere` runs. Importing it imports all that training needs."""

from __future__ import annotations

import importlib
import os
import resource
import sys
from multiprocessing.connection import Connection

from coherence_ft.cli.main import main as command_line

for _heavy in ("run", "sft", "dpo"):
    importlib.import_module(f"coherence_ft.training.{_heavy}")


def main(output: Connection, arguments: list[str], file_limit: int | None) -> None:
    """The command line with these arguments; whatever it prints goes to `output`."""
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    command_line(arguments)

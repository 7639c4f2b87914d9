"""A progress bar for hashing, on a terminal and only where it takes long."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from coherence_ft.manifest.hashing import watched

if TYPE_CHECKING:
    from rich.progress import Progress

_LONG = 1.0  # seconds


@contextmanager
def hashing_shown() -> Iterator[None]:
    """Show how far hashing is, on standard error, while whatever is inside hashes for more than a second."""
    if not sys.stderr.isatty():
        yield
        return
    with ExitStack() as stack:
        bar: Progress | None = None
        began = (0, 0.0)  # how much there is to hash, and since when: another amount is another task

        def watch(done: int, total: int) -> None:
            nonlocal bar, began
            if total != began[0]:
                began = (total, time.monotonic())
                if bar is not None:
                    bar.reset(bar.task_ids[0], total=total)
            if bar is None and time.monotonic() - began[1] > _LONG:
                bar = stack.enter_context(_bar())
                bar.add_task("sha256", total=total)
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done)

        stack.enter_context(watched(watch))
        yield


def _bar() -> Progress:
    # Only now: rich takes longer to import than a small derivative takes to verify.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)

"""Progress of slow parts, on stderr: stdout may carry a document for a machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show `what` with a spinner on a terminal, as one line elsewhere; transformers' own bars stay silent."""
    from rich.console import Console
    from transformers.utils import logging

    console = Console(stderr=True)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        if console.is_terminal:
            with console.status(what):
                yield
        else:
            console.print(what, markup=False, highlight=False, soft_wrap=True)
            yield
    finally:
        if bars:
            logging.enable_progress_bar()

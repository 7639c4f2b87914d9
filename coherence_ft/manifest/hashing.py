"""sha256 of many files: several at a time, interruptible, and watched where somebody waits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import BinaryIO

Watch = Callable[[int, int], None]
"""Told how many bytes are hashed so far, and of how many."""

_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)
_BLOCK = 2**20  # bytes; larger ones leave the processor's cache between reading and hashing
_SMALL = 16 * 2**20  # bytes in all, not worth a thread
_EVERY = 0.1  # seconds


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Whatever is hashed inside tells `watch`, from this thread, about ten times a second."""
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)


def hash_files(
    sizes: Mapping[str, int], open: Callable[[str], AbstractContextManager[BinaryIO]]
) -> dict[str, str | OSError]:
    """sha256 (hex) by name, an OSError where one cannot be read. `sizes`: in bytes, as far as known.

    `open` is called in several threads. An exception in this one, KeyboardInterrupt above all, stops them
    within a block.
    """
    done = dict.fromkeys(sizes, 0)
    stopped = False

    def digest(name: str) -> str | OSError:
        block, state = bytearray(min(_BLOCK, sizes[name] + 1)), hashlib.sha256()
        view = memoryview(block)
        try:
            with open(name) as file:
                while not stopped and (count := file.readinto(block)):  # type: ignore[attr-defined]
                    state.update(view[:count])
                    done[name] += count
        except OSError as error:
            return error
        return state.hexdigest()

    total = sum(sizes.values())
    if total < _SMALL:
        return {name: digest(name) for name in sizes}
    # The largest first, so that no thread is left alone with it at the end.
    order = sorted(sizes, key=lambda name: -sizes[name])
    pool = ThreadPoolExecutor(_threads(), thread_name_prefix="sha256")
    watch = _WATCH.get()
    try:
        futures = {name: pool.submit(digest, name) for name in order}
        while wait(futures.values(), timeout=_EVERY).not_done:
            if watch:
                watch(sum(done.values()), total)
        return {name: future.result() for name, future in futures.items()}
    finally:
        stopped = True
        pool.shutdown(cancel_futures=True)


def _threads() -> int:
    """More than processors: five files on two of them would leave one idle while the fifth is hashed."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available + 4, 32)

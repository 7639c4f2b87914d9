"""Digests remembered by file times, for those who ask for it: never the default, never in the folder.

What is trusted then: that nobody set the clock back or wrote to the disk below the file system since, because
a change of content moves a file's `ctime`, which no call can set; and that nobody else writes to the user's
cache. A file is remembered only once it has been at rest for `_REST`: within a tick of the clock two versions
can have one time.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path

from coherence_ft.manifest.files import Identity, OpenFolder

_REST = 2 * 10**9  # nanoseconds
_VERSION = 1
_LARGEST = 64 * 2**20  # bytes


def recall(opened: OpenFolder) -> dict[Identity, str]:
    """What `remember` wrote about this folder; nothing where that cannot be read or looks odd in any way."""
    try:
        path = _place(opened.path)
        if path is None:
            return {}
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            others = stat.S_IWGRP | stat.S_IWOTH
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & others:
                return {}
            data = json.loads(file.read(_LARGEST))
        if data["version"] != _VERSION:
            return {}
        return {_identity(*numbers): _digest(digest) for *numbers, digest in data["files"]}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}


def remember(opened: OpenFolder) -> None:
    """Keep the digests of this reading. That it cannot be done is no reason to refuse anything."""
    entries = [
        (*identity, opened.hashed[name])
        for name, identity in sorted(opened.identities.items())
        if name in opened.hashed and max(identity[3:]) < opened.opened_at - _REST
    ]
    import tempfile

    with suppress(OSError):
        path = _place(opened.path)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, partial = tempfile.mkstemp(dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump({"version": _VERSION, "files": entries}, file)
            os.replace(partial, path)
        except OSError:
            os.unlink(partial)
            raise


def _place(folder: Path) -> Path | None:
    """One file a folder, whatever its name is now; None where that would lie in the folder itself."""
    from coherence_ft.models.packages import cache_folder

    status, cache = os.stat(folder), cache_folder().resolve() / "file-digests"
    if cache.is_relative_to(folder.resolve()):
        return None
    return cache / f"{status.st_dev:x}-{status.st_ino:x}.json"


def _identity(device: int, inode: int, size: int, modified: int, changed: int) -> Identity:
    identity = device, inode, size, modified, changed
    if not all(type(number) is int for number in identity):
        raise ValueError("no number")
    return identity


def _digest(text: str) -> str:
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError("no sha256")
    return text

"""The files of a folder, seen through descriptors: no link is followed, every byte is read once."""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from coherence_ft.documents.diagnostics import Diagnostic, refusal

MANIFEST = "coherence_manifest.json"
BUNDLE = "coherence_manifest.sigstore.json"
_MOST_FILES = 100_000
_MOST_FOLDERS = 500  # each keeps a descriptor open while the folder is read
_THREADS = 4


@dataclass(slots=True)
class OpenFolder:
    """A folder held open. `files` maps POSIX names below it to the descriptor and name to open them by.

    `refused` maps names that are no regular file to what is wrong with them (CFT610, CFT611).
    """

    path: Path
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    refused: dict[str, Diagnostic] = field(default_factory=dict)

    def open(self, name: str) -> int:
        """A descriptor on a regular file. Raises OSError, also where a link took its place meanwhile."""
        folder, last = self.files[name]
        # O_NONBLOCK: opening a pipe that took the file's place must not wait for a writer.
        descriptor = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError("not a regular file")
        return descriptor

    def read(self, name: str, limit: int) -> bytes:
        """At most `limit` + 1 bytes: one more than allowed shows that a file is too large."""
        with os.fdopen(self.open(name), "rb") as file:
            return file.read(limit + 1)

    def digests(self, names: Iterable[str]) -> dict[str, str | OSError]:
        """sha256 (hex) by name, several files at a time; an OSError where one cannot be read."""

        def digest(name: str) -> str | OSError:
            try:
                with os.fdopen(self.open(name), "rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                return error

        names = list(names)
        with ThreadPoolExecutor(_THREADS) as pool:
            return dict(zip(names, pool.map(digest, names), strict=True))


@contextmanager
def open_folder(path: Path) -> Iterator[OpenFolder]:
    """Hold `path` and every folder below it open while its files are read.

    Raises CoherenceError (CFT601) when it is no folder that can be read, and CFT613 when it holds more
    files or folders than a derivative ever does.
    """
    with ExitStack() as stack:
        folder = OpenFolder(path)

        def hold(name: str | Path, parent: int | None) -> int:
            # Only the folder itself may be reached through a link: the user named it.
            follow = 0 if parent is None else os.O_NOFOLLOW
            descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | follow, dir_fd=parent)
            stack.callback(os.close, descriptor)
            return descriptor

        try:
            waiting = [("", hold(path, None))]
        except OSError as error:
            raise refusal(
                "CFT601", "the folder cannot be read", path=path, found=error.strerror or str(error)
            ) from error
        folders = 1
        while waiting:
            prefix, descriptor = waiting.pop()
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders += 1
                        if folders > _MOST_FOLDERS:
                            raise refusal("CFT613", "the folder holds too many folders", path=path)
                        try:
                            waiting.append((f"{name}/", hold(entry.name, descriptor)))
                        except OSError as error:
                            folder.refused[name] = unreadable(path, name, error)
                    elif entry.is_file(follow_symlinks=False):
                        folder.files[name] = (descriptor, entry.name)
                        if len(folder.files) > _MOST_FILES:
                            raise refusal("CFT613", "the folder holds too many files", path=path)
                    else:
                        kind = "a symbolic link" if entry.is_symlink() else "a pipe, socket or device"
                        folder.refused[name] = Diagnostic(
                            "CFT611",
                            f"{kind} stands where only a file may",
                            place(path, name),
                            help="put the file itself into the folder",
                        )
        yield folder


def unreadable(folder: Path, name: str, error: OSError) -> Diagnostic:
    return Diagnostic(
        "CFT610", "the file cannot be read", place(folder, name), found=error.strerror or str(error)
    )


def place(folder: Path, name: str) -> str:
    return f"{folder}/{printable(name)}"


def printable(name: str) -> str:
    """A file name as it may be shown: control characters and bytes that are no text are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


def unsafe_names(names: Iterable[str]) -> dict[str, str]:
    """Names that must be in no manifest, with the reason.

    Refused are names that leave the folder or mean something else elsewhere, and names that another
    file system takes for one another (case folding, Unicode normalisation).
    """
    reasons: dict[str, str] = {}
    seen: dict[str, str] = {}
    for name in names:
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        twin = seen.setdefault(folded, name)
        if reason := _unsafe(name):
            reasons[name] = reason
        elif twin != name:
            reasons[name] = f"it cannot be told from {twin!r} on every file system"
    return reasons


def _unsafe(name: str) -> str:
    if not name.isprintable():
        return "it holds a character that cannot be shown"
    if "\\" in name:
        return "it holds a backslash"
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return "it is an absolute path"
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or str(PurePosixPath(name)) != name:
        return "it is not a plain path below the folder"
    return ""

"""The files of a folder, seen through descriptors: no link is followed, every byte is read once."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from coherence_ft.documents.diagnostics import Diagnostic, refusal
from coherence_ft.manifest.hashing import hash_files

MANIFEST = "coherence_manifest.json"
BUNDLE = "coherence_manifest.sigstore.json"  # the maker's signature
MODEL_SIGNATURE = "model.sig"
OWN = (MANIFEST, BUNDLE, MODEL_SIGNATURE)
PARTIAL = ".partial"  # what a crash may leave of a file of ours
_COUNTERSIGNATURE = re.compile(r"coherence_manifest\.([a-z0-9]+(?:[._-][a-z0-9]+)*)\.sigstore\.json")
_MOST_FILES = 100_000
_MOST_FOLDERS = 500  # each keeps a descriptor open while the folder is read

Identity = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last change of content and of anything, in nanoseconds."""


def countersignature(authority: str) -> str:
    """The name of the file with the countersignature of `authority`."""
    return f"coherence_manifest.{authority}.sigstore.json"


def countersigner(name: str) -> str | None:
    """The authority in whose name the file is a countersignature; None where it is none."""
    match = _COUNTERSIGNATURE.fullmatch(name)
    return match[1] if match else None


def is_own(name: str) -> bool:
    """Whether the file is the manifest or one of its signatures: no manifest can state its digest."""
    return name in OWN or countersigner(name) is not None


def own_files(folder: Path) -> list[str]:
    """The manifest and its signatures in `folder`, and what a crash left of any, the manifest first."""
    names = [name for name in os.listdir(folder) if is_own(name.removesuffix(PARTIAL))]
    return sorted(names, key=lambda name: (name != MANIFEST, name))


class ChangedWhileRead(OSError):
    pass


@dataclass(slots=True)
class OpenFolder:
    """A folder held open. `files` maps POSIX names below it to the descriptor and name to open them by.

    `refused` maps names that are no regular file to what is wrong with them (CFT610, CFT611, CFT619).
    `trusted` holds digests (sha256, hex) that are taken for those of files that have not changed by their
    times: none, unless the user asks for it. `hashed` holds the digests of this reading.
    """

    path: Path
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    refused: dict[str, Diagnostic] = field(default_factory=dict)
    trusted: dict[Identity, str] = field(default_factory=dict)
    hashed: dict[str, str] = field(default_factory=dict)
    identities: dict[str, Identity] = field(default_factory=dict)  # of what was hashed
    opened_at: int = field(default_factory=time.time_ns)
    _contents: dict[str, bytes] = field(default_factory=dict)

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
        """At most `limit` + 1 bytes: one more than allowed shows that a file is too large. Raises OSError.

        What is read twice, or read and hashed, was the same both times.
        """
        if name not in self._contents:
            content = b""
            with self._unchanging(name) as file:
                while block := file.read(min(limit + 1 - len(content), 2**20)):
                    content += block
            if len(content) > limit:
                return content
            digest = hashlib.sha256(content).hexdigest()
            if self.hashed.setdefault(name, digest) != digest:
                raise ChangedWhileRead("it changed between hashing and reading")
            self._contents[name] = content
        return self._contents[name]

    def digests(self, names: Iterable[str]) -> dict[str, str | OSError]:
        """sha256 (hex) by name; an OSError where one cannot be read, or changes while it is."""
        found: dict[str, str | OSError] = {}
        sizes: dict[str, int] = {}
        for name in names:
            try:
                identity = self.identity(name)
            except OSError as error:
                found[name] = error
                continue
            if known := self.hashed.get(name) or self.trusted.get(identity):
                found[name] = known
                self.identities.setdefault(name, identity)
            else:
                sizes[name] = identity[2]
        found |= hash_files(sizes, self._unchanging)
        self.hashed |= {name: digest for name, digest in found.items() if isinstance(digest, str)}
        return found

    def identity(self, name: str) -> Identity:
        """Of the file that has the name now. Raises OSError."""
        folder, last = self.files[name]
        return _identity(os.stat(last, dir_fd=folder, follow_symlinks=False))

    @contextmanager
    def _unchanging(self, name: str) -> Iterator[BinaryIO]:
        """The open file. Raises OSError on the way out if another one, or another content, has its name."""
        before = self.identity(name)
        with os.fdopen(self.open(name), "rb", buffering=0) as file:
            yield file
            if not before == _identity(os.fstat(file.fileno())) == self.identity(name):
                raise ChangedWhileRead("it changed while it was read")
            self.identities[name] = before


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


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
            entry = None
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
                    elif entry.is_symlink():
                        folder.refused[name] = Diagnostic(
                            "CFT611",
                            "a symbolic link stands where only a file may",
                            place(path, name),
                            help="put the file itself into the folder",
                        )
                    else:
                        folder.refused[name] = _uncovered("a pipe, socket or device", path, name)
            if prefix and entry is None:
                name = prefix.removesuffix("/")
                folder.refused[name] = _uncovered("an empty folder", path, name)
        yield folder


def _uncovered(kind: str, folder: Path, name: str) -> Diagnostic:
    return Diagnostic(
        "CFT619",
        f"{kind} among the files, which no digest can cover",
        place(folder, name),
        help="remove it",
    )


def unreadable(folder: Path, name: str, error: OSError) -> Diagnostic:
    if isinstance(error, ChangedWhileRead):
        return Diagnostic(
            "CFT629",
            "the file changes while it is verified",
            place(folder, name),
            found=str(error),
            help="verify when nothing writes to the folder any more",
        )
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
        twin = seen.setdefault(folded(name), name)
        if reason := _unsafe(name):
            reasons[name] = reason
        elif twin != name:
            reasons[name] = f"it cannot be told from {twin!r} on every file system"
    return reasons


def folded(name: str) -> str:
    """Equal for names that some file system takes for one another."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


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

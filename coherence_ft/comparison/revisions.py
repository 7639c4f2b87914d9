"""One side of a comparison: a file, a folder, or a revision of the git repository around us.

A revision's documents are copied into a temporary folder with `git ls-tree` and `git cat-file`: the work
tree, the index and git's filters (LFS among them) are never touched. Only YAML is copied, with the keys,
templates and probe sets that documents name. A file above the limit on size is cut right behind it: it is
refused when it is read.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.documents.limits import limits

_SUFFIXES = (".yaml", ".yml")
_LARGEST_FILE = 2**16
_REVISION = re.compile(
    r"((?:[^:{]|\{[^}]*\})+):(.*)", re.DOTALL
)  # a colon in `^{/message}` separates nothing


@dataclass(frozen=True)
class Side:
    """Where the documents of one side lie. `given`: the files and folders whose documents are compared."""

    name: str
    root: Path
    given: tuple[Path, ...]
    revision: str = ""  # as the user named it, without a path; empty: files as they are on disk
    home: Path = field(default_factory=Path.cwd)  # the folder of the work tree that `root` stands for
    _git: _Git | None = None
    _blobs: dict[str, str] = field(default_factory=dict)

    def inside(self, path: str) -> str:
        """A document's path relative to the side's root: the same on both sides unless it is moved."""
        return os.path.relpath(path, self.root)

    def shown(self, path: str) -> str:
        """A path as the reader knows it: `main:tenant.yaml` where the work tree holds another text."""
        if not self.revision or not path or not Path(path).is_relative_to(self.root):
            return path
        inside, here = self.inside(path), self.home / self.inside(path)
        try:
            same = here.read_bytes() == Path(path).read_bytes()
        except OSError:
            same = False
        return str(here) if same else f"{self.revision}:{inside}"

    def fetch(self, files: Iterable[Path]) -> None:
        """Copy files that documents name, where the revision has them; the beginning of large ones."""
        if self._git is None:
            return
        wanted = {}
        for file in files:
            blob = self._blobs.get(self.inside(str(file)))
            if blob and not file.exists():
                wanted[file] = blob
        self._git.copy(wanted, _LARGEST_FILE)


@contextmanager
def opened(old: str, new: str, paths: Sequence[str]) -> Iterator[tuple[Side, Side]]:
    """Both sides, readable inside the context. `paths` narrows folders and revisions to what lies below them.

    A name that is a file or folder is that, even if it is a revision too. Beside a file or folder of the work
    tree, a revision without a path stands for the same file or folder there. Raises CFT345.
    """
    with ExitStack() as stack:
        partner = {old: new, new: old}
        yield (
            _open(stack, old, partner[old], paths),
            _open(stack, new, partner[new], paths),
        )


def _open(stack: ExitStack, name: str, partner: str, paths: Sequence[str]) -> Side:
    place = Path(name).absolute()
    if os.path.lexists(name):
        if place.is_dir():
            given = tuple(place / p for p in paths) or (place,)
            return Side(name, place, tuple(p for p in given if p.exists()))
        if paths:
            raise unreadable(name, "PATH narrows folders and revisions, and this is a file")
        return Side(name, place.parent, (place,))
    folder = Path(os.path.realpath(stack.enter_context(tempfile.TemporaryDirectory(prefix="coherence-ft-"))))
    git = _Git.around(name)
    match = _REVISION.fullmatch(name)
    revision, inside = (match[1], match[2]) if match else (name, None)
    commit = git.commit(name, revision)
    blobs = git.extract(commit, folder)
    here = os.path.relpath(os.path.realpath(Path.cwd()), git.top)
    root, home, given = folder, git.top, (folder,)
    if inside is not None:
        start = here if inside.startswith(("./", "../")) or inside in (".", "..") else "."
        below = _below(folder, start, inside, name)
        if not below.exists():
            raise unreadable(name, f"the revision has no document at {inside}")
        given = tuple(below / p for p in paths) or (below,)
    elif paths:
        given = tuple(_below(folder, here, p, name) for p in paths)
    elif os.path.lexists(partner) and (beside := Path(os.path.realpath(partner))).is_relative_to(git.top):
        below = _below(folder, ".", os.path.relpath(beside, git.top), name)
        if not below.exists():
            raise unreadable(name, f"the revision holds no document at {partner}")
        given = (below,)
    return Side(name, root, tuple(p for p in given if p.exists()), revision, home, git, blobs)


def _below(folder: Path, start: str, path: str, name: str) -> Path:
    found = Path(os.path.normpath(folder / start / path))
    if os.path.isabs(path) or not found.is_relative_to(folder):
        raise unreadable(name, f"{path} lies outside of the repository")
    return found


def unreadable(name: str, reason: str, help: str = "") -> CoherenceError:
    """CFT345 for a side that cannot be read."""
    return refusal(
        "CFT345",
        f"`{name}` cannot be compared: {reason}",
        help=help or "name a file, a folder, or a revision such as main, HEAD~1 or main:constraints",
    )


@dataclass(frozen=True)
class _Git:
    """Reads objects of the repository; changes nothing in it."""

    top: Path

    @classmethod
    def around(cls, name: str) -> _Git:
        """The repository around the working directory."""
        found = _run(name, Path.cwd(), "rev-parse", "--show-toplevel")
        if found.returncode:
            raise unreadable(
                name,
                f"it is no file or folder, and there is no git repository around ({_reason(found)})",
            )
        return cls(Path(os.path.realpath(os.fsdecode(found.stdout.rstrip(b"\n")))))

    def commit(self, name: str, revision: str) -> str:
        """The commit that a revision names."""
        if not revision.startswith("-"):  # git would take it for an option
            found = _run(name, self.top, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
            if not found.returncode:
                return found.stdout.decode().strip()
        shallow = _run(name, self.top, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        raise unreadable(
            name,
            "it is neither a file, a folder nor a commit of this repository"
            + (", of which only the latest history was cloned" if shallow else ""),
            "fetch it first: `fetch-depth: 0` in a GitHub workflow, `GIT_DEPTH: 0` on GitLab, or "
            "`git fetch --unshallow`"
            if shallow
            else "",
        )

    def extract(self, commit: str, folder: Path) -> dict[str, str]:
        """Copy the YAML files of a commit. Returns the object of every file, by path."""
        listed = _run(commit, self.top, "ls-tree", "-r", "-z", "--full-tree", commit)
        if listed.returncode:
            raise unreadable(commit, f"git cannot list its files ({_reason(listed)})")
        blobs, links = {}, {}
        for entry in filter(None, listed.stdout.split(b"\0")):
            facts, _, raw = entry.partition(b"\t")
            mode, kind, id = facts.decode().split()
            path = os.fsdecode(raw)
            parts = PurePosixPath(path).parts
            if kind != "blob" or path.startswith("/") or not parts or {"..", ".git"} & set(parts):
                continue  # a submodule, or a name that git itself would not check out
            if stat.S_ISLNK(int(mode, 8)):
                links[folder / path] = id
            else:
                blobs[path] = id
        documents = {folder / path: id for path, id in blobs.items() if path.lower().endswith(_SUFFIXES)}
        self.copy(documents, limits().bytes + 1)
        self._link(links, folder)
        return blobs

    def copy(self, wanted: dict[Path, str], most: int) -> None:
        """Write objects to files, at most the first `most` bytes of each."""
        for path, data in zip(wanted, self._read(list(wanted.values()), most), strict=True):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            except OSError as error:  # names that this system cannot hold, or a file where a folder should be
                raise unreadable(path.name, f"it cannot be copied: {error.strerror or error}") from error

    def _link(self, links: dict[Path, str], folder: Path) -> None:
        """Links last, so that nothing is written through one; none that leads out of the folder."""
        made = []
        for path, target in zip(links, self._read(list(links.values()), 4096), strict=True):
            with suppress(OSError, ValueError):
                path.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(os.fsdecode(target), path)
                made.append(path)
        for path in made:
            if not Path(os.path.realpath(path)).is_relative_to(folder):
                path.unlink()

    def _read(self, ids: Sequence[str], most: int) -> Iterator[bytes]:
        if not ids:
            return
        with tempfile.TemporaryFile() as names:  # a pipe for both would block when both are full
            names.write("\n".join(ids).encode() + b"\n")
            names.seek(0)
            with subprocess.Popen(
                ["git", "cat-file", "--batch"],
                cwd=self.top,
                stdin=names,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
            ) as git:
                out = git.stdout
                for id in ids:
                    header = out.readline().split() if out else []
                    if len(header) != 3 or not header[2].isdigit():
                        raise unreadable(
                            id, "git has no such object here", "fetch the whole repository first"
                        )
                    size = int(header[2])
                    data = out.read(min(size, most)) if out else b""
                    left = size - len(data) + 1  # and the line end behind it
                    while left > 0 and out and (skipped := out.read(min(left, 2**20))):
                        left -= len(skipped)
                    if left:
                        raise unreadable(id, "git stopped in the middle of it")
                    yield data


def _run(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, check=False, env=_environment()
        )
    except OSError as error:
        raise unreadable(
            name,
            f"it is no file or folder, and git cannot be run ({error.strerror or error})",
            "install git, or compare files and folders",
        ) from error
    except ValueError as error:  # a NUL in the name
        raise unreadable(name, str(error)) from error


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}


def _reason(run: subprocess.CompletedProcess[bytes]) -> str:
    lines = run.stderr.decode(errors="replace").strip().splitlines()
    return lines[0][:200] if lines else f"git exits with {run.returncode}"

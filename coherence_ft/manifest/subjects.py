"""The files of a folder against the subjects of its manifest."""

from __future__ import annotations

from collections import Counter
from typing import Any

from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.manifest import judgement
from coherence_ft.manifest.files import OWN, OpenFolder, folded, is_own, place, unreadable, unsafe_names
from coherence_ft.manifest.reading import MAX_BYTES


def compare(opened: OpenFolder, subjects: list[dict[str, Any]]) -> tuple[dict[str, bytes], list[Diagnostic]]:
    """Every file of the folder against the subjects. Returns the bytes of our own documents among them."""
    names = [subject["name"] for subject in subjects]
    stated = {subject["name"]: subject["digest"]["sha256"] for subject in subjects}
    findings = list(opened.refused.values())

    def find(code: str, message: str, name: str, **facts: Any) -> None:
        findings.append(Diagnostic(code, message, place(opened.path, name), **facts))

    unsafe = unsafe_names((*filter(is_own, opened.files), *stated)) | {
        name: "the manifest cannot state the digest of itself or of what signs it"
        for name in stated
        if is_own(name)
    }
    if len(stated) != len(names):
        unsafe |= {name: "it is listed twice" for name, count in Counter(names).items() if count > 1}
    for name, reason in unsafe.items():
        find("CFT612", f"the manifest lists a name that it must not: {reason}", name)

    contents: dict[str, bytes] = {}
    for name in judgement.DOCUMENTS.values():
        if name in stated and name in opened.files:
            try:
                contents[name] = opened.read(name, MAX_BYTES)
            except OSError:
                continue  # the same happens to its digest, and is reported there
    found = opened.digests(stated.keys() & opened.files.keys())
    signed_as = {folded(name): name for name in (*OWN, *stated)}
    added = {name for name in opened.files if name not in stated and not is_own(name)}
    renamed = {signed_as.get(folded(name)) for name in added}
    for name in sorted(stated.keys() | opened.files.keys()):
        if name in unsafe or name in opened.refused or is_own(name):
            continue
        if name not in opened.files:
            if name not in renamed:
                find("CFT615", "the manifest lists a file that is not there", name)
        elif name in added and (signed := signed_as.get(folded(name))):
            find(
                "CFT618",
                "the name differs from one that was signed in case or Unicode form only",
                name,
                expected=signed,
                help="move it out of the folder" if signed in opened.files else "rename it",
            )
        elif name in added:
            find(
                "CFT616",
                "a file that the manifest does not list",
                name,
                help="move it out of the folder",
            )
        elif isinstance(digest := found[name], OSError):
            findings.append(unreadable(opened.path, name, digest))
        elif digest != stated[name]:
            find(
                "CFT614",
                "the file is not the one that was signed",
                name,
                found=f"sha256 {digest}",
                expected=f"sha256 {stated[name]}",
            )
    return contents, findings

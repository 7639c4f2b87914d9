"""Diagnostics as JUnit XML, which every CI server shows.

There is no standard; this is what https://github.com/testmoapp/junitxml describes. A file that was checked is
a test case, an error is a failure of it. A warning fails nothing, so it stands in `system-out`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from coherence_ft.cli.printing import described
from coherence_ft.documents.diagnostics import Diagnostic, Severity

_SUITE = "coherence-ft"
# https://www.w3.org/TR/xml/#charsets
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(diagnostics: Sequence[Diagnostic], checked: Iterable[str] = ()) -> str:
    """One test suite; `checked` adds the files without a diagnostic."""
    by_path: dict[str, list[Diagnostic]] = {path: [] for path in checked}
    for d in diagnostics:
        by_path.setdefault(d.path, []).append(d)
    failures = sum(d.severity is Severity.ERROR for d in diagnostics)
    counts = {"tests": str(len(by_path)), "failures": str(failures), "errors": "0", "skipped": "0"}
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": _SUITE, **counts})
    for path, found in by_path.items():
        name = _xml(path or "(no file)")
        case = ElementTree.SubElement(suite, "testcase", {"name": name, "classname": _SUITE})
        if path:
            case.set("file", name)
        for d in found:
            if d.severity is Severity.ERROR:
                failure = ElementTree.SubElement(
                    case, "failure", {"type": d.code, "message": _xml(d.message)}
                )
                failure.text = _xml(f"{d.place}\n{described(d)}")
        if warnings := [d for d in found if d.severity is not Severity.ERROR]:
            ElementTree.SubElement(case, "system-out").text = _xml("\n\n".join(map(str, warnings)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False)


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)

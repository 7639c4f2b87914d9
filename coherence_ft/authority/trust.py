"""Where trust starts: which tenant document says who may decide and whose keys count.

The user's own place names it, never the thing that is checked: a derivative that could bring its own tenant
document would vouch for itself.
"""

from __future__ import annotations

import os
from pathlib import Path

from coherence_ft.documents.configuration import read_table
from coherence_ft.documents.diagnostics import CoherenceError, refusal

VARIABLE = "COHERENCE_FT_TENANT"

_WAYS = (
    f"Give it in one of three ways: the option --tenant PATH, the environment variable {VARIABLE}, or "
    '`tenant = "PATH"` under [tool.coherence-ft] in the pyproject.toml of the folder you work in.'
)


def find_tenant(explicit: Path | None = None, *, checked: Path | None = None) -> Path:
    """Path of the tenant document to trust: `explicit`, else the environment variable, else pyproject.toml.

    The nearest pyproject.toml with a `tenant` under `[tool.coherence-ft]` counts, from the working directory
    upwards; its path is relative to that file. One that lies inside `checked` (the derivative that is being
    verified) is passed over. Raises CFT321 if none is named, CFT322 if the named one is not a file.
    """
    if explicit is not None:
        return _existing(explicit, "--tenant")
    if given := os.environ.get(VARIABLE):
        return _existing(Path(given), VARIABLE)
    here = Path.cwd()
    for folder in (here, *here.parents):
        pyproject = folder / "pyproject.toml"
        if checked is not None and pyproject.resolve().is_relative_to(checked.resolve()):
            continue
        if pyproject.is_file() and (named := _named(pyproject)):
            return _existing(folder / named, f"tenant in {pyproject}")
    raise refusal(
        "CFT321",
        "no tenant document is named, so no authority is known and nothing can be trusted",
        help=_WAYS,
    )


def _named(pyproject: Path) -> str | None:
    try:
        section = read_table(pyproject)
    except CoherenceError as error:
        raise _unusable(f"{pyproject}: {error.diagnostics[0].message}", pyproject) from error
    named = section.get("tenant") if isinstance(section, dict) else None
    if named is not None and not isinstance(named, str):
        raise _unusable(f"`tenant` in {pyproject} is not a path", pyproject)
    return named


def _existing(path: Path, named_by: str) -> Path:
    if not path.is_file():
        raise _unusable(f"the tenant document named by {named_by} is not there", path)
    return path


def _unusable(message: str, path: Path) -> CoherenceError:
    return refusal("CFT322", message, path=path, help=_WAYS)

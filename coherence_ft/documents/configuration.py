"""Settings of a project: the table `[tool.coherence-ft]` of its pyproject.toml.

What `validate` shows is a matter of taste and may be set here. What decides (train, promote, verify, resolve)
reads nothing from here but where the tenant document lies and how large a document may be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from coherence_ft.documents.codes import catalogue
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, Severity, refusal
from coherence_ft.documents.limits import Limits
from coherence_ft.documents.schemas import either, show, suggestion

UNREADABLE = "CFT1"
"""Family of what could not be read. It is never deselected: what was not read was not checked either."""

T = TypeVar("T")
_SEVERITIES = tuple(severity.value for severity in Severity)


@dataclass(frozen=True)
class Selection:
    """Which diagnostics are shown, and how. Codes may be prefixes (`CFT3`); the longest that fits decides."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    severity: Mapping[str, Severity] = field(default_factory=dict)
    warnings_as_errors: bool | None = None

    def wants(self, code: str) -> bool | None:
        """Whether a code is shown; None where this selection says nothing about it."""
        chosen, dropped = _longest(code, self.select), _longest(code, self.ignore)
        if chosen or dropped:
            return len(chosen) > len(dropped)
        return False if self.select else None


def apply(diagnostics: Iterable[Diagnostic], layers: Sequence[Selection]) -> tuple[list[Diagnostic], int]:
    """What is shown, with its severity, and how many are not. The first layer that says something wins."""
    strict = next((s.warnings_as_errors for s in layers if s.warnings_as_errors is not None), False)
    shown, ignored = [], 0
    for d in diagnostics:
        if not d.code.startswith(UNREADABLE):
            if next((wanted for s in layers if (wanted := s.wants(d.code)) is not None), True) is False:
                ignored += 1
                continue
            set_by = next((s for s in layers if _longest(d.code, s.severity)), None)
            if set_by:
                d = replace(d, severity=set_by.severity[_longest(d.code, set_by.severity)])
        shown.append(replace(d, severity=Severity.ERROR) if strict else d)
    return shown, ignored


@dataclass(frozen=True)
class Configuration:
    selection: Selection = field(default_factory=Selection)
    limits: Limits = field(default_factory=Limits)


def read_configuration(folder: Path | None = None) -> Configuration:
    """Of the nearest pyproject.toml with a table `[tool.coherence-ft]`, from `folder` upwards.

    `folder` is the working directory by default. Raises `CoherenceError` with everything that is wrong in the
    table (CFT131, CFT132), or if a pyproject.toml on the way cannot be read (CFT130).
    """
    table = _nearest(folder)
    return table.checked(Configuration(table.selection(), table.limits())) if table else Configuration()


def read_limits(folder: Path | None = None) -> Limits:
    """The limits alone, for who does not show diagnostics by choice. Raises as `read_configuration` does."""
    table = _nearest(folder)
    return table.checked(table.limits()) if table else Limits()


def _nearest(folder: Path | None) -> _Table | None:
    here = (folder or Path.cwd()).absolute()
    for place in (here, *here.parents):
        path = place / "pyproject.toml"
        if path.is_file() and (table := read_table(path)) is not None:
            return _Table(path, table)
    return None


def read_table(pyproject: Path) -> Any:
    """What stands under `[tool.coherence-ft]`, of any type; None if nothing does. Raises CFT130."""
    import tomllib  # here: most folders have no pyproject.toml, and `validate` is to start at once

    try:
        tool = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line, column = (int(place[1]), int(place[2])) if place else (0, 0)
        raise refusal(
            "CFT130", f"the file cannot be read: {error}", path=pyproject, line=line, column=column
        ) from error
    return tool.get("coherence-ft") if isinstance(tool, dict) else None


def wrong_code(code: str, *, lessens: bool) -> tuple[str, str] | None:
    """What is wrong with a code or prefix of a selection, and a hint; None if nothing is.

    `lessens`: it is to be ignored, or to have another severity.
    """
    known = catalogue()
    if not (code.startswith("CFT") and any(each.startswith(code) for each in known)):
        families = {each[:4]: None for each in known}
        return f"no diagnostic code begins with `{code}`", suggestion(code, [*known, *families])
    if lessens and code.startswith(UNREADABLE):
        return f"{code} cannot be set aside", "what cannot be read is not checked: leave the file out"
    return None


def _longest(code: str, prefixes: Iterable[str]) -> str:
    return max((prefix for prefix in prefixes if code.startswith(prefix)), key=len, default="")


class _Table:
    """Reads the table and collects everything that is wrong with it."""

    def __init__(self, path: Path, table: Any) -> None:
        self.path = path
        self.lines = path.read_text(encoding="utf-8").splitlines()
        self.problems: list[Diagnostic] = []
        readers = {"tenant": self.text, "validate": self.table, "limits": self.table}
        self.top = self.take(table, (), readers)

    def checked(self, result: T) -> T:
        """The result, unless something was wrong."""
        if self.problems:
            raise CoherenceError(sorted(self.problems, key=lambda d: d.line))
        return result

    def selection(self) -> Selection:
        readers = {"select": self.codes, "ignore": self.codes, "severity": self.severities}
        table = self.top.get("validate", {})
        taken = self.take(table, ("validate",), {**readers, "warnings-as-errors": self.flag})
        return Selection(**{key.replace("-", "_"): value for key, value in taken.items()})

    def limits(self) -> Limits:
        names = [each.name for each in fields(Limits)]
        taken = self.take(self.top.get("limits", {}), ("limits",), dict.fromkeys(names, self.size))
        try:
            return Limits(**{name: value for name, value in taken.items() if value})
        except ValueError as error:
            self.problem("CFT132", f"`tool.coherence-ft.limits`: {error}", ("limits",))
            return Limits()

    def take(
        self, table: Any, at: tuple[str, ...], readers: Mapping[str, Callable[..., Any]]
    ) -> dict[str, Any]:
        """The values of the known keys. A key that nobody reads is a problem."""
        if not isinstance(table, dict):
            self.wrong(at, table, "a table")
            return {}
        for key in (k for k in table if k not in readers):
            known = [k for k in readers if k not in table] or list(readers)
            near = suggestion(key, known)
            self.problem(
                "CFT131",
                f"unknown setting `{key}`",
                (*at, key),
                expected="" if near else either(known),
                help=near,
            )
        return {key: read(table[key], (*at, key)) for key, read in readers.items() if key in table}

    def text(self, value: Any, at: tuple[str, ...]) -> Any:
        return value if isinstance(value, str) else self.wrong(at, value, "text")

    def table(self, value: Any, at: tuple[str, ...]) -> Any:
        return value

    def flag(self, value: Any, at: tuple[str, ...]) -> Any:
        return value if isinstance(value, bool) else self.wrong(at, value, "true or false")

    def size(self, value: Any, at: tuple[str, ...]) -> Any:
        return value if type(value) is int and value > 0 else self.wrong(at, value, "a whole number above 0")

    def codes(self, value: Any, at: tuple[str, ...]) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self.wrong(at, value, "a list of codes")
            return ()
        return tuple(self.code(each, at, lessens=at[-1] == "ignore") for each in value)

    def severities(self, value: Any, at: tuple[str, ...]) -> dict[str, Severity]:
        if not isinstance(value, dict):
            self.wrong(at, value, 'a table such as {CFT315 = "error"}')
            return {}
        found = {}
        for code, severity in value.items():
            if severity in _SEVERITIES:
                found[self.code(code, (*at, code), lessens=True)] = Severity(severity)
            else:
                self.wrong((*at, code), severity, either(_SEVERITIES))
        return found

    def code(self, text: str, at: tuple[str, ...], *, lessens: bool) -> str:
        if wrong := wrong_code(text.upper(), lessens=lessens):
            self.problem("CFT132", wrong[0], at, help=wrong[1])
        return text.upper()

    def wrong(self, at: tuple[str, ...], value: Any, expected: str) -> None:
        name = ".".join(("tool", "coherence-ft", *at))
        found = show(value) if isinstance(value, str | int | float | list | dict) else str(value)
        self.problem("CFT132", f"`{name}` has a wrong value", at, found=found, expected=expected)

    def problem(
        self,
        code: str,
        message: str,
        at: tuple[str, ...],
        found: str = "",
        expected: str = "",
        help: str = "",
    ) -> None:
        line, column = self.place(("tool", "coherence-ft", *at))
        path = str(self.path)
        self.problems.append(
            Diagnostic(code, message, path, line, column, found=found, expected=expected, help=help)
        )

    def place(self, at: tuple[str, ...]) -> tuple[int, int]:
        """Where a key or the header of its table is written; tomllib gives no places. (0, 0) if not found."""
        for n in range(len(at), 2, -1):
            table, key = ".".join(at[: n - 1]), re.escape(at[n - 1])
            here = ""
            for number, line in enumerate(self.lines, 1):
                if header := re.match(r"\s*\[([^\[\]]+)\]", line):
                    here = re.sub(r"[\s\"']", "", header[1])
                    if here == f"{table}.{at[n - 1]}":
                        return number, 1
                elif here == table and (found := re.match(rf"\s*(?=[\"']?{key}[\"']?\s*[=.])", line)):
                    return number, found.end() + 1
        return 0, 0

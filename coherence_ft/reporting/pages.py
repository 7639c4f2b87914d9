"""Pages of one file: no script, nothing from outside, and text of others stays text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coherence_ft.evidence.estimate import Missing
from coherence_ft.manifest.files import printable

_STYLE = Path(__file__).with_name("page.css")


def render(template: Path, **values: Any) -> str:
    """The page. Beside `values`, a template has `style` and the test `missing` (None, or no estimate).

    Raises ModuleNotFoundError without the extra.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    environment.tests["missing"] = lambda value: value is None or isinstance(value, Missing)
    style = Markup(_STYLE.read_text(encoding="utf-8"))  # noqa: S704 - our own file
    return environment.from_string(template.read_text(encoding="utf-8")).render(style=style, **values)


def _shown(value: Any) -> Any:
    """Text of others shows what it holds: no control character, no change of direction, no lone surrogate."""
    return printable(value) if type(value) is str else value

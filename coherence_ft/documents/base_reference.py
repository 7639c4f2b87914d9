"""What the text of `base.model` names."""

from __future__ import annotations

from typing import Literal

DERIVATIVE = "derivative:"
"""How `base.model` begins where a derivative of ours is trained further."""


def base_kind(model: str) -> Literal["hub", "path", "package", "derivative"]:
    """A path starts with `./`, `../`, `~` or `/`, or ends in `.gguf`."""
    if model.startswith("package:"):
        return "package"
    if model.startswith(DERIVATIVE):
        return "derivative"
    if model.startswith(("./", "../", "~", "/")) or model in (".", "..") or model.endswith(".gguf"):
        return "path"
    return "hub"

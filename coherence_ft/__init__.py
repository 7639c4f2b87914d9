"""coherence-ft: fine-tune under declared constraints, ship with proof, run with the loops on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coherence_ft.authority.validate import validate
    from coherence_ft.loops.engine import CoherenceEngine
    from coherence_ft.manifest.verify import verify
    from coherence_ft.serving.derivative import load_derivative
    from coherence_ft.training.callback import CoherenceCallback

__all__ = ["CoherenceCallback", "CoherenceEngine", "load_derivative", "validate", "verify"]

# Imported at first use: `verify` must not wait for torch.
_HOMES = {
    "CoherenceCallback": "coherence_ft.training.callback",
    "CoherenceEngine": "coherence_ft.loops.engine",
    "load_derivative": "coherence_ft.serving.derivative",
    "validate": "coherence_ft.authority.validate",
    "verify": "coherence_ft.manifest.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

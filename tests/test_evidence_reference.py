"""Where others compute the same thing: the same numbers, to 1e-9 (benchmarks/gates.py measures it too)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "gates.py"


@pytest.fixture(scope="module")
def gates() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_gates", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("peer", "package", "least"),
    [
        ("scikit-learn", "sklearn", 5),
        ("statsmodels", "statsmodels", 2),
        ("MAPIE", "mapie", 2),
        ("netcal", "netcal", 1),
        ("uncertainty-calibration", "calibration", 1),
    ],
)
def test_the_same_numbers(gates: ModuleType, peer: str, package: str, least: int) -> None:
    if package not in ("sklearn", "statsmodels"):  # those are in the dev extra, the others in bench
        pytest.importorskip(package)
    found = list(gates.agreement((peer,)))
    assert len(found) == least
    for _, what, gap in found:
        assert gap <= 1e-9, what


def test_the_real_predictions_are_whole(gates: ModuleType) -> None:
    ours, right, base, base_right = gates.real()
    assert len(ours) == len(right) == len(base) == len(base_right) == 1049
    assert all(((a >= 0.5) & (a <= 1)).all() for a in (ours, base))
    assert right.mean() == pytest.approx(0.862, abs=0.001) and base_right.mean() == pytest.approx(
        0.500, abs=0.001
    )

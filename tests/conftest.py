"""Fast and deterministic: hypothesis draws the same examples every time, and a busy machine fails nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# Before torch is imported anywhere. Libraries read once what it sets: threads sleep, nothing calls home.
import coherence_ft.cli.main  # noqa: F401

if TYPE_CHECKING:
    from derivatives import Signed
    from workshop import Workshop

settings.register_profile("tests", derandomize=True, deadline=None)
settings.load_profile("tests")

# Keys and tenants of whoever runs the tests have no say in them.
for _name in (
    *("COHERENCE_FT_KEY", "COHERENCE_FT_KEY_PEM", "COHERENCE_FT_KEY_PASSPHRASE"),
    *("COHERENCE_FT_PKCS11_PIN", "COHERENCE_FT_TENANT"),
):
    os.environ.pop(_name, None)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The small world that tests share: they add recipes and runs to it, and change nothing else."""
    from workshop import make_workshop

    return make_workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def own_workshop(workshop: Workshop, tmp_path: Path) -> Workshop:
    """The same world again, without recipes and runs, for tests that change it."""
    return workshop.copy(tmp_path / "workshop")


@pytest.fixture(scope="session")
def sft_run(workshop: Workshop) -> Path:
    """The folder of a finished run of `sft.yaml`. Read it, never write to it."""
    from workshop import coherence_ft

    assert coherence_ft("train", workshop.recipe("sft")) == 0
    return workshop.run("sft")


@pytest.fixture(scope="session")
def derivative(workshop: Workshop, sft_run: Path) -> Path:
    """The last checkpoint of `sft_run`, promoted. Read it, never write to it."""
    from workshop import STEPS, coherence_ft

    assert coherence_ft("promote", sft_run / f"checkpoint-{STEPS}") == 0
    return sft_run / "derivative"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A signed derivative of fake files, for the tests of a module to copy."""
    from derivatives import signed_derivative

    return signed_derivative(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def signed(original: Signed, tmp_path: Path) -> Signed:
    """A copy of it, to be tampered with."""
    from derivatives import copied

    return copied(original, tmp_path)

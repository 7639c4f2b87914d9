"""`verify --recompute` and `verify --reprobe N`: what an auditor asks beyond the signature."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coherence_ft.documents.diagnostics import refusal
from coherence_ft.manifest.files import printable
from coherence_ft.manifest.verify import VerifiedManifest

if TYPE_CHECKING:
    from coherence_ft.documents.probe_set import ProbeSet
    from coherence_ft.loops.observation import Observed

_PATH = click.Path(path_type=Path)
_OPTIONS = (
    click.option("--recompute", is_flag=True, help="Derive every figure again from the stored observations."),
    click.option(
        "--reprobe", type=click.IntRange(min=1), metavar="N", help="Load the model; measure N probes again."
    ),
    click.option(
        "--evidence-store", type=_PATH, metavar="DIR", help="Where observations kept elsewhere lie."
    ),
    click.option(
        "--probes",
        type=_PATH,
        multiple=True,
        metavar="PATH",
        help="Probe files, or a folder of them; by default those of the recipe for --reprobe.",
    ),
    click.option("--recipe", type=_PATH, help="The recipe, if the run's record is missing."),
    click.option("--base", metavar="MODEL", help="Where the base model is, if not where it was trained."),
    click.option(
        "--before-countersigning",
        is_flag=True,
        help="Audit it although countersignatures that the tenant demands are still missing.",
    ),
    click.option("--seed", type=int, help="Draws the probes for --reprobe; by default at random."),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of an audit."""

    recompute: bool
    reprobe: int | None
    evidence_store: Path | None
    probes: tuple[Path, ...]
    recipe: Path | None
    base: str | None
    seed: int | None
    before_countersigning: bool


def audit_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def audited(manifest: VerifiedManifest, tenant: Path | None, asked: Asked) -> dict[str, Any]:
    """What was asked for and holds, as JSON data: `recomputed` and `reprobed`.

    Raises CoherenceError where it does not hold, and UsageError for options that need another.
    """
    facts: dict[str, Any] = {"awaited": list(manifest.awaited)} if asked.before_countersigning else {}
    if not asked.recompute and asked.reprobe is None:
        given = asked.evidence_store, asked.probes, asked.recipe, asked.base, asked.before_countersigning
        if any(given) or asked.seed is not None:
            raise click.UsageError("these options belong to --recompute or --reprobe")
        return facts
    # Only now: the loops take ten times as long to import as verifying takes.
    from coherence_ft.auditing.observations import read_observations
    from coherence_ft.auditing.probes import find_probe_set
    from coherence_ft.auditing.recompute import recompute
    from coherence_ft.manifest.verify import trusted_tenant

    trusted = trusted_tenant(tenant, checked=manifest.folder)

    def found(split: str, places: tuple[Path, ...]) -> ProbeSet:
        return find_probe_set(manifest, split, places, trusted)

    if asked.recompute:
        splits = ("calibration", "certification") if asked.probes else ()
        probe_sets = {split: found(split, asked.probes) for split in splits}
        derived = recompute(manifest, store=asked.evidence_store, probe_sets=probe_sets)
        observed = derived.observed
        facts["recomputed"] = {
            "figures": derived.figures,
            "observations": sum(seen.count for passes in observed.values() for seen in passes),
            "probeSets": list(derived.probe_sets),
        }
    else:
        observed = read_observations(manifest, asked.evidence_store)
    if asked.reprobe is not None:
        facts["reprobed"] = _reprobed(manifest, tenant, asked, asked.reprobe, observed, found)
    return facts


def _reprobed(
    manifest: VerifiedManifest,
    tenant: Path | None,
    asked: Asked,
    count: int,
    observed: Observed,
    found: Callable[[str, tuple[Path, ...]], ProbeSet],
) -> dict[str, Any]:
    from coherence_ft.cli.printing import quiet_libraries
    from coherence_ft.cli.verdicts import watching

    quiet_libraries()
    from coherence_ft.auditing.reprobe import reprobe
    from coherence_ft.documents.recipe import read_recipe
    from coherence_ft.serving.derivative import verify_derivative
    from coherence_ft.training.promote import recipe_of

    places = asked.probes
    if not places:
        recipe = read_recipe(asked.recipe) if asked.recipe else recipe_of(manifest.folder)
        places = (recipe.probes.certification,)
    seed = secrets.randbelow(2**32) if asked.seed is None else asked.seed
    verified = verify_derivative(
        manifest.folder, tenant=tenant, base=asked.base, countersigned=not asked.before_countersigning
    )
    if verified.manifest.digest != manifest.digest:
        raise refusal("CFT614", "the folder changed while it was verified", path=manifest.folder)
    with watching() as watch:
        again = reprobe(
            verified,
            observed["derivative"][1],
            found("certification", places),
            count,
            seed=seed,
            progress=watch("certification, again"),
        )
    return {
        "sampled": again.sampled,
        "agreeing": again.agreeing,
        "seed": seed,
        "toleranceLogits": again.tolerance,
        "largestLogits": round(again.largest, 6),
        "shiftLogits": round(again.shift, 6),
        "better": again.better,
        "worse": again.worse,
        "differences": [
            {"probe": d.probe, "stored": d.stored, "again": d.again, "explained": d.explained}
            for d in again.differences
        ],
    }


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """The same for people."""
    if awaited := facts.get("awaited"):
        yield f"not to be loaded yet: it awaits countersignatures by {', '.join(map(printable, awaited))}"
    if derived := facts.get("recomputed"):
        files = " and ".join(derived["probeSets"])
        yield (
            f"recomputed: {derived['figures']} figures from {derived['observations']} observations, all equal"
            + (f"; held against the probe files of {files}" if files else "")
        )
    if again := facts.get("reprobed"):
        yield (
            f"reprobed: {again['agreeing']} of {again['sampled']} agree (seed {again['seed']}; in logits: "
            f"tolerance {again['toleranceLogits']:g}, largest difference {again['largestLogits']:.3f}, mean "
            f"shift {again['shiftLogits']:+.3f}); {again['better']} outcomes were better when stored, "
            f"{again['worse']} worse"
        )
        for d in again["differences"]:
            why = "near tie" if d["explained"] else "a text that went on otherwise"
            yield f"  {d['probe']}: stored {d['stored']}, now {d['again']} ({why})"

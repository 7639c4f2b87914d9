"""`coherence-ft merge DIR…`: derivatives made one, or one made into full or smaller weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from coherence_ft.cli.printing import print_diagnostics, quiet_libraries

METHODS = ("linear", "ties", "dare_linear", "dare_ties")


def _weights(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, ...]:
    try:
        weights = tuple(float(part) for part in text.split(",")) if text is not None else ()
    except ValueError:
        raise click.BadParameter("numbers with commas between them, such as 0.5,0.5") from None
    if not all(map(math.isfinite, weights)):
        raise click.BadParameter("every weight must be a finite number")
    return weights


@click.command("merge")
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    required=True,
    help="Constraints, probes, name and signer of the result.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe, e.g. name=merged."
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="The run's folder; must not exist."
)
@click.option("--method", type=click.Choice(METHODS), help="How several adapters become one.")
@click.option(
    "--weights", callback=_weights, help="One for each adapter, such as 0.7,0.3. Default: the same for all."
)
@click.option(
    "--density",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of entries that ties and dare keep. Default: 0.5.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    help="Of what dare drops. Default: the recipe's training.seed.",
)
@click.option("--into-base", is_flag=True, help="Merge one adapter into its base: full weights.")
@click.option("--quantize", type=click.Choice(["nf4", "int8"]), help="Export full weights, quantized.")
@click.option(
    "--trained-on",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A parent's training data, to hold the recipe's probes against. May be repeated.",
)
@click.option("--double", is_flag=True, help="nf4: quantize the quantization constants too.")
def command(
    folders: tuple[Path, ...],
    recipe: Path,
    overrides: tuple[str, ...],
    output: Path,
    method: str | None,
    weights: tuple[float, ...],
    density: float | None,
    seed: int | None,
    into_base: bool,
    quantize: str | None,
    trained_on: tuple[Path, ...],
    double: bool,
) -> None:
    """Merge the adapters of derivatives (--method), one adapter into its base (--into-base), or quantize one.

    The result is measured on the calibration split and signed as OUTPUT/checkpoint-0, which `coherence-ft
    promote` certifies like any other checkpoint. No evidence of a parent stands for it.
    """
    _one_of(folders, method, weights, density, seed, into_base, quantize, double)
    quiet_libraries()
    from coherence_ft.cli.verdicts import console, verdict_table, watching
    from coherence_ft.documents.recipe import Quantization, read_recipe
    from coherence_ft.training import merge as merging
    from coherence_ft.training.export import Made, derive, prepare

    read = read_recipe(recipe, overrides)
    derivation = prepare(folders, read, output, trained_on)
    print_diagnostics(derivation.warnings)

    def make(folder: Path) -> Made:
        if into_base:
            return merging.merge_into_base(derivation, folder)
        if quantize:
            return merging.quantize(derivation, Quantization(quantize, double), folder)  # type: ignore[arg-type]
        given: Any = {
            "method": method,
            "weights": weights or (1 / len(folders),) * len(folders),
            "density": (density or 0.5) if method in merging.SPARSE else None,
            "seed": read.training.seed if seed is None else seed,
        }
        return merging.merge_adapters(derivation, merging.Merge(**given), folder)

    with watching() as watch:
        result = derive(derivation, make, output, watch, overrides=overrides)
    console().print(verdict_table(result.measured.constraints, result.measured.assessment))
    for name, value in result.facts.items():
        click.echo(f"{name}: {value}")
    click.echo(f"{result.checkpoint} is signed for monitoring, manifest sha256:{result.digest}")
    click.echo(f"certify it: coherence-ft promote {result.checkpoint}")


def _one_of(
    folders: tuple[Path, ...],
    method: str | None,
    weights: tuple[float, ...],
    density: float | None,
    seed: int | None,
    into_base: bool,
    quantize: str | None,
    double: bool,
) -> None:
    """Options that do not go together are refused, not ignored."""
    if (method is not None) + into_base + (quantize is not None) != 1:
        raise click.UsageError("say which: --method METHOD, --into-base or --quantize BITS")
    if method is None and (weights or density is not None or seed is not None):
        raise click.UsageError("--weights, --density and --seed belong to --method")
    if double and quantize != "nf4":
        raise click.UsageError("--double belongs to --quantize nf4")
    if method is None and len(folders) != 1:
        raise click.UsageError("this takes one DIR")
    if method is not None and len(folders) < 2:
        raise click.UsageError("--method takes at least two DIRs")
    if method == "linear" and density is not None:
        raise click.UsageError("--density belongs to ties and dare")
    if weights and len(weights) != len(folders):
        raise click.UsageError(f"--weights has {len(weights)} numbers for {len(folders)} DIRs")

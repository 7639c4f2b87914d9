"""Everything that is wrong with a set of files and folders, without training, keys or network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from coherence_ft.documents.constraint_set import DOMAINS, Constraint, read_constraint_set
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.probe_set import read_probe_set
from coherence_ft.documents.reader import read_yaml
from coherence_ft.documents.recipe import read_recipe_and_tenant
from coherence_ft.documents.schemas import check_schema, kind_of
from coherence_ft.documents.tenant import Tenant, read_tenant

SCHEMA_SUFFIXES = (".schema.yaml", ".schema.yml")

Composed = Callable[[Tenant, str, Sequence[Constraint]], Iterable[Diagnostic]]
"""Checks how the layers of a tenant fit together for a domain and a recipe's own constraints."""


def validate(paths: Iterable[Path | str], composed: Composed | None = None) -> list[Diagnostic]:
    """Check files, and every `*.yaml` and `*.yml` below folders; return every problem once.

    A `*.schema.yaml` is held to the meta-schema, a `*.jsonl` that is named to the probe-set format, and
    everything else to the kind that it states. `composed` asks `authority.resolve`, a floor above this one.
    The data files of a recipe need not exist.
    """
    files, found = _files(paths)
    tenants: list[Tenant] = []
    probe_sets: list[Path] = []
    for path in files:
        if path.suffix == ".jsonl":
            probe_sets.append(path)
            continue
        try:
            found += _check(path, composed, tenants)
        except CoherenceError as error:
            found += error.diagnostics
    domains = tuple(dict.fromkeys((*DOMAINS, *(domain for tenant in tenants for domain in tenant.domains))))
    for path in probe_sets:
        try:
            read_probe_set(path, domains)
        except CoherenceError as error:
            found += error.diagnostics
    # A tenant that several recipes name is read for each of them.
    return list(dict.fromkeys(replace(d, path=_absolute(d.path)) for d in found))


def _files(paths: Iterable[Path | str]) -> tuple[list[Path], list[Diagnostic]]:
    files: dict[Path, None] = {}
    found = []
    for given in map(Path, paths):
        if not given.is_dir():
            files[given.absolute()] = None
            continue
        below = sorted(
            path.absolute()
            for path in given.rglob("*")
            if path.suffix in (".yaml", ".yml")
            and not any(part.startswith(".") for part in path.relative_to(given).parts)
        )
        if not below:
            found.append(
                Diagnostic("CFT412", "the folder holds no YAML files", str(given), help="name another folder")
            )
        files |= dict.fromkeys(below)
    return list(files), found


def _check(path: Path, composed: Composed | None, tenants: list[Tenant]) -> Iterator[Diagnostic]:
    if path.name.endswith(SCHEMA_SUFFIXES):
        yield from check_schema(read_yaml(path))
        return
    match kind_of(read_yaml(path)):
        case "constraint-set":
            read_constraint_set(path)
        case "tenant":
            tenant = read_tenant(path)
            tenants.append(tenant)
            for domain in _governed(tenant):
                yield from _composed(composed, tenant, domain, ())
        case "recipe":
            recipe, tenant = read_recipe_and_tenant(path)
            tenants.append(tenant)
            yield from _composed(composed, tenant, recipe.domain, recipe.constraints)


def _governed(tenant: Tenant) -> Sequence[str]:
    """The domains that some layer is for. A tenant need not govern every published one."""
    stated = {layer.constraint_set.domain for layer in tenant.layers}
    return tenant.domains if None in stated else [d for d in tenant.domains if d in stated]


def _composed(
    composed: Composed | None, tenant: Tenant, domain: str, constraints: Sequence[Constraint]
) -> Iterable[Diagnostic]:
    if composed is None:
        return ()
    try:
        return composed(tenant, domain, constraints)
    except CoherenceError as error:
        return error.diagnostics


def _absolute(path: str) -> str:
    return str(Path(path).absolute()) if path and not path.startswith("--") else path

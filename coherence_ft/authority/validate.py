"""Everything that is wrong with a set of files and folders, without training, keys or network."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from coherence_ft.documents.constraint_reader import read_constraint_set
from coherence_ft.documents.constraint_set import DOMAINS, ConstraintSet
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, Severity
from coherence_ft.documents.files import SCHEMA_SUFFIXES, files_of
from coherence_ft.documents.reader import Document, read_yaml
from coherence_ft.documents.rules import missing_probe_set, useless_confidence
from coherence_ft.documents.schemas import check_schema, kind_of

# What only tenants, recipes and probe sets need is imported with the first of them: a constraint set
# alone, as a commit hook checks it, would wait for it half as long again.
if TYPE_CHECKING:
    from coherence_ft.documents.probe_set import ProbeSet
    from coherence_ft.documents.tenant import Tenant

_MANY = 200
"""Files from which processes of their own pay."""


def validate(paths: Iterable[Path | str]) -> list[Diagnostic]:
    """Check files, and every `*.yaml` and `*.yml` below folders; return every problem once.

    A `*.schema.yaml` is held to the meta-schema, a `*.jsonl` that is named to the probe-set format, and
    everything else to the kind that it states. A tenant is resolved for each domain that it governs, a recipe
    for its own. The data files of a recipe need not exist if it names the command that makes them.
    """
    files, found = files_of(paths)
    rows = [path for path in files if path.suffix == ".jsonl"]
    domains = dict.fromkeys(DOMAINS)
    for wrong, own_domains in _in_parallel(_check, [path for path in files if path.suffix != ".jsonl"]):
        found += wrong
        domains |= dict.fromkeys(own_domains)
    for path in rows:
        probes = _probe_set(path, tuple(domains))
        if isinstance(probes, CoherenceError):
            found += probes.diagnostics
    # A tenant that several recipes name is read for each of them.
    return list(dict.fromkeys(replace(d, path=_absolute(d.path)) for d in found))


Checked = tuple[list[Diagnostic], tuple[str, ...]]
"""What is wrong with a file, and the domains of the tenant that it is or names."""


def _in_parallel(check: Callable[[Path], Checked], files: Sequence[Path]) -> Iterator[Checked]:
    """Each file in its turn; many of them on all processors, in the same order."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    # Forking a process that has threads can deadlock the child.
    if len(files) < _MANY or processors < 2 or threading.active_count() > 1:
        yield from map(check, files)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(processors, get_context("fork"), _leave_interrupts_to_the_parent) as pool:
        yield from pool.map(check, files, chunksize=32)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def governed(tenant: Tenant) -> Sequence[str]:
    """The domains that some layer is for. A tenant need not govern every published one."""
    stated = {layer.constraint_set.domain for layer in tenant.layers}
    return tenant.domains if None in stated else [d for d in tenant.domains if d in stated]


def _check(path: Path) -> Checked:
    try:
        document = read_yaml(path)
        if path.name.endswith(SCHEMA_SUFFIXES):
            return check_schema(document), ()
        match kind_of(document):
            case "constraint-set":
                return list(_alone(read_constraint_set(path, document))), ()
            case "tenant":
                return _tenant(path, document)
            case "portfolio":
                return _portfolio(path, document)
            case _:
                return _recipe(path, document)
    except CoherenceError as error:
        return list(error.diagnostics), ()


def _alone(constraint_set: ConstraintSet) -> Iterator[Diagnostic]:
    """What would be wrong if no other layer held."""
    sets = (constraint_set, *constraint_set.ancestors())
    constraint = useless_confidence.rewarded(c for each in sets for c in each.constraints)
    if constraint is not None:
        at = constraint.origin.of("metric")
        yield at.diagnostic(
            useless_confidence.CODE.id,
            f"`{constraint.id}` gates the calibration error, and nothing in this set asks for skill",
            severity=Severity.WARNING,
            help="add a hard constraint on brier_skill, auroc or selective_risk, here or in a layer above",
        )


def _tenant(path: Path, document: Document) -> Checked:
    from coherence_ft.authority.resolve import resolve
    from coherence_ft.authority.unused import unused_authorities
    from coherence_ft.documents.tenant import read_tenant

    tenant = read_tenant(path, document)
    found = list(unused_authorities(tenant))
    for domain in governed(tenant):
        try:
            found += resolve(tenant, domain).warnings
        except CoherenceError as error:
            found += error.diagnostics
    return found, tenant.domains


def _portfolio(path: Path, document: Document) -> Checked:
    from coherence_ft.documents.portfolio import read_portfolio

    read_portfolio(path, document)
    return [], ()


def _recipe(path: Path, document: Document) -> Checked:
    from coherence_ft.authority.resolve import resolve
    from coherence_ft.authority.unmeasured import unmeasured
    from coherence_ft.documents.recipe import read_recipe_and_tenant

    recipe, tenant = read_recipe_and_tenant(path, document=document)
    found = list(missing_probe_set.check(document))
    try:
        resolved = resolve(tenant, recipe.domain, recipe.constraints, recipe=recipe.name)
    except CoherenceError as error:
        return [*found, *error.diagnostics], tenant.domains
    found += resolved.warnings
    certification = recipe.probes.certification
    if os.path.isfile(certification):
        probes = _probe_set(certification, tenant.domains)
        if isinstance(probes, CoherenceError):
            found += probes.diagnostics
        else:
            found += unmeasured(resolved, probes, document)
    return found, tenant.domains


@lru_cache(maxsize=8)  # of a repository's recipes many share a probe set, and few probe sets are large
def _read_once(path: Path, domains: tuple[str, ...], changed: int) -> ProbeSet | CoherenceError:
    from coherence_ft.documents.probe_set import read_probe_set

    try:
        return read_probe_set(path, domains)
    except CoherenceError as error:
        return error


def _probe_set(path: Path, domains: tuple[str, ...]) -> ProbeSet | CoherenceError:
    """A probe set that several recipes may share, or what is wrong with it."""
    try:
        changed = os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        changed = 0
    return _read_once(path, domains, changed)


def _absolute(path: str) -> str:
    return str(Path(path).absolute()) if path and not path.startswith("--") else path

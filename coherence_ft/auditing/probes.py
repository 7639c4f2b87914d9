"""Stored observations against the probe file that they are of: the same questions, outcomes, checks, order.

Whoever edits an answer key, a check's result or the choice of what was measured departs from the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.diagnostics import Diagnostic, refusal
from coherence_ft.documents.probe_set import (
    Conversation,
    Probe,
    ProbeGroup,
    ProbeSet,
    Question,
    read_probe_set,
)
from coherence_ft.documents.tenant import Tenant
from coherence_ft.loops.observation import (
    AnswerObservation,
    GroupObservation,
    Observations,
    ReplyObservation,
)
from coherence_ft.loops.sequential import rank
from coherence_ft.loops.verifiers import check
from coherence_ft.manifest.verify import VerifiedManifest

Observation = AnswerObservation | GroupObservation | ReplyObservation

_SHOWN = 5


def find_probe_set(
    manifest: VerifiedManifest, split: str, places: Iterable[Path], tenant: Tenant
) -> ProbeSet:
    """The probe set of `split` with the digest that the manifest signs. `places`: files, or folders of them.

    Raises CFT653 where it is nowhere among them.
    """
    signed = manifest.predicate["probes"][split]
    tried = []
    for given in places:
        for path in sorted(given.rglob("*.jsonl")) if given.is_dir() else [given]:
            if path.is_file():
                tried.append(path)
                if file_digest(path) == signed:
                    return read_probe_set(path, tenant.domains)
    raise refusal(
        "CFT653",
        f"no probe file of the {split} split is here",
        path=", ".join(map(str, tried[:_SHOWN])),
        found=f"{len(tried)} other files",
        expected=f"a file with sha256 {signed}",
        help="name the file, or a folder that holds it, with --probes",
    )


def departures(seen: Observations, probes: ProbeSet) -> Iterator[Diagnostic]:
    """CFT659: every way in which observations are not what a pass over `probes` could have seen."""
    if seen.probe_set != probes.digest:
        return  # CFT463 says so
    every: list[Probe] = [*probes.questions, *probes.groups, *probes.conversations]
    by_id = {probe.id: probe for probe in every}
    of_pass: list[Observation] = [*seen.answers, *seen.groups, *seen.replies]
    kinds = {
        "are of no probe in the file": [o.probe for o in of_pass if o.probe not in by_id],
        "differ from their probe in outcome, kind or marks": [
            o.probe for o in of_pass if o.probe in by_id and not _fits(o, by_id[o.probe])
        ],
    }
    for how, ids in kinds.items():
        if ids:
            yield _departure(seen, probes, f"{len(ids)} observations {how}", ", ".join(sorted(ids)[:_SHOWN]))
    if seen.count + seen.skipped != len(probes):
        found = f"{seen.count} observed, {seen.skipped} skipped"
        yield _departure(seen, probes, "probes are missing or too many", found, f"{len(probes)} in all")
    largest = max(Counter(q.group for q in probes.questions).values(), default=1)
    if seen.largest_group != largest:
        yield _departure(seen, probes, "the largest group is another", str(seen.largest_group), str(largest))
    observed = {o.probe for o in of_pass}
    if seen.skipped and (chosen := _out_of_order(observed, every, probes.digest)):
        yield _departure(
            seen,
            probes,
            "what was measured was chosen, and not the first in the shuffled order",
            ", ".join(chosen[:_SHOWN]),
        )


def _fits(seen: Observation, probe: Probe) -> bool:
    if (seen.domain, seen.language, seen.audience) != (probe.domain, probe.language, probe.audience):
        return False
    if isinstance(seen, AnswerObservation):
        return isinstance(probe, Question) and (seen.group, seen.answer, len(seen.probabilities)) == (
            probe.group,
            probe.answer,
            len(probe.options),
        )
    if isinstance(seen, GroupObservation):
        return (
            isinstance(probe, ProbeGroup)
            and (seen.relation, len(seen.choices)) == (probe.relation, len(probe.members))
            and all(c < len(m.options) for c, m in zip(seen.choices, probe.members, strict=True))
        )
    if not isinstance(probe, Conversation) or seen.category != probe.category:
        return False
    checked = [check(c.verifier, c.arguments, seen.reply) for c in probe.checks]
    # not the detail: its wording may change with the version
    return [(c.verifier, c.passed) for c in seen.checks] == [(c.verifier, c.passed) for c in checked]


def _out_of_order(observed: set[str], probes: Iterable[Probe], digest: str) -> list[str]:
    """Probes that were measured although one before them in a sequential pass was not."""
    units = {p.id: rank(digest, unit_of(p)) for p in probes}
    left_out = [place for id, place in units.items() if id not in observed]
    return sorted(id for id, place in units.items() if id in observed and place > min(left_out, default="~"))


def unit_of(probe: Probe) -> str:
    """What is ranked: a group of questions is one outcome (loops/sequential.py)."""
    if isinstance(probe, Question):
        return f"question:{probe.group}"
    return f"group:{probe.id}" if isinstance(probe, ProbeGroup) else f"conversation:{probe.id}"


def _departure(
    seen: Observations, probes: ProbeSet, message: str, found: str, expected: str = ""
) -> Diagnostic:
    model = "base" if seen.model == seen.base else "derivative"
    return Diagnostic(
        "CFT659", f"{model} on {seen.split}: {message}", str(probes.path), found=found, expected=expected
    )

"""Which observations can be evidence at all: nothing broken, doubled, or seen before by what it judges."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from coherence_ft.documents.constraint_set import OPTION_LIKELIHOOD
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.loops import integrity
from coherence_ft.loops.observation import AnswerObservation, Observations

_SHOWN = 5  # probe ids named in one message
_TOLERANCE = 1e-3  # probabilities come from half-precision softmax


@dataclass(frozen=True, slots=True)
class Credentials:
    """What observations must name to certify. Digests; `probe_sets` by split; `authorities`: those that may
    attest."""

    model: str
    base: str
    probe_sets: Mapping[str, str]
    authorities: frozenset[str]


def uncredentialed(seen: Observations, expected: Credentials, model: str) -> list[Diagnostic]:
    """CFT460 to CFT463: why none of these observations of `model` may certify. They are refused together."""
    refused = f"{seen.count} observations of the {seen.split} split are refused"
    found = []
    if seen.model != model or seen.base != expected.base:
        found.append(
            Diagnostic(
                "CFT460",
                f"{refused}: they are of another model",
                found=f"{seen.model or 'none named'} on base {seen.base or 'none named'}",
                expected=f"{model} on base {expected.base}",
                help="Measure the model that is to be certified.",
            )
        )
    if seen.authority not in expected.authorities or not seen.software:
        found.append(
            Diagnostic(
                "CFT461",
                f"{refused}: nobody who may attest vouches for them",
                found=f"measured by {seen.authority or 'nobody'}, with {seen.software or 'nothing named'}",
                expected=f"an authority with the power `attest` ({', '.join(sorted(expected.authorities))}), "
                "and the software's version",
                help="Let an authority of the tenant measure it.",
            )
        )
    if seen.split not in expected.probe_sets:
        found.append(
            Diagnostic(
                "CFT462",
                f"{refused}: this split is no evidence",
                found=seen.split,
                expected=" or ".join(sorted(expected.probe_sets)),
                help="What a model was trained on says nothing of how it answers other questions.",
            )
        )
    elif seen.probe_set != expected.probe_sets[seen.split]:
        found.append(
            Diagnostic(
                "CFT463",
                f"{refused}: they answer another probe set",
                found=seen.probe_set,
                expected=expected.probe_sets[seen.split],
                help="Measure the probe sets that the recipe names.",
            )
        )
    return found


def defects(observations: Observations) -> list[Diagnostic]:
    """CFT451 and CFT452 for one pass over one probe set."""
    kinds = observations.answers, observations.groups, observations.replies
    found = []
    counts = Counter(observation.probe for kind in kinds for observation in kind)
    if doubled := sorted(probe for probe, count in counts.items() if count > 1):
        found.append(
            Diagnostic(
                "CFT451",
                f"{len(doubled)} probes of the {observations.split} split were observed more than once",
                found=_some(doubled),
                expected="one observation a probe",
                help="Ids are unique within a probe set: look for rows that were appended twice.",
            )
        )
    source = observations.confidence_source
    broken = [answer.probe for answer in observations.answers if not _is_sound(answer, source)]
    broken += [group.probe for group in observations.groups if not integrity.is_sound(group)]
    broken += [reply.probe for reply in observations.replies if not reply.checks]
    if broken:
        found.append(
            Diagnostic(
                "CFT452",
                f"{len(broken)} observations of the {observations.split} split are no evidence",
                found=_some(sorted(broken)),
                expected="finite probabilities that sum to 1, confidence from the named source, an answer "
                "among the options, as many members as the relation has, at least one check",
                help="Non-finite probabilities mean that the model's weights or its training have diverged.",
            )
        )
    return found


def other_source(observations: Observations, confidence: str) -> Iterator[Diagnostic]:
    """CFT468: confidence from another source than the constraints demand."""
    if observations.confidence_source != confidence:
        yield Diagnostic(
            "CFT468",
            f"confidence in the {observations.split} split is from another source than the constraints name",
            found=observations.confidence_source,
            expected=confidence,
            help="Measure again with the source under `measurement.confidence` in the constraint set.",
        )


def _is_sound(answer: AnswerObservation, source: str) -> bool:
    p = answer.probabilities
    silent = source == "verbalized" and answer.stated is not None and math.isnan(answer.stated)
    return (
        (answer.stated is not None) == (source != OPTION_LIKELIHOOD)
        and (silent or 0 <= answer.confidence <= 1 + _TOLERANCE)
        and len(p) >= 2
        and all(math.isfinite(x) and -_TOLERANCE <= x <= 1 + _TOLERANCE for x in p)
        and abs(sum(p) - 1) <= _TOLERANCE * len(p)
        and 0 <= answer.answer < len(p)
    )


def conflicts(calibration: Observations, evaluated: Observations) -> Iterator[Diagnostic]:
    """CFT453 to CFT455: why one pass cannot judge what the other has fitted."""
    if calibration.model != evaluated.model:
        yield Diagnostic(
            "CFT453",
            "the splits were measured on different models",
            found=f"{evaluated.split}: {evaluated.model}",
            expected=f"{calibration.split}: {calibration.model}",
            help="Measure both splits on the same checkpoint.",
        )
    if calibration.split == evaluated.split or calibration.probe_set == evaluated.probe_set:
        yield Diagnostic(
            "CFT454",
            "the answers that fitted the calibrator cannot also certify it",
            found=f"{evaluated.split} ({evaluated.probe_set})",
            expected=f"another split and file than {calibration.split}",
            help="Name two probe sets in the recipe, without a question in common.",
        )
    elif shared := sorted(_groups(calibration.answers) & _groups(evaluated.answers)):
        yield Diagnostic(
            "CFT455",
            f"{len(shared)} groups of questions are in both splits",
            found=_some(shared),
            help="Questions of one group are not independent: keep a group within one split.",
        )


def unpaired(ours: Observations, base: Observations) -> Iterator[Diagnostic]:
    """CFT458: the base model has to be measured on the same file."""
    if (ours.split, ours.probe_set) != (base.split, base.probe_set):
        yield Diagnostic(
            "CFT458",
            "the base model was measured on another probe set",
            found=f"{base.split} ({base.probe_set})",
            expected=f"{ours.split} ({ours.probe_set})",
            help="Measure the base model again on the recipe's probe sets.",
        )


def _groups(answers: Iterable[AnswerObservation]) -> set[str]:
    return {answer.group for answer in answers}


def _some(ids: list[str]) -> str:
    rest = len(ids) - _SHOWN
    return ", ".join(ids[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")

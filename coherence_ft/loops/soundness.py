"""Which observations can be evidence at all: nothing broken, doubled, or seen before by what it judges."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.loops import integrity
from coherence_ft.loops.observation import AnswerObservation, Observations

_SHOWN = 5  # probe ids named in one message
_TOLERANCE = 1e-3  # probabilities come from half-precision softmax


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
    broken = [answer.probe for answer in observations.answers if not _is_sound(answer)]
    broken += [group.probe for group in observations.groups if not integrity.is_sound(group)]
    broken += [reply.probe for reply in observations.replies if not reply.checks]
    if broken:
        found.append(
            Diagnostic(
                "CFT452",
                f"{len(broken)} observations of the {observations.split} split are no evidence",
                found=_some(sorted(broken)),
                expected="finite probabilities that sum to 1, an answer among the options, as many members "
                "as the relation has, at least one check",
                help="Non-finite probabilities mean that the model's weights or its training have diverged.",
            )
        )
    return found


def _is_sound(answer: AnswerObservation) -> bool:
    p = answer.probabilities
    return (
        len(p) >= 2
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

"""CFT419: constraints that a recipe's probe set cannot show, whatever the model answers."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.constraint_set import GENERAL, Constraint, Enforcement
from coherence_ft.documents.diagnostics import Diagnostic, Severity
from coherence_ft.documents.metrics import METRICS
from coherence_ft.documents.probe_set import ProbeSet
from coherence_ft.documents.reader import Document


def unmeasured(resolved: ResolvedConstraints, probes: ProbeSet, recipe: Document) -> Iterator[Diagnostic]:
    """An error where nothing measures a hard constraint; a warning where less does than its minimum evidence.

    Probes that hang together count as less than they are: more may be missing than is said here.
    """
    missing, scarce = [], []
    for each in resolved.constraints:
        constraint = each.constraint
        units = _most_units(constraint, probes, resolved.domain)
        kind = _UNITS[METRICS[constraint.metric].loop]
        text = f"{constraint.id} ({units} {kind} of {constraint.minimum_evidence})"
        if units == 0 and constraint.enforcement is Enforcement.HARD:
            missing.append(text)
        elif units < constraint.minimum_evidence:
            scarce.append(text)
    for found, severity, message in (
        (missing, Severity.ERROR, "no probe measures what must be shown before promotion"),
        (scarce, Severity.WARNING, "there are fewer probes than some verdicts need"),
    ):
        if found:
            yield recipe.diagnostic(
                "CFT419",
                message,
                ("probes", "certification"),
                severity=severity,
                found=", ".join(found),
                help="add probes to the file, name another one, or ask the owner for what can be measured",
            )


_UNITS = {"calibration": "delivered answers", "integrity": "probe groups", "alignment": "conversations"}


def _most_units(constraint: Constraint, probes: ProbeSet, domain: str) -> int:
    domains, scope = (domain, GENERAL), constraint.scope
    match METRICS[constraint.metric].loop:
        case "integrity":
            return sum(
                g.domain in domains
                and constraint.relation in (None, g.relation)
                and scope.admits(g.language, g.audience)
                for g in probes.groups
            )
        case "alignment":
            return sum(
                c.domain in domains
                and constraint.category in (None, c.category)
                and scope.admits(c.language, c.audience)
                for c in probes.conversations
            )
    # Which routing patterns will be met is not known before the model has answered; nor how many answers
    # beyond `coverage` are delivered.
    return sum(
        q.domain in domains
        and (not scope.languages or q.language in scope.languages)
        and (not scope.audiences or q.audience in scope.audiences)
        for q in probes.questions
    )

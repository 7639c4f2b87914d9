"""What a manifest claims, taken again: verdicts from their estimates, and all of it under today's tenant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from coherence_ft.authority.layers import adopted
from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraint, ResolvedConstraints
from coherence_ft.documents.canonical import canonical_digest
from coherence_ft.documents.constraint_set import Enforcement
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.strictness import strictness
from coherence_ft.documents.tenant import Tenant
from coherence_ft.evidence.assessment import Assessment, ConstraintResult, Verdict
from coherence_ft.evidence.gates import ANYTIME, decide
from coherence_ft.evidence.multiplicity import at_look
from coherence_ft.manifest.files import place
from coherence_ft.manifest.reading import constraints_violations, parse_json
from coherence_ft.manifest.signatures import moment
from coherence_ft.manifest.statement import (
    CALIBRATOR_FILE,
    CONSTRAINTS_FILE,
    ENGINE_VERSION,
    RECIPE_FILE,
    Stage,
    downstream_modifier,
    known,
    waivers_used,
)

DOCUMENTS = {"recipe": RECIPE_FILE, "constraints": CONSTRAINTS_FILE, "calibrator": CALIBRATOR_FILE}
"""Predicate field to the file of ours that it speaks of."""

_COMPARED = ("bound", "confidence", "minimum_evidence", "enforcement")


def documents(predicate: Mapping[str, Any], contents: Mapping[str, bytes], folder: Path) -> dict[str, Any]:
    """Our own documents, parsed, by predicate field; None where the predicate says that there is none.

    Raises CoherenceError: CFT640 where the predicate's digest is not the content's, CFT641 where one is
    missing or no JSON object, CFT600 and CFT603 to CFT606 where it cannot be parsed.
    """
    found: list[Diagnostic] = []
    parsed: dict[str, Any] = {}
    for field, name in DOCUMENTS.items():
        parsed[field] = None
        where = place(folder, name)
        claim = predicate[field]
        if claim is None:
            if name in contents:
                found.append(Diagnostic("CFT641", f"the manifest says that there is no {field}", where))
            continue
        if name not in contents:
            found.append(Diagnostic("CFT641", f"the {field} is no file that the manifest lists", where))
            continue
        try:
            parsed[field] = parse_json(contents[name], where, fractions=True)
        except CoherenceError as error:
            found += error.diagnostics
            continue
        if not isinstance(parsed[field], dict):
            found.append(Diagnostic("CFT641", f"the {field} is no JSON object", where))
        elif (digest := canonical_digest(parsed[field])) != claim["digest"]:
            found.append(
                Diagnostic(
                    "CFT640",
                    f"the {field} is not the one that the manifest was made under",
                    where,
                    found=f"sha256 {digest}",
                    expected=f"sha256 {claim['digest']}",
                )
            )
    if found:
        raise CoherenceError(found)
    return parsed


def resolved_constraints(document: Any, predicate: Mapping[str, Any], where: str) -> ResolvedConstraints:
    """The constraints under which it was assessed. Raises CoherenceError (CFT620, CFT641) if unfit."""
    if violations := constraints_violations(document, where):
        raise CoherenceError(violations)
    try:
        resolved = ResolvedConstraints.from_json(document)
        if resolved.to_json() != document:
            raise ValueError("a field is not written as this version writes it")
    except ValueError as error:
        raise refusal(
            "CFT641",
            "the resolved constraints cannot be read",
            path=where,
            found=str(error)[:200],
        ) from error
    if (resolved.tenant, resolved.domain) != (predicate["tenant"], predicate["domain"]):
        raise refusal(
            "CFT641",
            "the resolved constraints are of another tenant or domain than the manifest",
            path=where,
            found=f"{resolved.tenant}, {resolved.domain}",
            expected=f"{predicate['tenant']}, {predicate['domain']}",
        )
    return resolved


def assessment(predicate: Mapping[str, Any], where: str) -> Assessment:
    """The evidence, typed. Raises CoherenceError: CFT648 for a threshold or coverage outside 0..1."""
    numbers: dict[str, float | None] = {}
    for name in ("abstentionThreshold", "coverage"):
        text = predicate[name]
        numbers[name] = None if text is None else float(text)
        if text is not None and not 0 <= float(text) <= 1:
            raise refusal("CFT648", f"{name} is no fraction", path=where, found=text, expected="0 to 1")
    if numbers["abstentionThreshold"] is not None and predicate["calibrator"] is None:
        raise refusal(
            "CFT648",
            "there is an abstention threshold but no calibrator for it",
            path=where,
        )
    evaluation = predicate["evaluation"]
    return Assessment(
        evaluation["split"],
        evaluation["probeSet"],
        tuple(map(ConstraintResult.from_json, evaluation["results"])),
        numbers["abstentionThreshold"],
        numbers["coverage"],
        evaluation["skipped"],
        evaluation["unused"],
        evaluation["used"],
    )


def problems(
    predicate: Mapping[str, Any],
    resolved: ResolvedConstraints,
    assessment: Assessment,
    tenant: Tenant,
    today: date,
    where: str,
) -> list[Diagnostic]:
    """Every claim that does not hold. A certified manifest must hold today, a monitoring one in itself."""
    found = _facts(predicate, tenant, where) + _moments(predicate, today, where)
    found += _results(predicate, resolved, assessment, where)
    if predicate["stage"] == Stage.CERTIFIED:
        if assessment.split != "certification" or not assessment.passed:
            found.append(
                Diagnostic(
                    "CFT646",
                    "the manifest says certified, and its own evidence does not",
                    where,
                    found=f"split {assessment.split}, not every hard constraint passes"
                    if not assessment.passed
                    else f"split {assessment.split}",
                    expected="split certification, every hard constraint passed or waived",
                )
            )
        if assessment.skipped and (
            fixed := [
                r.constraint
                for r in assessment.results
                if r.enforcement is Enforcement.HARD
                and r.estimate is not None
                and not r.estimate.method.startswith(ANYTIME)
            ]
        ):
            found.append(
                Diagnostic(
                    "CFT646",
                    "the manifest says certified, and its own evidence does not",
                    where,
                    found=f"{assessment.skipped} probes left out, and limits for a whole split only: "
                    + ", ".join(sorted(fixed)),
                    expected="no probe left out, or every hard constraint decided by an anytime-valid method",
                )
            )
        if predicate["tenant"] == tenant.id:
            found += _today(resolved, assessment, tenant, predicate, today, where)
    return found


def other_calibrator(calibrator: Any, resolved: ResolvedConstraints, where: str) -> list[Diagnostic]:
    """A calibrator of another kind, or for another source of confidence, than the constraints choose."""
    if calibrator is None:
        return []
    chosen = {
        "kind": resolved.measurement.calibrator.value,
        "confidence": resolved.measurement.confidence.value,
    }
    stated = {name: calibrator.get(name) if isinstance(calibrator, Mapping) else None for name in chosen}
    if stated == chosen:
        return []
    return [
        Diagnostic(
            "CFT649",
            "the calibrator is not the one that the constraints choose",
            where,
            found=f"{stated['kind']} on {stated['confidence']}",
            expected=f"{chosen['kind']} on {chosen['confidence']}",
        )
    ]


def _facts(predicate: Mapping[str, Any], tenant: Tenant, where: str) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    if predicate["tenant"] != tenant.id:
        found.append(
            Diagnostic(
                "CFT634",
                "the manifest was made under another tenant",
                where,
                found=predicate["tenant"],
                expected=tenant.id,
                help="name the tenant document it belongs to with --tenant",
            )
        )
    if (version := predicate["runtime"]["engineVersion"]) > ENGINE_VERSION:
        found.append(
            Diagnostic(
                "CFT621",
                "the derivative needs a newer engine",
                where,
                found=f"engine version {version}",
                expected=f"at most {ENGINE_VERSION}",
                help="upgrade coherence-ft",
            )
        )
    evaluation = predicate["evaluation"]
    if predicate["probes"].get(evaluation["split"]) != evaluation["probeSet"]:
        found.append(
            Diagnostic(
                "CFT649",
                f"the evidence comes from another probe set than the {evaluation['split']} split",
                where,
            )
        )
    modifier = predicate["downstreamModifier"]
    compute = [known(modifier[name]) for name in ("trainingCompute", "baseCompute")]
    if modifier["exceedsOneThird"] != downstream_modifier(*compute)["exceedsOneThird"]:
        found.append(Diagnostic("CFT649", "exceedsOneThird does not follow from the two computes", where))
    return found


def _moments(predicate: Mapping[str, Any], today: date, where: str) -> list[Diagnostic]:
    """The order in which things happened: measured, signed, verified."""
    try:
        evaluated = moment(predicate["evaluation"]["evaluatedAt"], where)
        created = moment(predicate["createdAt"], where)
    except CoherenceError:
        return []  # reported where each of them is needed
    found: list[Diagnostic] = []
    if evaluated > created:
        found.append(
            Diagnostic(
                "CFT649",
                "the manifest was made before what it states was measured",
                where,
                found=f"createdAt {predicate['createdAt']}",
                expected=f"{predicate['evaluation']['evaluatedAt']} or later",
            )
        )
    # A day's grace: `today` is a date in UTC, and two machines' clocks differ.
    if created.date() > today + timedelta(days=1):
        found.append(
            Diagnostic(
                "CFT627",
                "the manifest was made in the future",
                where,
                found=f"createdAt {predicate['createdAt']}",
                expected=f"{today} or earlier",
                help="the clock of this machine is wrong, or that of the one that signed",
            )
        )
    return found


def _results(
    predicate: Mapping[str, Any], resolved: ResolvedConstraints, assessment: Assessment, where: str
) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    demanded = {r.constraint.id: r for r in resolved.constraints}
    counts = Counter(result.constraint for result in assessment.results)
    differing = {
        "without a result": demanded.keys() - counts.keys(),
        "not among the constraints": counts.keys() - demanded.keys(),
        "with more than one result": {id for id, count in counts.items() if count > 1},
        "constraints listed twice": {
            id for id, count in Counter(r.constraint.id for r in resolved.constraints).items() if count > 1
        },
    }
    for how, ids in differing.items():
        if ids:
            found.append(
                Diagnostic(
                    "CFT642",
                    "the results are not one for each resolved constraint",
                    where,
                    found=f"{how}: {', '.join(sorted(ids))}",
                )
            )
    try:
        evaluated = moment(predicate["evaluation"]["evaluatedAt"], where).date()
    except CoherenceError as error:
        return [*found, *error.diagnostics]
    for result in assessment.results:
        if result.constraint not in demanded:
            continue
        assessed = demanded[result.constraint]
        tested = at_look(assessed.constraint, assessment.split, predicate["evaluation"]["look"])
        verdict, why = decide(tested, result.estimate, assessed.waiver, evaluated)
        if (result.verdict, result.enforcement) != (verdict, assessed.constraint.enforcement):
            found.append(
                Diagnostic(
                    "CFT643",
                    f"the verdict on {result.constraint} does not follow from its estimate: {why}",
                    where,
                    found=f"{result.verdict.value}, {result.enforcement.value}",
                    expected=f"{verdict.value}, {assessed.constraint.enforcement.value}",
                )
            )
    if predicate["waivers"] != waivers_used(resolved, assessment.results):
        found.append(
            Diagnostic("CFT644", "the waivers listed are not those that the waived verdicts rest on", where)
        )
    return found


def _today(
    resolved: ResolvedConstraints,
    assessment: Assessment,
    tenant: Tenant,
    predicate: Mapping[str, Any],
    today: date,
    where: str,
) -> list[Diagnostic]:
    """Tightened since, or a waiver gone: a certificate ends with what it rests on."""
    results = {result.constraint: result for result in assessment.results}
    stated = {
        constraint.id
        for _, sets in adopted(tenant, resolved.domain)
        for each in sets
        for constraint in each.constraint_set.constraints
    }
    # The recipe's own constraints are no part of the tenant document, yet a waiver may speak of one.
    own = [
        assessed.constraint
        for assessed in resolved.constraints
        if assessed.constraint.id not in stated
        and (result := results.get(assessed.constraint.id))
        and result.verdict is Verdict.WAIVED
    ]
    try:
        current = resolve(tenant, resolved.domain, own, recipe=predicate["name"], today=today)
    except CoherenceError as error:
        return list(error.diagnostics)
    assessed = {r.constraint.id: r for r in resolved.constraints}
    found: list[Diagnostic] = []
    for now in current.constraints:
        if now.constraint.enforcement is Enforcement.HARD and (
            change := _tightened(assessed.get(now.constraint.id), now)
        ):
            found.append(
                Diagnostic(
                    "CFT650",
                    f"the tenant has tightened its constraints since: {now.constraint.id} {change}",
                    where,
                    help="certify again with `coherence-ft promote`",
                )
            )
    for name in ("confidence", "calibrator"):
        was, now_in_force = (getattr(r.measurement, name).value for r in (resolved, current))
        if was != now_in_force:
            found.append(
                Diagnostic(
                    "CFT650",
                    f"the tenant measures confidence otherwise since: {name} {now_in_force}",
                    where,
                    found=was,
                    expected=now_in_force,
                    help="certify again with `coherence-ft promote`",
                )
            )
    waivers = {r.constraint.id: r.waiver for r in current.constraints}
    for result in assessment.results:
        if result.verdict is not Verdict.WAIVED or result.constraint not in assessed:
            continue
        constraint, waiver = assessed[result.constraint].constraint, waivers.get(result.constraint)
        tested = at_look(constraint, assessment.split, predicate["evaluation"]["look"])
        verdict, why = decide(tested, result.estimate, waiver, today)
        if not verdict.lets_through:
            found.append(
                Diagnostic(
                    "CFT645",
                    f"no waiver in the tenant document covers {result.constraint} today: {why}",
                    where,
                    help="certify again, or have the waiver renewed by whoever may approve it",
                )
            )
    return found


def _tightened(was: ResolvedConstraint | None, now: ResolvedConstraint) -> str:
    """How a hard constraint of today goes beyond the one assessed; empty where it does not."""
    if was is None:
        return "was added"
    before, after = was.constraint, now.constraint
    if before.measure != after.measure:
        return "measures something else"
    for name in _COMPARED:
        # Not `<`: what cannot be compared is no reason to let it through.
        if not strictness(before, name) >= strictness(after, name):
            return f"went from {name} {getattr(before, name)} to {getattr(after, name)}"
    return ""

"""The constraints that do not hold, as SARIF 2.1.0 for code scanning: a result each, its metric the rule."""

from __future__ import annotations

import hashlib
from typing import Any

from coherence_ft.documents.constraint_set import Constraint, Enforcement
from coherence_ft.documents.metrics import METRICS
from coherence_ft.documents.sarif import FINGERPRINT, log, plain
from coherence_ft.evidence.assessment import ConstraintResult, Verdict
from coherence_ft.manifest.files import MANIFEST
from coherence_ft.projections.source import Source, measures, shown
from coherence_ft.reporting.words import bound_text


def sarif(source: Source) -> dict[str, Any]:
    """One run. A waived constraint is there too, suppressed by its waiver; what passes is not."""
    found = [(c, r) for c, r in source.results if r.verdict is not Verdict.PASS]
    metrics = sorted({constraint.metric for constraint, _ in found})
    rules = [
        {
            "id": name,
            "shortDescription": {"text": METRICS[name].summary},
            "fullDescription": {
                "text": f"Measured by the {METRICS[name].loop} loop, as a {METRICS[name].unit}."
            },
        }
        for name in metrics
    ]
    results = [
        _result(source, constraint, result) | {"ruleIndex": metrics.index(constraint.metric)}
        for constraint, result in found
    ]
    artifact = {
        "location": {"uri": MANIFEST},
        "hashes": {"sha-256": source.manifest.digest},
        "description": {"text": plain(source.made_from)},
    }
    p = source.predicate
    identity = {"id": f"coherence-ft/{p['tenant']}/{p['domain']}/{p['name']}"}
    run = log(rules, results, artifacts=[artifact], automationDetails=identity, properties=source.stamp)
    return dict(shown(run))


def _result(source: Source, constraint: Constraint, result: ConstraintResult) -> dict[str, Any]:
    predicate = source.predicate
    place = next(
        index
        for index, stated in enumerate(predicate["evaluation"]["results"])
        if stated["constraint"] == result.constraint
    )
    identity = "\0".join((predicate["tenant"], predicate["domain"], predicate["name"], constraint.id))
    facts = {
        "constraint": constraint.id,
        "verdict": result.verdict.value,
        "enforcement": result.enforcement.value,
        "bound": bound_text(constraint),
        "owner": constraint.owner,
        "split": predicate["evaluation"]["split"],
    }
    if result.estimate is not None:
        facts |= {"estimate": result.estimate.to_json()}
    found: dict[str, Any] = {
        "ruleId": constraint.metric,
        **_severity(result),
        "message": {
            "text": plain(f"{constraint.id} ({result.verdict}, {measures(constraint)}): {result.why}")
        },
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": MANIFEST, "index": 0},
                    "region": {"startLine": 1},  # canonical JSON has one line
                },
                "logicalLocations": [
                    {"fullyQualifiedName": f"/predicate/evaluation/results/{place}", "kind": "object"}
                ],
            }
        ],
        # The same constraint of the same derivative, however often it is made again.
        "partialFingerprints": {FINGERPRINT: hashlib.sha256(identity.encode()).hexdigest()[:16]},
        "properties": facts,
    }
    if result.verdict is Verdict.WAIVED:
        found["suppressions"] = [
            {
                "kind": "external",
                "status": "accepted",
                "justification": plain(
                    f"{w['reason']} (approved by {', '.join(w['approvedBy'])} until {w['expires']})"
                ),
            }
            for w in predicate["waivers"]
            if w["constraint"] == constraint.id
        ]
    return found


def _severity(result: ConstraintResult) -> dict[str, str]:
    """A hard constraint without enough evidence is an error: it keeps the checkpoint from being promoted.

    One that is only reported is `open`, for which SARIF (section 3.27.9) allows no level but `none`.
    """
    if result.enforcement is Enforcement.HARD:
        return {"kind": "fail", "level": "error"}
    if result.verdict is Verdict.INSUFFICIENT:
        return {"kind": "open", "level": "none"}
    return {"kind": "fail", "level": "warning"}

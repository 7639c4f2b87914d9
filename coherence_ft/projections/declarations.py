"""Constraints and verdicts as CycloneDX Attestations (CDXA, since 1.6).

The tenant's constraints are a standard, each with one requirement; the estimate is the evidence for or
against the claim that it holds. https://cyclonedx.org/capabilities/attestations/
"""

from __future__ import annotations

import json
from typing import Any

from coherence_ft.evidence.assessment import Verdict
from coherence_ft.manifest.files import BUNDLE, countersignature
from coherence_ft.projections.source import Source, measures
from coherence_ft.reporting.words import bound_text

_STANDARD = "constraints"
_ASSESSOR = "assessor"


def standard(source: Source) -> dict[str, Any]:
    """The resolved constraints, for `definitions.standards`."""
    p = source.predicate
    return {
        "bom-ref": _STANDARD,
        "name": f"Coherence constraints of {source.tenant.title} for the domain {p['domain']}",
        "version": f"sha256:{p['constraints']['digest']}",
        "owner": source.tenant.title,
        "requirements": [
            {
                "bom-ref": f"requirement:{constraint.id}",
                "identifier": constraint.id,
                "text": f"{measures(constraint)}: {bound_text(constraint)}, with "
                f"{100 * constraint.confidence:g} % confidence",
                "descriptions": [constraint.reason],
            }
            for constraint, _ in source.results
        ],
    }


def declarations(source: Source, model: str) -> dict[str, Any]:
    """`declarations`: who assessed, what is claimed of `model` (a bom-ref) and the evidence.

    Conformance is 1 where a constraint passes and 0 where it does not; where evidence is missing there is
    none, and a waived one stays 0 with the waiver as its rationale. The assessor made the derivative's
    manifest: it is no third party.
    """
    p = source.predicate
    waivers = {w["constraint"]: w for w in p["waivers"]}
    mapped, claims, evidence = [], [], []
    for constraint, result in source.results:
        claim = f"claim:{constraint.id}"
        entry: dict[str, Any] = {"requirement": f"requirement:{constraint.id}"}
        rationale = f"{result.verdict}: {result.why}"
        if waiver := waivers.get(constraint.id):
            rationale += f"; waived to {waiver['bound']} until {waiver['expires']}: {waiver['reason']}"
        if result.verdict is not Verdict.INSUFFICIENT:
            score = 1 if result.verdict is Verdict.PASS else 0
            entry["conformance"] = {"score": score, "rationale": rationale}
        else:
            entry["conformance"] = {"rationale": rationale}
        if (estimate := result.estimate) is not None:
            side = "claims" if result.verdict is Verdict.PASS else "counterClaims"
            entry[side] = [claim]
            entry["confidence"] = {"score": estimate.confidence, "rationale": estimate.method}
            holds = "holds" if result.verdict is Verdict.PASS else "is not shown to hold"
            claims.append(
                {
                    "bom-ref": claim,
                    "target": model,
                    "predicate": f"{constraint.id} {bound_text(constraint)} {holds}",
                    "reasoning": result.why,
                    "evidence": [f"evidence:{constraint.id}"],
                }
            )
            evidence.append(
                {
                    "bom-ref": f"evidence:{constraint.id}",
                    "propertyName": constraint.metric,
                    "description": f"Measured on the {p['evaluation']['split']} split",
                    "data": [
                        {
                            "name": "estimate",
                            "contents": {
                                "attachment": {
                                    "contentType": "application/json",
                                    "content": json.dumps(estimate.to_json(), sort_keys=True),
                                }
                            },
                        }
                    ],
                    "created": p["evaluation"]["evaluatedAt"],
                }
            )
        mapped.append(entry)
    manifest = source.manifest
    signer = {"name": source.titled(manifest.signer)}
    signatories = [("evaluator", manifest.signer, BUNDLE)]
    signatories += [("countersigner", id, countersignature(id)) for id in manifest.countersigners]
    return {
        "assessors": [{"bom-ref": _ASSESSOR, "thirdParty": False, "organization": signer}],
        "attestations": [
            {
                "summary": f"Every constraint of {source.tenant.title} held against the measured evidence",
                "assessor": _ASSESSOR,
                "map": mapped,
            }
        ],
        "claims": claims,
        "evidence": evidence,
        "affirmation": {
            "statement": source.made_from,
            "signatories": [
                {
                    "name": source.titled(id),
                    "role": role,
                    "organization": {"name": source.titled(id)},
                    "externalReference": {"type": "digital-signature", "url": name},
                }
                for role, id, name in signatories
            ],
        },
    }

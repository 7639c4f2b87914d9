"""The manifest as a CycloneDX ML-BOM, 1.6 (ECMA-424, first edition) or 1.7.

Written as a dictionary: cyclonedx-python-lib has no model cards, and drops them on a round trip.
https://cyclonedx.org/docs/1.7/json/
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.codes import REPOSITORY
from coherence_ft.evidence.assessment import Verdict
from coherence_ft.manifest.files import BUNDLE, MANIFEST, countersignature
from coherence_ft.manifest.statement import PREDICATE_TYPE, RECIPE_FILE, UNKNOWN
from coherence_ft.projections.declarations import declarations, standard
from coherence_ft.projections.source import Source, narrowed, shown
from coherence_ft.reporting.words import bound_text

VERSIONS = ("1.6", "1.7")
PREFIX = "coherence-ft"
"""Of the names of our properties."""

BASE = "base"
"""The base model's bom-ref."""


def cyclonedx(source: Source, spec: str = "1.7") -> dict[str, Any]:
    """The BOM under `spec`, one of `VERSIONS`. The same manifest gives the same BOM and serial number."""
    if spec not in VERSIONS:
        raise ValueError(f"CycloneDX {spec} is not written here")
    p, digest = source.predicate, source.manifest.digest
    data = [_data(source, index) for index in range(len(p["data"]))]
    model = _model(source, [component["bom-ref"] for component in data])
    base = _base(p["base"])
    document = {
        "$schema": f"http://cyclonedx.org/schema/bom-{spec}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": spec,
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'{PREDICATE_TYPE}#{digest}')}",
        "version": 1,
        "metadata": {
            "timestamp": p["createdAt"],
            "lifecycles": [{"phase": "post-build"}],
            "tools": {"components": [_tool()]},
            "manufacturer": {"name": source.tenant.title},
            "component": model,
            "properties": _properties("manifest", source.stamp),
        },
        "components": [base, *data],
        "dependencies": [
            {"ref": model["bom-ref"], "dependsOn": [BASE] if p["method"]["adapter"] else []},
            *({"ref": component["bom-ref"]} for component in (base, *data)),
        ],
        "formulation": [{"components": [_package(s) for s in p["software"]]}],
        "definitions": {"standards": [standard(source)]},
        "declarations": declarations(source, model["bom-ref"]),
    }
    return dict(shown(document))


def _tool() -> dict[str, Any]:
    return {
        "type": "application",
        "name": "coherence-ft",
        "version": version("coherence-ft"),
        "externalReferences": [{"type": "vcs", "url": REPOSITORY}],
    }


def _model(source: Source, data: list[str]) -> dict[str, Any]:
    p, digest = source.predicate, source.manifest.digest
    kind = "An adapter for" if p["method"]["adapter"] else "All weights, trained from"
    return {
        "type": "machine-learning-model",
        "bom-ref": f"sha256:{digest}",
        "name": p["name"],
        "version": f"sha256:{digest}",
        "description": f"{kind} {p['base']['model']}, for the domain {p['domain']}. {source.made_from}",
        "pedigree": _pedigree(p),
        "externalReferences": _references(source),
        "components": [
            {
                "type": "file",
                "bom-ref": f"file:{name}",
                "name": name,
                "hashes": [{"alg": "SHA-256", "content": content}],
            }
            for name, content in sorted(source.manifest.files.items())
        ],
        "modelCard": _card(source, data),
        "properties": [*_facts(source), *_verdicts(source)],
    }


def _base(base: Mapping[str, Any], ref: str | None = BASE) -> dict[str, Any]:
    """`digest` is named as a property where it is not of one file: a component's hash is its file's."""
    component: dict[str, Any] = {"type": "machine-learning-model", "name": base["model"]}
    if ref is not None:
        component |= {"bom-ref": ref}
    if base["revision"]:
        component |= {"version": base["revision"]}
    if base["license"]:
        component |= {"licenses": licenses(base["license"])}
    return component | {
        "properties": _properties("base", {"sha256": base["digest"], "sha256Of": base["digestOf"]})
    }


def _pedigree(p: Mapping[str, Any]) -> dict[str, Any]:
    """What it came from: the base, and the derivatives that it was made of, each by its manifest."""
    parents = [
        {
            "type": "machine-learning-model",
            "name": parent["name"],
            "version": f"sha256:{parent['manifestDigest']}",
            "externalReferences": [
                {
                    "type": "attestation",
                    "url": MANIFEST,
                    "hashes": [{"alg": "SHA-256", "content": parent["manifestDigest"]}],
                    "comment": "The manifest of this parent",
                }
            ],
        }
        for parent in p["lineage"]["parents"]
    ]
    relation = p["lineage"].get("relation")
    notes = {"notes": f"How it came from its parents: {relation}"} if relation and parents else {}
    return {"ancestors": [*parents, _base(p["base"], ref=None)], **notes}


def _references(source: Source) -> list[dict[str, Any]]:
    manifest = source.manifest
    named = [
        ("attestation", MANIFEST, manifest.digest, f"in-toto statement, predicate {PREDICATE_TYPE}"),
        ("configuration", RECIPE_FILE, manifest.files.get(RECIPE_FILE), "the recipe"),
    ]
    found: list[dict[str, Any]] = [
        {"type": kind, "url": name, "hashes": [{"alg": "SHA-256", "content": digest}], "comment": comment}
        for kind, name, digest, comment in named
        if digest
    ]
    signed = [(BUNDLE, manifest.signer)] + [(countersignature(id), id) for id in manifest.countersigners]
    return found + [
        {"type": "digital-signature", "url": name, "comment": f"Signature of {source.titled(id)}"}
        for name, id in signed
    ]


def _card(source: Source, data: list[str]) -> dict[str, Any]:
    p = source.predicate
    parameters: dict[str, Any] = {
        # Both regimes learn from labelled rows, and every base is loaded as a causal language model.
        **({"approach": {"type": "supervised"}} if p["method"]["regime"] in ("sft", "dpo") else {}),
        "task": "text-generation",
        "architectureFamily": "causal language model",
        "datasets": [{"ref": ref} for ref in data],
        "inputs": [{"format": "text"}],
        "outputs": [{"format": "text"}],
    }
    return {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": _metrics(source)},
        "considerations": _considerations(source),
        "properties": _properties(
            "method",
            {
                "regime": p["method"]["regime"],
                **{
                    f"{part}:{name}": _text(value)
                    for part in ("adapter", "quantization", "derivation")
                    for name, value in (p["method"].get(part) or {}).items()
                },
                "steps": p["training"]["steps"],
                "epoch": p["training"]["epoch"],
                "trainingCompute": p["downstreamModifier"]["trainingCompute"],
                "baseCompute": p["downstreamModifier"]["baseCompute"],
                "exceedsOneThird": _text(p["downstreamModifier"]["exceedsOneThird"]),
            },
        ),
    }


def _metrics(source: Source) -> list[dict[str, Any]]:
    """One a constraint. The limits hold one-sided, each alone: the slice says with which confidence."""
    p = source.predicate
    found = []
    for constraint, result in source.results:
        if (e := result.estimate) is None:
            continue
        of = [
            f"constraint {constraint.id}",
            f"{p['evaluation']['split']} split",
            f"domain {p['domain']}",
            *narrowed(constraint),
            f"n = {e.n}",
            f"limits one-sided at {100 * e.confidence:g} %, by {e.method}",
        ]
        stated = e.to_json()
        found.append(
            {
                "type": constraint.metric,
                "value": stated["value"],
                "slice": "; ".join(of),
                "confidenceInterval": {"lowerBound": stated["lower"], "upperBound": stated["upper"]},
            }
        )
    return found


def _considerations(source: Source) -> dict[str, Any]:
    p = source.predicate
    limitations = [
        f"Assessed for the domain {p['domain']} only, on {p['evaluation']['used']} probes of the "
        f"{p['evaluation']['split']} split.",
        f"The verdicts hold where the loops {', '.join(p['runtime']['loops'])} are attached (engine version "
        f"{p['runtime']['engineVersion']}). Weights loaded without them are outside.",
    ]
    if p["abstentionThreshold"] is None:
        limitations.append("No abstention threshold is certified: no answer carries a promised risk.")
    limitations += [
        f"{constraint.id} ({bound_text(constraint)}, {result.enforcement}): {result.verdict}. {result.why}"
        for constraint, result in source.results
        if result.verdict is not Verdict.PASS
    ]
    tradeoffs = []
    if p["abstentionThreshold"] is not None:
        share = f", and answers {float(p['coverage']):.1%} of the questions" if p["coverage"] else ""
        tradeoffs = [f"Abstains below a calibrated confidence of {p['abstentionThreshold']}{share}."]
    return {
        "useCases": [f"Questions of the domain {p['domain']}"],
        "technicalLimitations": limitations,
        **({"performanceTradeoffs": tradeoffs} if tradeoffs else {}),
    }


def _data(source: Source, index: int) -> dict[str, Any]:
    """A training set. Who holds it is known; who owns it is not in the manifest."""
    data = source.predicate["data"][index]
    return {
        "type": "data",
        "bom-ref": f"data:{index}",
        "name": data["name"],
        **({"licenses": licenses(data["license"])} if data["license"] else {}),
        "hashes": [{"alg": "SHA-256", "content": data["digest"]}],
        "data": [
            {
                "type": "dataset",
                "name": data["name"],
                "description": f"Training data: {data['rows']} rows were trained on.",
                "governance": {"custodians": [{"organization": {"name": source.tenant.title}}]},
            }
        ],
    }


def _package(software: Mapping[str, str]) -> dict[str, Any]:
    name, number = software["name"], software["version"]
    return {
        "type": "library",
        "bom-ref": f"software:{name}",
        "name": name,
        "version": number,
        "purl": f"pkg:pypi/{quote(name.lower().replace('_', '-'))}@{quote(number, safe='')}",
    }


def licenses(stated: str) -> list[dict[str, Any]]:
    """A licence as CycloneDX takes it: an SPDX id, an SPDX expression, or else its name."""
    try:
        canonical = canonicalize_license_expression(stated)
    except InvalidLicenseExpression:
        return [{"license": {"name": stated}}]
    # `LicenseRef-…` is an expression, and no id of the SPDX list.
    if " " in canonical or canonical.startswith("LicenseRef-") or canonical.endswith("+"):
        return [{"expression": canonical}]
    return [{"license": {"id": canonical}}]


def _facts(source: Source) -> list[dict[str, str]]:
    p = source.predicate
    return _properties(
        "derivative",
        {
            "tenant": p["tenant"],
            "domain": p["domain"],
            "stage": p["stage"],
            "constraintsDigest": p["constraints"]["digest"],
            "recipeDigest": p["recipe"]["digest"],
            "probeSet": p["evaluation"]["probeSet"],
            "look": p["evaluation"]["look"],
            "chatTemplateDigest": p["chatTemplateDigest"] or "none",
            "abstentionThreshold": p["abstentionThreshold"] or "none",
            "licence": UNKNOWN,  # the manifest states the base's, and none of the derivative's own
        },
    )


def _verdicts(source: Source) -> list[dict[str, str]]:
    found = []
    for constraint, result in source.results:
        stated = {
            "verdict": result.verdict.value,
            "enforcement": result.enforcement.value,
            "bound": bound_text(constraint),
            "confidence": decimal(constraint.confidence),
        }
        found += _properties(f"constraint:{constraint.id}", stated)
    for waiver in source.predicate["waivers"]:
        stated = {
            "bound": waiver["bound"],
            "expires": waiver["expires"],
            "approvedBy": ", ".join(waiver["approvedBy"]),
        }
        found += _properties(f"waiver:{waiver['constraint']}", stated)
    return found


def _properties(group: str, facts: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"name": f"{PREFIX}:{group}:{name}", "value": str(value)} for name, value in facts.items()]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)

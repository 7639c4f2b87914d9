"""The manifest's facts, each with the field it comes from, by the subjects that the EU AI Act asks about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coherence_ft.documents.canonical import decimal
from coherence_ft.projections.source import Source, measures
from coherence_ft.reporting.words import bound_text


@dataclass(frozen=True, slots=True)
class Fact:
    """`field`: JSON pointer into the manifest, or into the file of the derivative that it names."""

    text: str
    field: str


class Facts:
    """The manifest's facts by subject; several items ask for the same."""

    def __init__(self, source: Source) -> None:
        p = source.predicate
        evaluation, runtime, method = p["evaluation"], p["runtime"], p["method"]
        signer = source.titled(source.manifest.signer)
        base = p["base"]

        def at(field: str, text: str) -> Fact:
            return Fact(text, f"/predicate/{field}")

        self.base = (
            at("base/model", f"base model {base['model']}, revision {base['revision'] or 'none'}"),
            at("base/digest", f"sha256 {base['digest']} of {base['digestOf']}"),
        )
        self.adapter = (
            (at("method/adapter", f"an adapter: {_pairs(method['adapter'])}"),)
            if method["adapter"]
            else (at("method/adapter", "no adapter: all weights were trained"),)
        )
        quantized = method["quantization"]
        self.steps = (
            at("training", f"{p['training']['steps']} steps, epoch {p['training']['epoch']}"),
            at("training/trainedTokens", f"trained tokens: {p['training']['trainedTokens']}"),
        )
        settings = source.manifest.recipe.get("training")
        self.method = (
            at("method/regime", f"training method {method['regime']}"),
            *self.adapter,
            at("method/quantization", f"quantization: {_pairs(quantized) if quantized else 'none'}"),
            *(
                (at("method/derivation", f"derived: {_pairs(method['derivation'])}"),)
                if method.get("derivation")
                else ()
            ),
            *self.steps,
            at("recipe", f"recipe sha256 {p['recipe']['digest']}, seed {p['recipe']['seed']}"),
            *(
                (Fact(f"settings: {_pairs(settings)}", "coherence/recipe.json#/training"),)
                if isinstance(settings, Mapping)
                else ()
            ),
        )
        relation = p["lineage"].get("relation", "made from")
        self.lineage = tuple(
            at(f"lineage/parents/{i}", f"{relation}: {e['name']}, manifest sha256 {e['manifestDigest']}")
            for i, e in enumerate(p["lineage"]["parents"])
        )
        self.software = (
            at("software", ", ".join(f"{s['name']} {s['version']}" for s in p["software"]) or "none stated"),
        )
        self.goals = tuple(
            Fact(
                f"{c.id}: {measures(c)}, {bound_text(c)} with {decimal(100 * c.confidence)} % confidence "
                f"({c.enforcement}); {c.reason}",
                "coherence/constraints.json#/constraints",
            )
            for c, _ in source.results
        )
        threshold, coverage = p["abstentionThreshold"], p["coverage"]
        self.abstention = (
            at(
                "abstentionThreshold",
                "no abstention threshold is certified"
                if threshold is None
                else f"abstains below a calibrated confidence of {threshold}"
                + (f"; answers {float(coverage):.1%} of the questions" if coverage else ""),
            ),
        )
        modifier = p["downstreamModifier"]
        self.compute = (
            at(
                "downstreamModifier/trainingCompute",
                f"training compute {modifier['trainingCompute']} (floating-point operations)",
            ),
            at("downstreamModifier/baseCompute", f"training compute of the base {modifier['baseCompute']}"),
        )
        self.runtime = (
            at(
                "runtime",
                f"needs the loops {', '.join(runtime['loops'])}, engine version {runtime['engineVersion']}",
            ),
        )
        self.data = tuple(
            at(
                f"data/{i}",
                f"training data {d['name']}: {d['rows']} rows, licence {d['license'] or 'unknown'}, "
                f"sha256 {d['digest']}",
            )
            for i, d in enumerate(p["data"])
        )
        self.probes = tuple(
            at(f"probes/{split}", f"{split} probes, sha256 {digest}")
            for split, digest in sorted(p["probes"].items())
        )
        constraints = source.manifest.constraints
        self.boundaries = tuple(
            Fact(
                f"role boundary {b.boundary.id}: left to others: {', '.join(b.boundary.topics)}",
                "coherence/constraints.json#/role_boundaries",
            )
            for b in constraints.role_boundaries
        ) + tuple(
            Fact(
                f"restriction on every reply: {n.restriction.id}",
                "coherence/constraints.json#/named_constraints",
            )
            for n in constraints.named_constraints
        )
        self.testing = (
            at(
                "evaluation",
                f"{evaluation['split']} split, probe set sha256 {evaluation['probeSet']}: "
                f"{evaluation['used']} probes used, {evaluation['skipped']} skipped, "
                f"{evaluation['unused']} of other domains; look {evaluation['look']}",
            ),
            at("evaluation/evaluatedAt", f"dated {evaluation['evaluatedAt']}"),
            at("evaluation/evaluator", f"measured and signed by {signer}"),
        )
        place = {r["constraint"]: i for i, r in enumerate(evaluation["results"])}
        self.results = tuple(
            at(
                f"evaluation/results/{place[c.id]}",
                f"{c.id} ({r.enforcement}): {r.verdict}; {r.why}"
                + (f"; by {r.estimate.method}" if r.estimate else ""),
            )
            for c, r in source.results
        )
        self.waivers = tuple(
            at(
                f"waivers/{i}",
                f"{w['constraint']} is waived to {w['bound']} until {w['expires']}, approved by "
                f"{', '.join(w['approvedBy'])}: {w['reason']}",
            )
            for i, w in enumerate(p["waivers"])
        )
        self.integrity = (
            Fact(
                f"{len(source.manifest.files)} files with their sha256, and a signature by {signer}",
                "/subject",
            ),
        )
        self.domain = (at("domain", f"assessed for the domain {p['domain']}"),)
        self.dates = (at("createdAt", f"manifest made {p['createdAt']}"),)
        self.modality = (
            at("runtime/engineVersion", f"text in, text out (engine version {runtime['engineVersion']})"),
        )
        self.licences = (
            at("base/license", f"licence of the base: {base['license'] or 'unknown'}"),
            *(
                at(f"data/{i}/license", f"licence of {d['name']}: {d['license'] or 'unknown'}")
                for i, d in enumerate(p["data"])
            ),
        )
        template = p["chatTemplateDigest"]
        self.template = (
            at("chatTemplateDigest", f"chat template {f'sha256 {template}' if template else 'none'}"),
        )


def _pairs(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {word(value)}" for name, value in facts.items())


def word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)

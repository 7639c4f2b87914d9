"""The manifest as a model card: a README with the metadata that the Hugging Face hub reads.

https://huggingface.co/docs/hub/model-cards and, for `model-index`,
https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from coherence_ft.evidence.assessment import Verdict
from coherence_ft.projections.markdown import code, measured, plain, table
from coherence_ft.projections.source import Source, measures, shown
from coherence_ft.reporting.words import MARKS, bound_text, conclusion, look_line

_HUB_MODEL = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
# The hub's own short names, all of them SPDX ids in lower case: https://huggingface.co/docs/hub/repositories-licenses
_HUB_LICENCES = frozenset(
    (
        *("apache-2.0", "mit", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd-2-clause", "bsd-3-clause", "isc"),
        *("bsd-3-clause-clear", "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0"),
        *("cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-sa-4.0"),
        *("cc-by-nc-nd-4.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "ecl-2.0"),
        *("epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "mpl-2.0", "ms-pl", "ncsa", "osl-3.0"),
        *("ofl-1.1", "postgresql", "unlicense", "wtfpl", "zlib", "pddl-1.0"),
    )
)


def model_card(source: Source) -> str:
    """README.md: front matter for the hub, then what the manifest says, for people."""
    front = yaml.safe_dump(shown(metadata(source)), sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{front}---\n\n" + "\n".join(_body(source)) + "\n"


def metadata(source: Source) -> dict[str, Any]:
    """The front matter. A base that is no model of the hub is left out: the hub refuses such a card."""
    p = source.predicate
    method, base = p["method"], p["base"]
    found: dict[str, Any] = {
        **_licence(base["license"]),
        "library_name": "peft" if method["adapter"] else "transformers",
        "pipeline_tag": "text-generation",
    }
    if _HUB_MODEL.fullmatch(base["model"]):
        found |= {"base_model": base["model"], "base_model_relation": _relation(p)}
    tags = ["coherence-ft", p["domain"], method["regime"], *(["lora"] if method["adapter"] else [])]
    found |= {
        "tags": list(dict.fromkeys(tags)),
        "datasets": list(dict.fromkeys(data["name"] for data in p["data"])),
        "model-index": [{"name": p["name"], "results": [_results(source)]}],
    }
    return {key: value for key, value in found.items() if value != []}


def _licence(stated: str | None) -> dict[str, str]:
    if stated is None:
        return {"license": "unknown"}
    if stated.lower() in _HUB_LICENCES:
        return {"license": stated.lower()}
    return {"license": "other", "license_name": stated}


def _relation(p: Any) -> str:
    """As the hub tells derivatives apart: adapter, finetune, quantized, merge."""
    if p["lineage"].get("relation") == "quantized":
        return "quantized"
    return "adapter" if p["method"]["adapter"] else "finetune"


def _results(source: Source) -> dict[str, Any]:
    """One evaluation with a metric for each constraint that was measured."""
    p = source.predicate
    evaluation = p["evaluation"]
    return {
        "task": {"type": "text-generation", "name": "Text generation"},
        "dataset": {
            "type": f"sha256:{evaluation['probeSet']}",
            "name": f"{p['domain']}, {evaluation['split']} split",
            "split": evaluation["split"],
        },
        "metrics": [
            {
                "type": constraint.metric,
                "name": f"{constraint.id}: {MARKS[result.verdict]} {result.verdict}, "
                f"limits {e.lower:.3f} to {e.upper:.3f}",
                "value": e.value,
                "args": {
                    "lower": e.lower,
                    "upper": e.upper,
                    "n": e.n,
                    "confidence": e.confidence,
                    "method": e.method,
                    "bound": bound_text(constraint),
                    "enforcement": result.enforcement.value,
                    "verdict": result.verdict.value,
                },
            }
            for constraint, result in source.results
            if (e := result.estimate) is not None
        ],
    }


def _body(source: Source) -> Iterator[str]:
    p, manifest = source.predicate, source.manifest
    method, base, evaluation, training = p["method"], p["base"], p["evaluation"], p["training"]
    yield f"# {plain(p['name'])}"
    yield ""
    yield f"> {plain(source.made_from)} Do not edit this card: generate it again."
    yield ""
    yield plain(conclusion(manifest.assessment, look_line(manifest.constraints, manifest.assessment)))
    yield ""
    yield "## Model"
    yield ""
    made = "An adapter on" if method["adapter"] else "All weights, trained from"
    yield f"- {made} {code(base['model'])}, revision {plain(base['revision'] or 'none')}, {_of(base)}"
    yield f"- base: sha256 {code(base['digest'])} of {plain(base['digestOf'])}"
    yield f"- domain {plain(p['domain'])}, made by {plain(source.tenant.title)}"
    yield (
        "- licence: the manifest states the base's and the data's, and none of the derivative's own; "
        "`license` above repeats the base's"
    )
    for parent in p["lineage"]["parents"]:
        yield f"- parent: {plain(parent['name'])}, manifest sha256 {code(parent['manifestDigest'])}"
    yield ""
    yield "## How to use it"
    yield ""
    yield "```python"
    yield "from coherence_ft import load_derivative"
    yield ""
    yield 'answer = load_derivative("PATH").answer("…")  # verifies the manifest first'
    yield "```"
    yield ""
    threshold = p["abstentionThreshold"]
    yield (
        "No abstention threshold is certified: no answer carries a promised risk."
        if threshold is None
        else f"It abstains below a calibrated confidence of {threshold}"
        + (f", and answers {float(p['coverage']):.1%} of the questions." if p["coverage"] else ".")
    )
    yield (
        f"What follows holds where the loops {', '.join(p['runtime']['loops'])} are attached (engine version "
        f"{p['runtime']['engineVersion']}). Weights loaded by plain PEFT or vLLM are outside of it."
    )
    yield ""
    yield "## Results"
    yield ""
    yield (
        f"On the {evaluation['split']} split (probe set sha256 {code(evaluation['probeSet'])}, look "
        f"{evaluation['look']}), {evaluation['used']} probes used, evaluated {evaluation['evaluatedAt']}. "
        "Limits hold one-sided, each alone; n counts independent units. Verdicts in brackets are of "
        "constraints that are only reported."
    )
    yield ""
    yield from table(
        ("constraint", "measures", "bound", "verdict", "measured (limits)", "confidence", "n", "base"),
        (
            (
                plain(constraint.id),
                plain(measures(constraint)),
                bound_text(constraint),
                f"{result.verdict}" if result.enforcement == "hard" else f"({result.verdict})",
                measured(result.estimate),
                f"{100 * result.estimate.confidence:g} %" if result.estimate else "",
                str(result.estimate.n) if result.estimate else "0",
                measured(result.base),
            )
            for constraint, result in source.results
        ),
    )
    yield ""
    short = [(c, r) for c, r in source.results if r.verdict is not Verdict.PASS]
    if short:
        yield "What does not hold, or is not shown to:"
        yield ""
        for constraint, result in short:
            yield f"- {plain(constraint.id)}: {result.verdict}. {plain(result.why)}"
        yield ""
    if p["waivers"]:
        yield "## Waivers"
        yield ""
        for w in p["waivers"]:
            yield (
                f"- {plain(w['constraint'])} to {w['bound']} until {w['expires']}, approved by "
                f"{plain(', '.join(map(source.titled, w['approvedBy'])))}: {plain(w['reason'])}"
            )
        yield ""
    yield "## Training"
    yield ""
    yield f"- {method['regime']}, {training['steps']} steps, epoch {training['epoch']}"
    for label in ("adapter", "quantization", "derivation"):
        if facts := method.get(label):
            yield f"- {label}: " + ", ".join(f"{name} {plain(_said(v))}" for name, v in facts.items())
    for data in p["data"]:
        digest = code(data["digest"])
        yield f"- data: {plain(data['name'])}, {data['rows']} rows, {_of(data)}, sha256 {digest}"
    yield (
        f"- compute: {p['downstreamModifier']['trainingCompute']} floating-point operations; "
        f"the base's: {p['downstreamModifier']['baseCompute']}"
    )
    yield f"- software: {', '.join(plain(s['name'] + ' ' + s['version']) for s in p['software'])}"


def _of(stated: Any) -> str:
    return f"licence {plain(stated['license'])}" if stated["license"] else "licence unknown"


def _said(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value).lower()

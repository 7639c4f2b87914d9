"""What the manifest says about the items of the EU AI Act's technical documentation, and what it does not.

Regulation (EU) 2024/1689: Annex IV, point 2 (documentation of a high-risk AI system); Annex XI, section 1
(of a general-purpose AI model); Annex XII (for providers downstream). An extract of facts, each with the
field that it comes from; whether and to whom the Act applies is for its reader to decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from coherence_ft.projections.ai_act_facts import Fact, Facts, word
from coherence_ft.projections.markdown import code, plain, table
from coherence_ft.projections.one_third import one_third
from coherence_ft.projections.source import Source, shown

REGULATION = "Regulation (EU) 2024/1689"
SYSTEM = "the provider of the AI system"
MODEL = "the provider of the model"
NOTICE = (
    "An extract of facts, and no legal advice: it does not say whether the Act applies, to whom, or whether "
    "the documentation is complete. Where the Act asks a modifier for documentation of a model, it is of the "
    "modification (recital 109)."
)


@dataclass(frozen=True, slots=True)
class Item:
    """One item of an annex. `missing`: what the manifest does not say; empty where it says all."""

    reference: str
    asks: str
    facts: tuple[Fact, ...]
    missing: str


def ai_act(source: Source) -> dict[str, Any]:
    """The extract as JSON data; every item has facts, or says who has to fill it in, or both."""
    return dict(
        shown(
            {
                "regulation": REGULATION,
                "notice": NOTICE,
                "generatedFrom": source.stamp,
                "derivative": source.predicate["name"],
                "oneThirdRule": one_third(source),
                "annexes": [
                    {
                        "annex": annex,
                        "title": title,
                        "items": [
                            {
                                "reference": item.reference,
                                "asks": item.asks,
                                "facts": [{"fact": f.text, "source": f.field} for f in item.facts],
                                "notInTheManifest": _missing(item.missing, filler),
                            }
                            for item in items
                        ],
                    }
                    for annex, title, filler, items in _annexes(source)
                ],
            }
        )
    )


def ai_act_markdown(source: Source) -> str:
    """The same for people."""
    extract = ai_act(source)
    return "\n".join(_page(extract, source)) + "\n"


def _page(extract: Mapping[str, Any], source: Source) -> Iterator[str]:
    yield f"# {plain(extract['derivative'])}: facts for the technical documentation under {REGULATION}"
    yield ""
    yield f"> {plain(source.made_from)}"
    yield ""
    yield extract["notice"]
    yield ""
    yield "## Compute and the one-third rule"
    yield ""
    rule = extract["oneThirdRule"]
    yield f"{rule['criterion']} ({rule['citation']})"
    yield ""
    rows = [
        ("compute of the modification", rule["trainingCompute"]),
        ("compute of the base", rule["baseCompute"]),
        ("exceeds a third", word(rule["exceeds"])),
    ]
    yield from table(("fact", "value"), ((name, plain(str(value))) for name, value in rows))
    yield ""
    yield f"{rule['counted']} Source: {code(rule['source'])}."
    if "substitute" in rule:
        substitute = rule["substitute"]
        yield ""
        yield f"{substitute['applies']} ({substitute['citation']})"
        yield ""
        yield from table(
            ("where", "threshold", "exceeded"),
            ((t["where"], t["threshold"], word(t["exceeds"])) for t in substitute["thresholds"]),
        )
    for annex in extract["annexes"]:
        yield ""
        yield f"## {annex['annex']}: {annex['title']}"
        for item in annex["items"]:
            yield ""
            yield f"### {item['reference']}: {item['asks']}"
            yield ""
            for fact in item["facts"]:
                yield f"- {plain(fact['fact'])} ({code(fact['source'])})"
            if item["notInTheManifest"]:
                yield f"- *{plain(item['notInTheManifest'])}*"


def _missing(what: str, filler: str) -> str | None:
    return f"Not in the manifest: to be filled in by {filler}: {what}." if what else None


def _annexes(source: Source) -> list[tuple[str, str, str, list[Item]]]:
    facts = Facts(source)
    return [
        (
            "Annex IV, point 2",
            "elements of the AI system and process for its development (Article 11(1))",
            SYSTEM,
            _annex_iv(facts),
        ),
        (
            "Annex XI, section 1",
            "documentation of a general-purpose AI model (Article 53(1)(a))",
            MODEL,
            _annex_xi(facts),
        ),
        (
            "Annex XII",
            "information for downstream providers (Article 53(1)(b))",
            MODEL,
            _annex_xii(facts),
        ),
    ]


def _annex_iv(f: Facts) -> list[Item]:
    def item(letter: str, asks: str, facts: tuple[Fact, ...], missing: str = "") -> Item:
        return Item(f"Annex IV, point 2({letter})", asks, facts, missing)

    return [
        item(
            "a",
            "methods and steps of development, and use of pre-trained systems and third-party tools",
            (*f.base, *f.method, *f.lineage, *f.software),
            "how the base was chosen, and steps outside of this training",
        ),
        item(
            "b",
            "design specifications, key choices, what the system is designed to optimise for, trade-offs",
            (*f.goals, *f.abstention),
            "the rationale and assumptions of the choices, the persons on whom the system is used, and the "
            "main classification choices",
        ),
        item(
            "c",
            "system architecture, and computational resources for development, training, testing, validation",
            (*f.compute, *f.runtime),
            "the architecture of the system around the model, the hardware, and the resources of testing",
        ),
        item(
            "d",
            "data requirements: data sheets, provenance, scope, selection, labelling, cleaning",
            (*f.data, *f.probes),
            "provenance and character of the data, and how they were obtained, selected, labelled, cleaned",
        ),
        item(
            "e",
            "human oversight measures (Article 14)",
            (*f.abstention, *f.boundaries),
            "who oversees the system, and with what means",
        ),
        item("f", "pre-determined changes to the system and its performance", (), "any such change"),
        item(
            "g",
            "validation and testing: procedures, data, metrics for accuracy, robustness and compliance, "
            "discriminatory impacts, logs and reports dated and signed",
            (*f.testing, *f.results, *f.waivers),
            "potentially discriminatory impacts beyond the constraints above, and the logs of the tests",
        ),
        item("h", "cybersecurity measures", f.integrity, "all other measures"),
    ]


def _annex_xi(f: Facts) -> list[Item]:
    def item(point: str, asks: str, facts: tuple[Fact, ...], missing: str = "") -> Item:
        return Item(f"Annex XI, section 1, point {point}", asks, facts, missing)

    return [
        item("1(a)", "tasks, and AI systems into which it can be integrated", f.domain, "the intended tasks"),
        item("1(b)", "acceptable use policies", f.boundaries, "the policies"),
        item(
            "1(c)", "date of release and methods of distribution", f.dates, "date of release and distribution"
        ),
        item(
            "1(d)",
            "architecture and number of parameters",
            (*f.base, *f.adapter),
            "architecture and number of parameters of the base",
        ),
        item("1(e)", "modality and format of inputs and outputs", f.modality),
        item("1(f)", "licence", f.licences, "the derivative's own licence"),
        item(
            "2(a)",
            "technical means required for integration",
            (*f.runtime, *f.software, *f.template),
            "instructions of use",
        ),
        item(
            "2(b)",
            "design specifications and training process, key choices, what is optimised for",
            (*f.method, *f.goals),
            "rationale and assumptions of the choices",
        ),
        item(
            "2(c)",
            "data used for training, testing and validation",
            (*f.data, *f.probes),
            "type, provenance, curation and selection of the data, and detection of biases",
        ),
        item("2(d)", "computational resources, training time", (*f.compute, *f.steps), "training time"),
        item("2(e)", "energy consumption", f.compute, "energy, which may be based on the compute"),
    ]


def _annex_xii(f: Facts) -> list[Item]:
    def item(point: str, asks: str, facts: tuple[Fact, ...], missing: str = "") -> Item:
        return Item(f"Annex XII, point {point}", asks, facts, missing)

    return [
        item("1(a)", "tasks, and AI systems into which it can be integrated", f.domain, "the intended tasks"),
        item("1(b)", "acceptable use policies", f.boundaries, "the policies"),
        item(
            "1(c)", "date of release and methods of distribution", f.dates, "date of release and distribution"
        ),
        item("1(d)", "interaction with hardware and software that is not part of it", f.runtime, "hardware"),
        item("1(e)", "versions of relevant software", f.software),
        item(
            "1(f)",
            "architecture and number of parameters",
            (*f.base, *f.adapter),
            "architecture and number of parameters of the base",
        ),
        item("1(g)", "modality and format of inputs and outputs", f.modality),
        item("1(h)", "licence", f.licences, "the derivative's own licence"),
        item(
            "2(a)",
            "technical means required for integration",
            (*f.runtime, *f.abstention, *f.template),
            "instructions for use",
        ),
        item("2(b)", "inputs and outputs and their maximum size", f.modality, "the context window"),
        item(
            "2(c)",
            "data used for training, testing and validation",
            (*f.data, *f.probes),
            "type, provenance and curation of the data",
        ),
    ]

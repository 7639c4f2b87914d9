"""`coherence-ft show DIR`: the manifest for people."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coherence_ft.cli.printing import as_json, print_diagnostics
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.manifest import judgement
from coherence_ft.manifest.files import MANIFEST, open_folder, printable
from coherence_ft.manifest.reading import MAX_BYTES
from coherence_ft.manifest.verify import read_statement, verify

if TYPE_CHECKING:
    from rich.table import Table


@click.command(name="show")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--tenant", type=click.Path(path_type=Path), help="Tenant document; by default the trusted one."
)
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(folder: Path, tenant: Path | None, output: str) -> None:
    """Print what the manifest in DIR says, and whether it verifies.

    Exits with 1 if it does not: then nothing that is shown may be relied on.
    """
    with open_folder(folder) as opened:
        content, statement = read_statement(opened)
        contents = {
            name: opened.read(name, MAX_BYTES)
            for name in judgement.DOCUMENTS.values()
            if name in opened.files
        }
    refused: CoherenceError | None = None
    key = ""
    countersigners: tuple[str, ...] = ()
    try:
        verified = verify(folder, tenant)
        key, countersigners = verified.key_id, verified.countersigners
    except CoherenceError as error:
        refused = error
    diagnostics = refused.diagnostics if refused else ()
    digest = hashlib.sha256(content).hexdigest()
    if output == "json":
        facts = {"verified": not refused, "digest": digest, "key": key, "countersigners": countersigners}
        facts |= {"statement": statement}
        click.echo(json.dumps(facts | json.loads(as_json(diagnostics)), indent=2))
    else:
        _print(folder, _clean(statement), contents, digest, key, countersigners)
        print_diagnostics(diagnostics)
    if refused:
        click.get_current_context().exit(1)


def _print(
    folder: Path,
    statement: dict[str, Any],
    contents: dict[str, bytes],
    digest: str,
    key: str,
    countersigners: tuple[str, ...],
) -> None:
    from rich.text import Text

    from coherence_ft.cli import verdicts

    console = verdicts.console()
    predicate = statement["predicate"]
    where = f"{folder}/{MANIFEST}"
    signer = predicate["evaluation"]["evaluator"]
    if key:
        console.print(Text(f"verified: signed by {signer}, key sha256:{key}", style="green"))
        for countersigner in countersigners:
            console.print(Text(f"countersigned by {countersigner}", style="green"))
    else:
        console.print(Text("NOT VERIFIED: nothing shown here may be relied on", style="bold red"))
    try:
        documents = _clean(judgement.documents(predicate, contents, folder))
        constraints = judgement.resolved_constraints(documents["constraints"], predicate, where)
        console.print(
            verdicts.verdict_table(
                constraints, judgement.assessment(predicate, where), predicate["evaluation"]["look"]
            )
        )
    except (CoherenceError, KeyError) as error:
        console.print(Text(f"no verdicts can be shown: {str(error).splitlines()[0]}", style="red"))
    console.print(_facts(statement, digest))


def _facts(statement: dict[str, Any], digest: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    p = statement["predicate"]
    base, method, evaluation, training = p["base"], p["method"], p["evaluation"], p["training"]
    modifier, runtime, subjects = p["downstreamModifier"], p["runtime"], statement["subject"]
    rows: list[tuple[str, str]] = [
        ("name", f"{p['name']}, {p['stage']}, made {p['createdAt']}"),
        ("manifest", f"sha256:{digest}, schema {p['schemaVersion']}, {statement['predicateType']}"),
        ("tenant", f"{p['tenant']}, domain {p['domain']}"),
        (
            "evidence",
            f"{evaluation['split']} split, look {evaluation['look']}, {evaluation['used']} probes used, "
            f"{evaluation['unused']} of other domains, {evaluation['skipped']} skipped, "
            f"{evaluation['evaluatedAt']} by {evaluation['evaluator']}",
        ),
        ("", f"probe set sha256:{evaluation['probeSet']}"),
        *(("" if index else "why", _why(r)) for index, r in enumerate(evaluation["results"])),
        *(("observations", _stored(s)) for s in p.get("evidence", ())),
        ("abstains", _abstention(p["abstentionThreshold"], p["coverage"])),
        ("base", f"{base['model']}, revision {base['revision'] or 'none'}, {_licence(base)}"),
        ("", f"sha256:{base['digest']} of {base['digestOf']}"),
        ("method", method["regime"]),
        ("", f"adapter: {_pairs(method['adapter']) or 'none, all weights trained'}"),
        ("", f"quantization: {_pairs(method['quantization']) or 'none'}"),
        *((("derived by", _pairs(method["derivation"])),) if method.get("derivation") else ()),
        (
            "training",
            f"{training['steps']} steps, epoch {training['epoch']}, "
            f"{training['trainedTokens']} trained tokens",
        ),
        *(("data", f"{d['name']}, {d['rows']} rows, {_licence(d)}, sha256:{d['digest']}") for d in p["data"]),
        *((f"{split} probes", f"sha256:{probes}") for split, probes in sorted(p["probes"].items())),
        ("chat template", f"sha256:{p['chatTemplateDigest']}" if p["chatTemplateDigest"] else "none"),
        ("recipe", f"seed {p['recipe']['seed']}, {_document(p['recipe'])}"),
        ("constraints", _document(p["constraints"])),
        ("calibrator", _document(p["calibrator"]) if p["calibrator"] else "none"),
        *(
            (
                "waiver",
                f"{w['constraint']} in {w['domain']} to {w['bound']} until {w['expires']}, approved by "
                f"{w['approvedBy']} for {w['requestedBy']}: {w['reason']}",
            )
            for w in p["waivers"]
        ),
        ("lineage", p["lineage"].get("relation", "not stated before schema 1.1")),
        *(("parent", f"{e['name']}, manifest sha256:{e['manifestDigest']}") for e in p["lineage"]["parents"]),
        *(("ancestor", f"manifest sha256:{digest}") for digest in p["lineage"].get("ancestors", ())),
        ("needs", f"loops {', '.join(runtime['loops'])}; engine version {runtime['engineVersion']}"),
        ("software", ", ".join(f"{s['name']} {s['version']}" for s in p["software"])),
        (
            "EU AI Act",
            f"training compute {modifier['trainingCompute']}, base {modifier['baseCompute']} (floating-point "
            f"operations); exceeds one third: {_word(modifier['exceedsOneThird'])}",
        ),
        *(
            ("files" if not index else "", f"{s['digest']['sha256'][:16]}…  {s['name']}")
            for index, s in enumerate(subjects[:_FILES_SHOWN])
        ),
    ]
    if len(subjects) > _FILES_SHOWN:
        rows.append(("", f"and {len(subjects) - _FILES_SHOWN} more"))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(label, Text(text))
    return table


_FILES_SHOWN = 30


def _why(result: dict[str, Any]) -> str:
    return (
        f"{result['constraint']} ({result['enforcement']}): {result['verdict']}, {result['why']}. "
        f"Derivative {_estimate(result['estimate'])}; base {_estimate(result['base'])}"
    )


def _estimate(e: dict[str, Any] | None) -> str:
    if e is None:
        return "not measured"
    return (
        f"{e['value']} by {e['method']}, limits {e['lower']} and {e['upper']}, n = {e['n']}, "
        f"confidence {e['confidence']}"
    )


def _abstention(threshold: str | None, coverage: str | None) -> str:
    if threshold is None:
        return "no threshold was certified"
    answered = f"; answers {float(coverage):.1%} of the questions" if coverage is not None else ""
    return f"below a calibrated confidence of {threshold}{answered}"


def _stored(stored: dict[str, Any]) -> str:
    return (
        f"{stored['model']}, {stored['split']}: {stored['observations']} in {stored['bytes']} bytes, "
        f"{stored['file'] or 'kept elsewhere'}, sha256:{stored['digest']}"
    )


def _licence(of: dict[str, Any]) -> str:
    return of["license"] or "licence unknown"


def _document(document: dict[str, Any]) -> str:
    return f"{document['file']}, sha256:{document['digest']}"


def _pairs(facts: dict[str, Any] | None) -> str:
    return ", ".join(f"{name} {_word(value)}" for name, value in (facts or {}).items())


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _clean(data: Any) -> Any:
    """Text as it may reach a terminal: what is not verified yet may hold control sequences."""
    if isinstance(data, dict):
        return {_clean(name): _clean(value) for name, value in data.items()}
    if isinstance(data, list):
        return [_clean(value) for value in data]
    return printable(" ".join(data.split())) if isinstance(data, str) else data

"""Parents of a base model that was itself made of derivatives, such as a mixture of experts.

A base has no manifest. So `coherence/parents.json` in its folder says what a manifest's `lineage` would, and
the ancestors are carried beside it as in a derivative. Nobody signs that record: whoever trains on the base
verifies the ancestors, names them as parents, and signs for that.
"""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.schemas import load_schema
from coherence_ft.documents.tenant import Tenant
from coherence_ft.manifest.files import open_folder, place
from coherence_ft.manifest.lineage import Carried, Lineage, bundle_name, family, manifest_name
from coherence_ft.manifest.reading import MAX_BYTES, parse_json, violations
from coherence_ft.manifest.statement import Parent, Relation

RECORD = "coherence/parents.json"


def record(folder: Path, lineage: Lineage) -> None:
    """Let the base model in `folder` name its parents."""
    lineage.write(folder)
    document = {
        "relation": lineage.relation.value,
        "parents": [{"name": p.name, "manifestDigest": p.manifest_digest} for p in lineage.parents],
        "ancestors": sorted(lineage.carried),
    }
    (folder / RECORD).parent.mkdir(exist_ok=True)
    (folder / RECORD).write_bytes(canonical_json(document))


def recorded(folder: Path, tenant: Tenant, today: date) -> Lineage:
    """The lineage that the base model in `folder` records, verified to the root; empty without a record.

    Raises CoherenceError: CFT603 to CFT606 and CFT620 for a record that cannot be read, CFT690 to CFT698.
    """
    with open_folder(folder) as opened:
        if RECORD not in opened.files:
            return Lineage()
        where = place(folder, RECORD)
        stated = parse_json(opened.read(RECORD, MAX_BYTES), where)
        if problems := violations(_validator(), stated, where):
            raise CoherenceError(problems)
        kin = family(opened, "", {"tenant": tenant.id, "lineage": stated}, tenant, today)
        if kin.findings:
            raise CoherenceError(kin.findings)
        carried = {
            digest: Carried(
                opened.read(manifest_name(digest), MAX_BYTES), opened.read(bundle_name(digest), MAX_BYTES)
            )
            for digest in stated["ancestors"]
        }
    parents = tuple(Parent(p["name"], p["manifestDigest"]) for p in stated["parents"])
    return Lineage(Relation(stated["relation"]), parents, carried)


@cache
def _validator() -> Any:
    import jsonschema_rs

    schema = {
        "$defs": load_schema("manifest")["$defs"],
        "$ref": "#/$defs/predicate/properties/lineage",
        "required": ["relation", "ancestors"],
    }
    return jsonschema_rs.Draft202012Validator(schema)

"""Makes the frozen derivatives of the schema version that this code writes.

    python tests/frozen.py [FOLDER]

Once for a version, just before it is released; then their digests go into test_manifest_frozen.py, and nobody
makes them again. It refuses to write over any. Under tests/golden/manifests/VERSION/ come the tenant
document, its constraint set and public keys, and two derivatives of a tiny model that was really trained and
measured: `certified`, continued from a promoted derivative, with stored observations and everything that can
be signed (maker on P-384, countersigners with Ed25519 and P-256, model.sig); and `monitoring`, a merge of the
two. The private keys are thrown away.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from workshop import STEPS, Workshop, coherence_ft, make_workshop

from coherence_ft.authority.keys import generate
from coherence_ft.manifest.statement import SCHEMA_VERSION
from coherence_ft.manifest.verify import verify

GOLDEN = Path(__file__).parent / "golden" / "manifests"
KEYS = {"risk": "p384", "safety": "ed25519", "regulator": "p256"}


def done(*arguments: object) -> None:
    if coherence_ft(*arguments) != 0:
        raise SystemExit(f"failed: {' '.join(map(str, arguments))}")


def countersigned(folder: Path, workshop: Workshop) -> None:
    for authority in ("safety", "regulator"):
        done("countersign", folder, "--authority", authority, "--tenant", workshop.tenant)


def tenant_with_everyone(workshop: Workshop) -> None:
    keys = workshop.root / "keys"
    shutil.rmtree(keys)
    for name, algorithm in KEYS.items():
        generate(keys, name, algorithm)
    tenant = json.loads(workshop.tenant.read_text())
    tenant["title"] = "Frozen with the manifests beside it"
    board, risk = tenant["authorities"][:2]
    others = [
        {
            "id": id,
            "title": title,
            "level": level,
            "powers": ["countersign"],
            "public_keys": [f"keys/{id}.pub.pem"],
        }
        for id, title, level in (
            ("safety", "Clinical safety", "tenant"),
            ("regulator", "Regulator", "regulated-unit"),
        )
    ]
    tenant["authorities"] = [board, risk, *others]
    tenant["countersignatures"] = [
        {"authorities": ["safety", "regulator"], "reason": "Four eyes, and one outside."}
    ]
    workshop.tenant.write_text(json.dumps(tenant, indent=1) + "\n")


def main(target: Path) -> None:
    if target.exists():
        raise SystemExit(f"{target} is there already, and what is frozen is never made again")
    with tempfile.TemporaryDirectory() as temporary:
        workshop = make_workshop(Path(temporary) / "workshop")
        tenant_with_everyone(workshop)
        done("train", workshop.recipe("first"))
        done("promote", workshop.run("first") / f"checkpoint-{STEPS}")
        first = workshop.run("first") / "derivative"
        countersigned(first, workshop)
        done(
            "train",
            workshop.recipe("second", base={"model": f"derivative:{first.relative_to(workshop.root)}"}),
        )
        done("promote", workshop.run("second") / f"checkpoint-{STEPS}")
        second = workshop.run("second") / "derivative"
        countersigned(second, workshop)
        merged = workshop.run("merged")
        recipe = workshop.recipe("merged")
        done("merge", first, second, "--method", "linear", "--recipe", recipe, "--output", merged)
        target.mkdir(parents=True)
        (target / "keys").mkdir()
        for name in KEYS:
            shutil.copy(workshop.root / "keys" / f"{name}.pub.pem", target / "keys")
        for name in ("tenant.yaml", "constraints.yaml"):
            shutil.copy(workshop.root / name, target)
        shutil.copytree(second, target / "certified")
        shutil.copytree(merged / "checkpoint-0", target / "monitoring")
    for stage in ("certified", "monitoring"):
        manifest = verify(target / stage, target / "tenant.yaml", require_stage=stage)
        print(f'    "{target.name}/{stage}": "{manifest.digest}",')


if __name__ == "__main__":
    os.umask(0o022)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN / SCHEMA_VERSION)

"""`coherence-ft init [FOLDER]`"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import click

from coherence_ft.documents.canonical import decimal, file_digest
from coherence_ft.documents.constraint_reader import read_constraint_set
from coherence_ft.documents.constraint_set import DOMAINS, Constraint, Enforcement
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.extends import PUBLISHED
from coherence_ft.documents.schemas import either, load_schema, schema_root, suggestion
from coherence_ft.formatting.format import format_text

_SHARED = {
    "pre-commit.yaml": ".pre-commit-config.yaml",
    "gitignore": ".gitignore",
    "pyproject.toml": "pyproject.toml",
}
_CI = {
    "github": (".github/workflows/coherence.yml", "github.yml"),
    "gitlab": (".gitlab-ci.yml", "gitlab.yml"),
}
_TIGHTER = 0.8
"""The starter's bound as a share of the published one."""


@click.command(name="init")
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--tenant", metavar="ID", help="Id of the tenant. By default made of the folder's name.")
@click.option("--domain", default="general", show_default=True, help="Field of use; an own one is declared.")
@click.option("--ci", type=click.Choice(["github", "gitlab", "none"]), default="github", show_default=True)
def command(folder: Path, tenant: str | None, domain: str, ci: str) -> None:
    """Write a tenant, a constraint set, a recipe and a CI workflow that pass at once.

    FOLDER is the root of the repository, by default the working directory. Nothing is overwritten: where a
    file of the same name exists, nothing is written at all. For files that other tools share (.gitignore, …)
    the lines to add are printed instead.
    """
    tenant = _id("--tenant", tenant or _named_after(folder))
    _id("--domain", domain)
    values = _values(tenant, domain)
    documents = {
        "tenant.yaml": _filled("tenant.yaml", values),
        f"constraints/{domain}.yaml": _filled("constraints.yaml", values),
        "recipes/first.yaml": _filled("recipe.yaml", values),
    }
    wanted = {target: format_text(text, target) for target, text in documents.items()}
    shared = {target: _filled(name, values) for name, target in _SHARED.items()}
    if ci != "none":
        target, name = _CI[ci]
        # Every job of a GitLab project shares one file.
        (shared if ci == "gitlab" else wanted)[target] = _filled(name, values)
    present = {target: text for target, text in shared.items() if os.path.lexists(folder / target)}
    _write(folder, wanted | {t: text for t, text in shared.items() if t not in present})
    _tell(folder, wanted, shared, present)
    if domain not in DOMAINS:
        near = suggestion(domain, DOMAINS)
        click.echo(
            f"\n{domain} is no published domain ({either(DOMAINS)}), so tenant.yaml declares it"
            + (f"; {near.replace('`', '')}" if near else "")
        )


def _id(option: str, text: str) -> str:
    pattern = load_schema("constraint-set")["$defs"]["id"]
    # Room for the id of the set, which holds both.
    if not re.fullmatch(pattern["pattern"], text) or len(text) > pattern["maxLength"] // 2 - 1:
        raise click.BadParameter(
            f"'{text}' is not an id: lower-case letters and digits, words joined by hyphens, "
            f"at most {pattern['maxLength'] // 2 - 1} characters.",
            param_hint=option,
        )
    return text


def _named_after(folder: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", Path(os.path.abspath(folder)).name.lower())
    return name[:40].strip("-") or "tenant"


def _values(tenant: str, domain: str) -> dict[str, str]:
    """What stands for the marks of the templates."""
    from coherence_ft.documents.publish import RAW

    names = [name for name in dict.fromkeys(("general", domain)) if _published(name).is_file()]
    extends = (
        f'  - {{set: "{PUBLISHED}{name}", sha256: {file_digest(_published(name))}}}'
        for name in reversed(names)
    )
    constraint = _to_tighten(names)
    bound = round(constraint.bound * _TIGHTER, 4)
    return {
        "TENANT": tenant,
        "TITLE": tenant.replace("-", " ").title(),
        "SET": tenant if tenant == domain else f"{tenant}-{domain}",
        "DOMAIN": domain,
        "DOMAINS": "" if domain in DOMAINS else f"domains: [{domain}]\n",
        "EXTENDS": "\n".join(extends),
        "CONSTRAINT": constraint.id,
        "METRIC": constraint.metric,
        "COVERAGE": decimal(constraint.coverage or 1),
        "BOUND": decimal(bound),
        "FLOOR": decimal(constraint.bound),
        "CONFIDENCE": decimal(constraint.confidence),
        "EVIDENCE": str(constraint.minimum_evidence),
        "VERSION": version("coherence-ft"),
        "SCHEMAS": RAW,
    }


def _published(name: str) -> Path:
    return schema_root() / "domains" / f"{name}.yaml"


def _to_tighten(names: list[str]) -> Constraint:
    """The strictest published bound on the risk of delivered answers."""
    sets = [read_constraint_set(_published(name)) for name in names]
    return min(
        (
            c
            for each in sets
            for c in each.constraints
            if c.metric == "selective_risk" and c.enforcement is Enforcement.HARD and not c.locked
        ),
        key=lambda c: c.bound,
    )


def _filled(name: str, values: Mapping[str, str]) -> str:
    text = (files("coherence_ft.cli") / "starter" / f"{name}.template").read_text(encoding="utf-8")
    for mark, value in values.items():
        text = text.replace(f"@@{mark}@@", value)
    return text


def _write(folder: Path, wanted: Mapping[str, str]) -> None:
    """All files or none. Raises CFT346 for what is there, CFT134 where it cannot be written."""
    there = [target for target in wanted if os.path.lexists(folder / target)]
    if there:
        raise CoherenceError(
            Diagnostic(
                "CFT346",
                "the file is there already, so nothing was written",
                str(folder / target),
                help="choose another folder, or move the file away",
            )
            for target in there
        )
    made: list[Path] = []
    try:
        for target, text in wanted.items():
            path = folder / target
            for missing in reversed([p for p in path.parents if not p.exists()]):
                missing.mkdir()
                made.append(missing)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                made.append(path)
                file.write(text)
    except OSError as error:
        for path in reversed(made):
            with suppress(OSError):
                path.unlink() if path.is_file() else path.rmdir()
        raise refusal(
            "CFT134",
            "the file cannot be written",
            path=error.filename or folder,
            found=error.strerror or str(error),
            help="nothing was written; check the permissions of the folder and the space",
        ) from error


def _tell(
    folder: Path, wanted: Mapping[str, str], shared: Mapping[str, str], present: Mapping[str, str]
) -> None:
    for target in (*wanted, *(t for t in shared if t not in present)):
        click.echo(f"wrote {folder / target}")
    for target, text in present.items():
        click.echo(f"\n{folder / target} is there already; add to it:\n")
        click.echo("\n".join(f"    {line}".rstrip() for line in text.rstrip().splitlines()))
    enter = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    # Without our pyproject.toml nothing names the tenant document yet.
    tenant = " --tenant tenant.yaml" if "pyproject.toml" in present else ""
    click.echo("\nnext:")
    click.echo(f"  {enter}coherence-ft validate tenant.yaml constraints recipes")
    click.echo(f"  {enter}coherence-ft resolve recipes/first.yaml")
    click.echo(f"  {enter}coherence-ft keys init --authority model-risk{tenant}")

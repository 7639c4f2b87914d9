"""`coherence-ft portfolio FILE`: a tenant's derivatives in use."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coherence_ft.cli.printing import as_json, print_diagnostics

if TYPE_CHECKING:
    from coherence_ft.auditing.portfolio import Standing


@click.command(name="portfolio")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--tenant", type=click.Path(path_type=Path), help="Tenant document; by default the trusted one."
)
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(file: Path, tenant: Path | None, output: str) -> None:
    """List the derivatives of a portfolio: status, waivers and their expiry, drift, how many are governed.

    Exits with 1 unless every one of them is governed.
    """
    from coherence_ft.auditing.portfolio import Status, standings
    from coherence_ft.authority.trust import find_tenant
    from coherence_ft.documents.diagnostics import refusal
    from coherence_ft.documents.portfolio import read_portfolio
    from coherence_ft.documents.tenant import read_tenant

    portfolio = read_portfolio(file)
    trusted = read_tenant(find_tenant(tenant))
    if portfolio.tenant != trusted.id:
        raise refusal(
            "CFT477",
            "the portfolio is of another tenant",
            path=portfolio.path,
            found=portfolio.tenant,
            expected=trusted.id,
            help="name the tenant document it belongs to with --tenant",
        )
    found = list(standings(portfolio, trusted))
    governed = sum(standing.status is Status.GOVERNED for standing in found)
    problems = [problem for standing in found for problem in standing.problems]
    if output == "json":
        facts = {
            "tenant": trusted.id,
            "governed": governed,
            "listed": len(found),
            "derivatives": [standing.to_json() for standing in found],
        }
        click.echo(json.dumps(facts | json.loads(as_json(problems)), indent=2))
    else:
        _print(found)
        print_diagnostics(problems)
        click.echo(f"{governed} of {len(found)} derivatives of {trusted.id} are governed")
    click.get_current_context().exit(int(governed < len(found)))


def _print(found: list[Standing]) -> None:
    from rich.table import Table
    from rich.text import Text

    from coherence_ft.cli import verdicts

    table = Table(box=None, padding=(0, 2))
    for column in ("derivative", "domain", "status", "certified", "signed by", "waivers until", "drift"):
        table.add_column(column, overflow="fold")
    styles = {"governed": "green", "drifted": "yellow", "refused": "bold red"}
    for standing in found:
        facts = standing.to_json()
        status = Text(facts["status"], style=styles[facts["status"]])
        if "name" not in facts:
            table.add_row(Text(facts["folder"]), "", status, *[""] * 4)
            continue
        drift = ", ".join(facts["drift"]) or (
            f"none in {facts['outcomes']} outcomes" if facts["outcomes"] else "no outcomes yet"
        )
        cells = (facts["name"], facts["domain"], status, facts["certified"][:10], facts["signer"])
        table.add_row(*(c if isinstance(c, Text) else Text(c) for c in cells), _until(standing), Text(drift))
    verdicts.console().print(table)


def _until(standing: Standing) -> str:
    if standing.expires is None:
        return "none"
    days = (standing.expires - datetime.now(UTC).date()).days
    return f"{standing.expires.isoformat()} ({days} days)"

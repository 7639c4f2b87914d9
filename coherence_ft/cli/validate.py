"""`coherence-ft validate PATH...`"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from coherence_ft.cli import printing
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, Severity


@click.command(name="validate")
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(printing.FORMATS),
    default="text",
    help="How to print what is found.",
)
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write a report too: SARIF, JUnit or JSON by its name (.sarif, .xml, .json), else like --format.",
)
@click.option("--select", multiple=True, metavar="CODES", help="Show only these: CFT3,CFT412.")
@click.option("--ignore", multiple=True, metavar="CODES", help="Leave these out.")
@click.option("--severity", multiple=True, metavar="CODE=SEVERITY", help="CFT412=error, or =warning.")
@click.option("--warnings-as-errors/--no-warnings-as-errors", default=None, help="Fail on warnings too.")
def command(
    paths: tuple[str, ...],
    form: str,
    outputs: tuple[Path, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    severity: tuple[str, ...],
    warnings_as_errors: bool | None,
) -> int:
    """Check recipes, constraint sets, tenants, schemas and probe sets.

    PATHS are files or folders; of a folder, every YAML file below it. Exit code 1 if there is an error.
    What is shown can be chosen in pyproject.toml too, under [tool.coherence-ft.validate].
    """
    from coherence_ft.authority.validate import validate
    from coherence_ft.documents.configuration import Configuration, Selection, apply, read_configuration
    from coherence_ft.documents.files import files_of
    from coherence_ft.documents.limits import reading_limits

    for each in outputs:
        if not each.absolute().parent.is_dir():
            raise click.BadParameter(f"the folder of '{each}' does not exist", param_hint="--output")
    asked = Selection(
        _codes("--select", select), _codes("--ignore", ignore), _severities(severity), warnings_as_errors
    )
    configuration = Configuration()
    wrong: tuple[Diagnostic, ...] = ()
    try:
        configuration = read_configuration()
    except CoherenceError as error:
        wrong = error.diagnostics
    with reading_limits(configuration.limits):
        everything = validate(paths)
    found, ignored = apply(everything, (asked, configuration.selection))
    found = [printing.shown(d) for d in (*wrong, *found)]
    errors = sum(d.severity is Severity.ERROR for d in found)
    summary = _summary(errors, len(found) - errors, ignored)

    def report(form: str) -> str:
        checked = [printing.relative(str(file)) for file in files_of(paths)[0]] if form == "junit" else []
        return printing.report(form, found, checked, summary)

    for each in outputs:
        printing.write_report(each, report(printing.format_of(each, form)))
    if form == "text":
        printing.print_diagnostics(found, sys.stdout)
        click.echo(summary)
    elif text := report(form):
        click.echo(text)
    return 1 if errors else 0


def _codes(option: str, given: tuple[str, ...]) -> tuple[str, ...]:
    """Codes from a repeatable option with commas. Raises `click.UsageError` for one that does not exist."""
    codes = tuple(code.strip().upper() for text in given for code in text.split(",") if code.strip())
    for code in codes:
        _check(option, code, lessens=option == "--ignore")
    return codes


def _severities(given: tuple[str, ...]) -> dict[str, Severity]:
    found = {}
    for text in (each.strip() for one in given for each in one.split(",") if each.strip()):
        code, _, severity = (part.strip() for part in text.partition("="))
        if severity not in tuple(Severity):
            raise click.BadParameter(f"'{text}' is not CODE=error or CODE=warning.", param_hint="--severity")
        _check("--severity", code.upper(), lessens=True)
        found[code.upper()] = Severity(severity)
    return found


def _check(option: str, code: str, *, lessens: bool) -> None:
    from coherence_ft.documents.configuration import wrong_code

    if wrong := wrong_code(code, lessens=lessens):
        message, hint = (text.replace("`", "'") for text in wrong)
        raise click.BadParameter(f"{message}. {hint}".strip(), param_hint=option)


def _summary(errors: int, warnings: int, ignored: int) -> str:
    found = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    text = found if errors or warnings else "no problems found"
    return f"{text}, {ignored} ignored" if ignored else text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

"""`coherence-ft fmt PATH...`, and the way in which a command rewrites documents."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import click

from coherence_ft.cli.printing import print_diagnostics, relative
from coherence_ft.documents.diagnostics import CoherenceError

Rewrite = Callable[[str, str], tuple[str, tuple[str, ...]]]
"""A document's text and path to its new text, and what a person should know. Raises `CoherenceError`."""


@click.command(name="fmt")
@click.argument("paths", nargs=-1, required=True)
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; show what would change.")
def command(paths: tuple[str, ...], check: bool, diff: bool) -> int:
    """Bring documents into the canonical form: order of keys, quoting, indentation. Comments are kept.

    PATHS are files or folders; of a folder, every document of this program below it.
    """
    from coherence_ft.formatting.format import format_text

    def change(text: str, path: str) -> tuple[str, tuple[str, ...]]:
        return format_text(text, path), ()

    return rewrite(paths, change, ("formatted", "would be formatted"), check=check, diff=diff)


def rewrite(
    paths: tuple[str, ...], change: Rewrite, words: tuple[str, str], *, check: bool, diff: bool
) -> int:
    """Change every document in `paths` and say so in `words`; the exit code."""
    from coherence_ft.documents.reader import decode, read_bytes
    from coherence_ft.formatting.format import documents_of, write_text

    files, found = documents_of(paths)
    changed = 0
    for path in files:
        name = relative(str(path))
        try:
            data = read_bytes(path)
            after, notes = change(decode(data, name), name)
            if after.encode() == data:
                continue
            changed += 1
            if diff:
                click.echo(_difference(decode(data, name), after, name), nl=False)
            elif not check:
                write_text(path, after)
            click.echo("\n  ".join((f"{words[check or diff]}: {name}", *notes)), err=diff)
        except CoherenceError as error:
            found += error.diagnostics
    print_diagnostics(found)
    if not changed and not found:
        click.echo(f"nothing to do in {len(files)} {'file' if len(files) == 1 else 'files'}")
    return 1 if found or (changed and (check or diff)) else 0


def _difference(before: str, after: str, name: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )

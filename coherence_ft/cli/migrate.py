"""`coherence-ft migrate PATH...`"""

from __future__ import annotations

import click

from coherence_ft.cli.fmt import rewrite


@click.command(name="migrate")
@click.argument("paths", nargs=-1, required=True)
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; show what would change.")
def command(paths: tuple[str, ...], check: bool, diff: bool) -> int:
    """Bring documents to the newest version of their format, with their comments, and say what changed.

    PATHS are files or folders; of a folder, every document of this program below it. A file that holds
    something which cannot be translated, or which a person has to decide, stays as it is.
    """
    from coherence_ft.formatting.migrate import migrate_text

    def change(text: str, path: str) -> tuple[str, tuple[str, ...]]:
        migrated = migrate_text(text, path)
        return migrated.text, migrated.notes

    return rewrite(paths, change, ("migrated", "would be migrated"), check=check, diff=diff)

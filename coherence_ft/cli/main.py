"""The command `coherence-ft`. Exit codes: 0 clean, 1 findings or refusal, 2 usage, 3 a defect of ours."""

from __future__ import annotations

import os

# Before anything is imported: libraries read these once. No command may call home. And OpenMP threads that
# spin while they wait made a small matrix product 30 times slower beside one busy process on two cores.
for _name, _value in {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
}.items():
    os.environ.setdefault(_name, _value)

import errno  # noqa: E402
import importlib  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402

import click  # noqa: E402

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic  # noqa: E402

COMMANDS = {
    "init": "Write a first tenant, constraint set, recipe and CI workflow.",
    "validate": "Check documents: recipes, constraint sets, tenants, probe sets, schemas.",
    "fmt": "Bring documents into the canonical form; comments are kept.",
    "migrate": "Bring documents to the newest version of their format.",
    "resolve": "Print the constraints that hold, with the origin of every value.",
    "diff": "Say what a change tightens and relaxes, and who may approve it.",
    "explain": "Say what a diagnostic code means, with a wrong and a right example.",
    "train": "Fine-tune as a recipe says, with the loops attached.",
    "evaluate": "Measure a base model or derivative with the probes.",
    "merge": "Merge adapters, merge one into its base, or quantize: measured anew.",
    "promote": "Certify a checkpoint and make it a derivative, if every hard constraint holds.",
    "verify": "Check a derivative's files, signature, authority and verdicts.",
    "countersign": "Sign a certified derivative beside its maker.",
    "show": "Print a manifest for people.",
    "lineage": "Draw what a derivative was made from, and verify it to the root.",
    "export": "Write a manifest as an ML-BOM, model card, SARIF, AI Act extract or report to sign.",
    "portfolio": "List a tenant's derivatives: status, waivers, drift, how many are governed.",
    "evidence": "Bring in outcomes of run time, and say whether confidence still holds.",
    "keys": "Make signing keys.",
}
# These read no document, or report on the settings themselves.
_WITHOUT_LIMITS = frozenset({"explain", "keys", "validate"})
_TRAIN_PACKAGES = frozenset(
    (
        *("accelerate", "bitsandbytes", "datasets", "gguf", "jinja2", "matplotlib", "peft", "safetensors"),
        *("sentencepiece", "torch", "transformers", "trl"),
    )
)
_DISK_FULL = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
# The Rust and C++ writers of safetensors and torch report a full disk only in their text.
_DISK_FULL_TEXT = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|os error (28|27|122)\b|StorageFull"
    r"|Os \{ code: (28|27|122)\b|PytorchStreamWriter failed writing|basic_ios::clear: iostream error"
)


class _LazyGroup(click.Group):
    """Imports a subcommand only when it is run: `verify` never waits for torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"coherence_ft.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"No such command '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="coherence-ft")
@click.pass_context
def cli(context: click.Context) -> None:
    """Fine-tune open-weight models under declared coherence constraints."""
    if context.invoked_subcommand not in _WITHOUT_LIMITS:
        from coherence_ft.documents.configuration import read_limits
        from coherence_ft.documents.limits import reading_limits

        context.with_resource(reading_limits(read_limits()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. Nothing that a user can cause ends in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(args=arguments, prog_name="coherence-ft", standalone_mode=False)
        return result if type(result) is int else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away; flushing at exit must not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except CoherenceError as error:
        return _refuse(error.diagnostics)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        if diagnostic := _explained(error):
            return _refuse((diagnostic,))
        if os.environ.get("COHERENCE_FT_TRACEBACK"):
            import traceback

            traceback.print_exc()
        text = " ".join(str(error).split())
        print(
            f"internal error: {type(error).__name__}: {text[:300]} "
            "(COHERENCE_FT_TRACEBACK=1 shows where; please report it)",
            file=sys.stderr,
        )
        return 3


def _refuse(diagnostics: Sequence[Diagnostic]) -> int:
    from coherence_ft.cli.printing import print_diagnostics

    print_diagnostics(diagnostics)
    return 1


def _explained(error: BaseException) -> Diagnostic | None:
    """A diagnostic for what is no defect of ours: a full disk, an extra that is not installed."""
    for cause in _chain(error):
        if (isinstance(cause, OSError) and cause.errno in _DISK_FULL) or _DISK_FULL_TEXT.search(str(cause)):
            name = getattr(cause, "filename", None)
            return Diagnostic(
                "CFT708",
                "the disk is full, or a quota or size limit is reached",
                str(name or ""),
                help="earlier checkpoints are intact: free space, then run again with --resume",
            )
        if isinstance(cause, ModuleNotFoundError) and (cause.name or "").split(".")[0] in _TRAIN_PACKAGES:
            return Diagnostic(
                "CFT709",
                f"this command needs the package {cause.name}, which is not installed",
                help="pip install 'coherence-ft[train]'",
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__

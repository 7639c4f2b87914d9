"""CFT444: messages that no model can answer."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document, JsonPath, dotted

CODE = Code(
    "CFT444",
    "messages that no model can answer",
    "Chat templates want an optional system message, then user and assistant in turn; the model "
    "replies to the user's last turn. Some templates raise otherwise, others drop a turn.",
    '"messages": [{"role": "assistant", …}]',
    '"messages": [{"role": "user", …}]',
)


def check(row: Document) -> Iterator[Diagnostic]:
    if row.data["kind"] != "group":
        yield from _conversation(row, ("messages",), row.data["messages"])
        return
    for n, member in enumerate(row.data["members"]):
        yield from _conversation(row, ("members", n, "messages"), member["messages"])


def _conversation(row: Document, at: JsonPath, messages: list[dict[str, str]]) -> Iterator[Diagnostic]:
    """Roles as chat templates demand them: a system message first if any, then user and assistant in turn."""
    roles = [m["role"] for m in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    if turns[-1:] != ["user"] or turns != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        yield row.diagnostic(
            CODE.id,
            f"`{dotted(at)}` is not a conversation that a model can answer",
            found=", ".join(roles) if len(roles) <= 8 else f"{', '.join(roles[:3])}, …, {roles[-1]}",
            expected="an optional system message, then user and assistant in turn, the user last",
        )

"""Conversations as prompt text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from coherence_ft.documents.diagnostics import refusal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> str:
    """The prompt up to where the assistant's reply begins, by the tokenizer's chat template.

    Raises CFT512 for a tokenizer without a template, and for a conversation that the template refuses.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise refusal(
            "CFT512",
            "the tokenizer has no chat template",
            path=tokenizer.name_or_path,
            help="name a Jinja file as base.chat_template in the recipe: the one the base was tuned with",
        )
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages], add_generation_prompt=True, tokenize=False
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise refusal(
            "CFT512",
            f"the chat template refuses a conversation: {error}",
            path=tokenizer.name_or_path,
            found=" ".join(message["role"] for message in messages),
            help="some templates take no system message, or want user and assistant to alternate",
        ) from error
    return str(text)


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token that the template writes right after an assistant's message; None without one."""
    from jinja2 import TemplateError

    content = "reply"
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": content}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except (TemplateError, TypeError, ValueError):
        return None
    after = tokenizer(str(text).rpartition(content)[2].lstrip(), add_special_tokens=False)["input_ids"]
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return int(after[0]) if after and after[0] in special else None

"""Probe sets: inputs with known outcomes, one JSON object a line (schema/v1/probe-set.schema.yaml)."""

from __future__ import annotations

from dataclasses import dataclass

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": "…"}


@dataclass(frozen=True, slots=True)
class Question:
    """A question with a certain answer. `answer` is an index into `options`."""

    id: str
    domain: str
    group: str  # rows that share a group are not independent: splits and resampling keep them together
    messages: tuple[Message, ...]
    options: tuple[str, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class Member:
    messages: tuple[Message, ...]
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProbeGroup:
    """Questions whose answers constrain each other, whatever the true answers are.

    `paraphrase`, `symmetry`: the same option index for every member. `negation`: two members, two
    options each, different indices. `implication`: index 0 for the first member demands index 0 for
    the second. `exclusion`: at most one member has index 0. Index 0 is the affirmative option.
    """

    id: str
    domain: str
    relation: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """A deterministic test of a reply: `verifier` names one of `loops/verifiers.py`."""

    verifier: str
    arguments: dict[str, object]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation up to a user turn; the model's reply to it is checked."""

    id: str
    domain: str
    category: str
    messages: tuple[Message, ...]
    checks: tuple[Check, ...]
    max_new_tokens: int


Probe = Question | ProbeGroup | Conversation


@dataclass(frozen=True, slots=True)
class ProbeSet:
    questions: tuple[Question, ...]
    groups: tuple[ProbeGroup, ...]
    conversations: tuple[Conversation, ...]
    digest: str  # sha256 of the file's bytes, hex
    path: str

    def __len__(self) -> int:
        return len(self.questions) + len(self.groups) + len(self.conversations)

"""Version 0 of the document format (schema/v0), the one of the prototypes, in terms of version 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal

from coherence_ft.documents.base_reference import base_kind
from coherence_ft.formatting.draft import Draft
from coherence_ft.formatting.tree import Collection, Entry, Scalar, plain

_VERSION = {"coherence-ft/v0": "coherence-ft/v1"}
_LEVELS = {
    "regulator": "regulated-unit",
    "organisation": "tenant",
    "session": "conversation",
    "request": "query",
}
_POWERS = {"own": "set", "sign": "attest"}
_AUTHORITY = {"name": "title", "can": "powers", "key": "public_keys"}
_LAYER = {"file": "set", "at": "level", "by": "authority"}
_WAIVER = {
    "threshold": "bound",
    "asked_by": "requested_by",
    "granted_by": "approved_by",
    "rationale": "reason",
}
_CONSTRAINT = {
    "min_samples": "minimum_evidence",
    "rationale": "reason",
    "final": "locked",
    "waivable_to": "waiver_floor",
}
_NEEDED = {
    "confidence": "in per cent, such as 95; a bare estimate of a model at the bound passes every other time",
    "min_samples": "how many samples are evidence enough",
    "rationale": "why the constraint exists, for the officer who reads the manifest",
}
_BASE = {"base_model": "model", "base_sha256": "sha256", "base_license": "license"}
_DATA = {"train_file": "train", "data_license": "license"}
_TRAINING = {
    "method": "regime",
    "lr": "learning_rate",
    "batch": "batch_size",
    "accumulate": "gradient_accumulation",
    "max_tokens": "max_length",
    "save_steps": "save_every",
}


def _constraint_set(draft: Draft) -> None:
    draft.rename(draft.root, {"name": "id"})
    for constraint in draft.listed("constraints"):
        _constraint(draft, constraint, in_recipe=False)


def _constraint(draft: Draft, node: Collection, in_recipe: bool) -> None:
    data = plain(node)
    name = f"constraint `{data['id']}`"
    if tags := node.get("tags"):
        draft.inexpressible(tags, "version 1 has no `tags`", "remove them, or make them a comment")
    for key in (key for key in _NEEDED if key not in data):
        draft.undecided(node.place, f"{name} has no `{key}`", f"give `{key}`: {_NEEDED[key]}")
    if "owner" not in data and in_recipe:
        draft.undecided(node.place, f"{name} of a recipe has no `owner`", "give `owner`, an authority's id")
    elif "owner" not in data:
        draft.note(node.place, "without `owner` it belongs to who adopts the set: `owner: adopter`")
        node.entries.append(_pair("owner", "adopter", node))
    _enforcement(draft, node)
    if confidence := node.get("confidence"):
        share = Decimal(str(data["confidence"])).scaleb(-2).normalize()
        draft.note(confidence.place, "`confidence` is a share, no longer per cent")
        confidence.value = Scalar(f"{share:f}", place=confidence.value.place)
    bound = {"max": "at_most", "min": "at_least"}[data["direction"]]
    threshold, direction = node.get("threshold"), node.get("direction")
    if threshold and direction:
        draft.note(threshold.place, f"`threshold` with `direction: {data['direction']}` is `{bound}`")
        threshold.key = Scalar(bound, place=threshold.place)
        threshold.leading += [*direction.leading, *([direction.trailing] if direction.trailing else [])]
        node.entries.remove(direction)
    draft.rename(node, _CONSTRAINT)


def _enforcement(draft: Draft, node: Collection) -> None:
    if blocking := node.get("blocking"):
        word = "hard" if plain(blocking.value) else "report"
        draft.note(blocking.place, f"`blocking: {str(word == 'hard').lower()}` is `enforcement: {word}`")
        blocking.key = Scalar("enforcement", place=blocking.place)
        blocking.value = Scalar(word, '"', blocking.value.place)
    else:
        draft.note(node.place, "without `blocking` it blocks: `enforcement: hard`")
        node.entries.append(_pair("enforcement", "hard", node))


def _tenant(draft: Draft) -> None:
    draft.rename(draft.root, {"name": "id"})
    for authority in draft.listed("authorities"):
        if contact := authority.get("contact"):
            draft.inexpressible(contact, "version 1 has no `contact`", "remove it, or make it a comment")
        if powers := authority.mapping("can"):
            for power in powers.entries:
                draft.replace(power, _POWERS)
        if key := authority.get("key"):
            key.value = _list_of(key)
        if level := authority.get("level"):
            draft.replace(level, _LEVELS)
        draft.rename(authority, _AUTHORITY)
    for layer in _items(draft, "adopts"):
        if at := layer.get("at"):
            draft.replace(at, _LEVELS)
        draft.rename(layer, _LAYER)
    for waiver in _items(draft, "waivers"):
        _waiver(draft, waiver)
    draft.rename(draft.root, {"adopts": "layers"})


def _waiver(draft: Draft, waiver: Collection) -> None:
    if waiver.get("domain") is None:
        help = "give `domain`, and write one waiver for each domain"
        draft.undecided(waiver.place, "a waiver for all domains", help)
    until = waiver.get("until")
    if until is None:
        draft.undecided(
            waiver.place, "a waiver without an end", "give `until`, the first day out of force, as YYYY-MM-DD"
        )
    elif (first := date.fromisoformat(plain(until.value))) == date.min:
        draft.undecided(until.place, "a waiver that was never in force", "remove it, or mend `until`")
    else:
        draft.note(until.place, "`until`, the first day out of force, is `expires`, the last day in force")
        until.key = Scalar("expires", place=until.place)
        until.value = Scalar(str(first - timedelta(days=1)), '"', until.value.place)
    if granted := waiver.get("granted_by"):
        granted.value = _list_of(granted)
    draft.rename(waiver, _WAIVER)


def _recipe(draft: Draft) -> None:
    root = draft.root
    _base(draft, draft.gather("base", _BASE))
    draft.gather("data", _DATA)
    for entry in draft.gather("quantization", {"load_in": "bits"}).entries:
        draft.replace(entry, {"4bit": "nf4", "8bit": "int8"})
    if lora := root.mapping("lora"):
        draft.rename(lora, {"r": "rank", "targets": "target_modules"})
    else:
        draft.note(root.place, "without `lora` all weights are trained: `adapter: none`")
        root.entries.append(_pair("adapter", "none", root))
    if probes := root.mapping("probes"):
        draft.rename(probes, {"calibrate": "calibration", "certify": "certification"})
    if train := root.mapping("train"):
        if warmup := train.get("warmup_steps"):
            help = "remove it, migrate, and give `warmup_ratio`: these steps divided by all steps"
            draft.inexpressible(warmup, "version 1 has no `warmup_steps`", help)
        draft.rename(train, _TRAINING)
    draft.rename(root, {"lora": "adapter", "train": "training"})
    for constraint in draft.listed("constraints"):
        _constraint(draft, constraint, in_recipe=True)


def _base(draft: Draft, base: Collection) -> None:
    model = base.get("model")
    if model is None or base_kind(text := plain(model.value)) != "hub":
        return
    name, _, revision = text.partition("@")
    if not (name and revision):
        draft.undecided(model.place, "a base model without its commit", f"write {name}@COMMIT, 40 digits")
    draft.note(model.place, "what follows the `@` is `revision`")
    model.value = Scalar(name, '"', model.value.place)
    base.entries.insert(base.entries.index(model) + 1, _pair("revision", revision, base))


def _items(draft: Draft, name: str) -> list[Collection]:
    node = draft.root.mapping(name)
    return node.mappings() if node else []


def _list_of(entry: Entry) -> Collection:
    return Collection(False, [Entry(entry.value)], flow=True, place=entry.value.place)


def _pair(key: str, text: str, near: Collection) -> Entry:
    return Entry(Scalar(text, '"', near.place), Scalar(key, place=near.place))


def _to_version_1(translate: Callable[[Draft], None]) -> Callable[[Draft], None]:
    def whole(draft: Draft) -> None:
        if version := draft.root.get("apiVersion"):
            draft.replace(version, _VERSION)
        translate(draft)

    return whole


FROM_VERSION_0: Mapping[str, Callable[[Draft], None]] = {
    "constraint-set": _to_version_1(_constraint_set),
    "tenant": _to_version_1(_tenant),
    "recipe": _to_version_1(_recipe),
}
"""By kind: what turns a draft in version 0 into version 1."""

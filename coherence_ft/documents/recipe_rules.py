"""What a recipe's schema cannot say: which values fit each other, the tenant and the files named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.reader import Document
from coherence_ft.documents.schemas import either, suggestion
from coherence_ft.documents.tenant import Power, Tenant, require_file, unknown_domain

_PACKAGE = re.compile(r"package:[A-Za-z0-9][\w.-]*==[^/\s]+/\S.*")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_DATA = re.compile(r"hub:[\w.-]+(/[\w.-]+)?@[0-9a-f]{40}#[\w.:\[\]%-]+")
_DPO_ONLY, _SFT_ONLY = ("beta",), ("packing", "assistant_only_loss")


DERIVATIVE = "derivative:"
"""How `base.model` begins where a derivative of ours is trained further."""


def base_kind(model: str) -> Literal["hub", "path", "package", "derivative"]:
    """What the text of `base.model` names. A path starts with `./`, `../`, `~` or `/`, or ends in `.gguf`."""
    if model.startswith("package:"):
        return "package"
    if model.startswith(DERIVATIVE):
        return "derivative"
    if model.startswith(("./", "../", "~", "/")) or model in (".", "..") or model.endswith(".gguf"):
        return "path"
    return "hub"


def wrong_base(document: Document) -> Iterator[Diagnostic]:
    base, at = document.data["base"], ("base", "model")
    model, revision = base["model"], base.get("revision")
    kind = base_kind(model)
    if kind == "package":
        if not _PACKAGE.fullmatch(model):
            yield document.diagnostic(
                "CFT552",
                "a package reference that is not pinned or not well formed",
                at,
                found=model,
                expected="package:NAME==VERSION/path/inside.gguf",
            )
        if "sha256" not in base:
            yield document.diagnostic(
                "CFT552",
                "a base model from a package needs its sha256",
                at,
                help="add base.sha256; an index or mirror may serve another file under the same version",
            )
    elif kind == "hub":
        if not _HUB_ID.fullmatch(model):
            yield document.diagnostic(
                "CFT501",
                "neither a hub id, a package, a derivative nor a path",
                at,
                found=model,
                help="a path starts with ./, ../, ~ or /",
            )
        elif revision is None or not _COMMIT.fullmatch(revision):
            yield document.diagnostic(
                "CFT503",
                "a model of the hub is used only at a commit",
                ("base", "revision") if revision else at,
                found=f"the branch or tag {revision}" if revision else "no revision",
                expected="40 hexadecimal digits",
                help="take the commit from the model's page, under Files: a branch or tag can move",
            )
    if kind != "hub" and revision is not None:
        yield document.diagnostic(
            "CFT423",
            "`revision` belongs to models of the hub",
            ("base", "revision"),
            key=True,
            help="remove it; pin the content with sha256",
        )
    if "chat_template" in base:
        try:
            require_file(document, ("base", "chat_template"), document.file(("base", "chat_template")))
        except CoherenceError as error:
            yield from error.diagnostics


def wrong_data(document: Document) -> Iterator[Diagnostic]:
    train = document.data["data"]["train"]
    if train.startswith("hub:"):
        if not _HUB_DATA.fullmatch(train):
            yield document.diagnostic(
                "CFT424",
                "data of the hub is used only at a commit",
                ("data", "train"),
                found=train,
                expected="hub:ID@REVISION#SPLIT, the revision as 40 hexadecimal digits",
            )
    elif not train.endswith((".jsonl", ".parquet")):
        yield document.diagnostic(
            "CFT425",
            "training data of a format that is not read",
            ("data", "train"),
            found=train,
            expected="a .jsonl or .parquet file, or hub:ID@REVISION#SPLIT",
        )


def wrong_splits(document: Document) -> Iterator[Diagnostic]:
    """One file for two splits would certify on what the calibrator was fitted to."""
    files: dict[Path, str] = {}
    for split in ("calibration", "certification", "test"):
        if split not in document.data["probes"]:
            continue
        path = document.file(("probes", split))
        if path in files:
            yield document.diagnostic(
                "CFT454",
                f"the splits `{files[path]}` and `{split}` are the same file",
                ("probes", split),
                found=document.data["probes"][split],
                help="a split that another has looked at proves nothing: split the questions",
            )
        files.setdefault(path, split)


def wrong_combinations(document: Document) -> Iterator[Diagnostic]:
    data = document.data
    training = data.get("training") or {}
    quantization = data.get("quantization")
    if quantization and data.get("adapter") == "none":
        yield document.diagnostic(
            "CFT421",
            "quantized weights cannot be trained",
            ("quantization",),
            key=True,
            found="adapter: none",
            help="train an adapter on the quantized base, or remove `quantization`",
        )
    if quantization and quantization["bits"] == "int8" and quantization.get("double"):
        yield document.diagnostic(
            "CFT422",
            "double quantization exists for nf4 only",
            ("quantization", "double"),
            key=True,
            found="bits: int8",
            help="remove `double`, or use nf4",
        )
    regime = training.get("regime", "sft")
    foreign = _SFT_ONLY if regime == "dpo" else _DPO_ONLY
    for name in foreign:
        if training.get(name):
            yield document.diagnostic(
                "CFT427",
                f"the regime {regime} has no `{name}`",
                ("training", name),
                key=True,
                help="remove it; it would be ignored",
            )
    if "epochs" in training and training.get("max_steps") is not None:
        yield document.diagnostic(
            "CFT428",
            "both `epochs` and `max_steps` say how long to train",
            ("training", "max_steps"),
            key=True,
            help="keep one of the two; `--set training.epochs=null` takes the other out",
        )


def wrong_tenant(document: Document, tenant: Tenant) -> Iterator[Diagnostic]:
    domain, signer = document.data["domain"], document.data["signer"]
    if domain not in tenant.domains:
        yield unknown_domain(document, ("domain",), domain, tenant.domains)
    authority = tenant.authority(signer)
    able = [a.id for a in tenant.authorities if Power.ATTEST in a.powers]
    if authority is None:
        yield document.diagnostic(
            "CFT301",
            f"the tenant knows no authority `{signer}`",
            ("signer",),
            found=signer,
            expected=either(able) if able else "",
            help=suggestion(signer, able),
        )
    elif Power.ATTEST not in authority.powers:
        yield document.diagnostic(
            "CFT302",
            f"`{signer}` may not sign manifests",
            ("signer",),
            found=f"powers: {', '.join(sorted(authority.powers)) or 'none'}",
            expected="the power attest" + (f", as {either(able)}" if able else ""),
        )

"""Loading a governed derivative: verified first, answered from with its own calibrator and threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.authority.wording import ResolvedBand
from coherence_ft.documents.constraint_set import OPTION_LIKELIHOOD, Act
from coherence_ft.documents.diagnostics import refusal
from coherence_ft.documents.recipe import BaseModel, Quantization
from coherence_ft.evidence.calibrators import Calibrator
from coherence_ft.evidence.routing_patterns import Codebook
from coherence_ft.loops.boundaries import broken
from coherence_ft.loops.drift import Adjustment
from coherence_ft.loops.observation import DENSE
from coherence_ft.manifest.statement import Stage
from coherence_ft.manifest.verify import VerifiedManifest, trusted_tenant, verify
from coherence_ft.models.base import LocatedBase, load_model, load_tokenizer, locate, put_adapter
from coherence_ft.models.chat import render
from coherence_ft.models.confidence import stated_confidence
from coherence_ft.models.generation import generate_replies
from coherence_ft.models.routing import routing_capture
from coherence_ft.models.scoring import score_options
from coherence_ft.serving.attachment import Attachment, attachment, require
from coherence_ft.serving.evidence import CODEBOOK_FILE, adjustment, document, weights_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SERVING_FILE = "coherence/serving.json"
"""What loading needs beside the manifest: base reference, precision, quantization, usual options."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """Weights in a folder, and the base model under them; whether they may be used is not said.

    `files`: sha256 by POSIX name. `serving`: the content of `coherence/serving.json`.
    """

    folder: Path
    base: LocatedBase
    serving: dict[str, Any]
    files: Mapping[str, str]

    @property
    def has_adapter(self) -> bool:
        """Whether it is an adapter on its base; otherwise it holds all weights."""
        return "adapter_config.json" in self.files

    @property
    def weights(self) -> str:
        """Names the weights: see `weights_of`."""
        return weights_of(self.files)


@dataclass(frozen=True, slots=True)
class VerifiedDerivative(Artifact):
    """A folder whose manifest verified, and the base model that the manifest names."""

    manifest: VerifiedManifest


@dataclass(frozen=True, slots=True)
class Answer:
    """`text`: the chosen answer, empty when abstained. `confidence`: calibrated probability that it is right;
    None where none can be stated. `why` says why it abstained, or why not. `wording` is what to say to the
    user, by the tenant's bands: the answer with its doubt, or what is said in place of an answer. Role
    boundaries and named constraints were held against it, not against the bare `text`. `routing_pattern` and
    `adjustment` (in logits, contained in `confidence`) go into the answer's outcome.
    """

    text: str
    confidence: float | None
    abstained: bool
    why: str
    wording: str = ""
    routing_pattern: str = DENSE
    adjustment: float = 0.0


@dataclass(frozen=True, slots=True)
class _Asking:
    """What is asked at run time, as sources of confidence take it."""

    messages: Sequence[dict[str, str]]
    options: Sequence[str]


class Derivative:
    """A loaded derivative, with the loops attached that its manifest names. `load_derivative` makes it."""

    def __init__(
        self,
        verified: VerifiedDerivative,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        calibrator: Calibrator | None,
        resolved: ResolvedConstraints,
        codebook: Codebook | None = None,
        adjustment: Adjustment | None = None,
    ) -> None:
        self.adjustment = adjustment or Adjustment.of(None)
        self.manifest = verified.manifest
        self.model = model
        self.tokenizer = tokenizer
        self.calibrator = calibrator
        self.resolved = resolved
        self.codebook = codebook
        threshold = verified.manifest.predicate["abstentionThreshold"]
        self.threshold = None if threshold is None else float(threshold)
        self.domain: str = verified.manifest.predicate["domain"]
        require(self.manifest, self.attached)
        options = verified.serving["options"]
        self.options: tuple[str, ...] | None = tuple(options) if options else None

    @property
    def attached(self) -> Attachment:
        """Which loops act on every answer, taken from what is in place now; for a service's health check."""
        return attachment(
            self.manifest, self.calibrator, self.threshold, self.codebook, self.adjustment, self.resolved
        )

    def answer(
        self,
        question: str | Sequence[dict[str, str]],
        options: Sequence[str] | None = None,
        *,
        audience: str | None = None,
        max_new_tokens: int = 64,
    ) -> Answer:
        """Answer one question: a user's words, or messages that end with the user's turn.

        `options`: the admissible answers; left out, those that all calibration questions shared. What was
        certified is the choice among options, so a free answer is withheld: no confidence covers it.
        `audience`: whom the tenant's wording is for. What breaks a role boundary or a named constraint of the
        tenant is withheld.
        """
        messages = [{"role": "user", "content": question}] if isinstance(question, str) else list(question)
        prompt = render(self.tokenizer, messages)
        admissible = tuple(options) if options is not None else self.options
        if admissible is None:
            text = generate_replies(self.model, self.tokenizer, [prompt], [max_new_tokens]).texts[0]
            return Answer(
                "", None, True, f"no calibrated confidence covers a free answer; withheld: {text!r}"
            )
        if isinstance(options, str) or len(set(admissible)) < max(2, len(admissible)) or "" in admissible:
            raise refusal(
                "CFT721",
                "a choice needs at least two options, all different and none empty",
                found=repr(options) if isinstance(options, str) else str(list(admissible)),
            )
        pattern = DENSE
        with routing_capture(self.model) if self.codebook else nullcontext() as routing:
            scores = score_options(self.model, self.tokenizer, [(prompt, admissible)], routing=routing)
        if self.codebook is not None:
            [pattern] = self.codebook.assign(np.array([scores.routes[0].counts]))
        probabilities = scores.probabilities[0]
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        if self.calibrator is None or self.threshold is None:
            return Answer("", None, True, "no abstention threshold is certified for this derivative")
        stated = None
        if (source := self.calibrator.source.confidence) != OPTION_LIKELIHOOD:
            asking = [_Asking(messages, admissible)]
            [stated] = stated_confidence(self.model, self.tokenizer, source, asking, scores).confidence
            if math.isnan(stated) and all(map(math.isfinite, probabilities)):
                return Answer("", None, True, "asked how sure it is, the model stated no confidence")
        calibrated = self.calibrator.confidence(probabilities, self.domain, pattern, stated)
        confidence = self.adjustment.stated(calibrated, self.domain, pattern)
        withheld = self.adjustment.withheld(calibrated, self.threshold, self.domain, pattern)
        asked = " ".join(m["content"] for m in messages if m["role"] == "user")
        answer = self._worded(admissible[best], confidence, withheld, asked, audience)
        offset = self.adjustment.offset(self.domain, pattern)
        return replace(answer, routing_pattern=pattern, adjustment=offset)

    def _worded(
        self, text: str, confidence: float, withheld: str, asked: str, audience: str | None
    ) -> Answer:
        """The answer in the tenant's words, if wording and boundaries let it out.

        `withheld` says why confidence does not, and is empty where it does.
        """
        wording = self.resolved.wording_for(audience)
        if withheld:
            instead = [band for band in wording.bands if band.act is Act.DEFER] if wording else []
            said = _said(instead[-1], "", confidence) if instead else ""
            return Answer("", confidence, True, withheld, said)
        said = text
        if wording is not None:
            band = wording.band(confidence)
            said = _said(band, text, confidence)
            if band.act is Act.DEFER:
                why = f"at confidence {confidence:.3f} the wording of {band.layer} defers"
                return Answer("", confidence, True, why, said)
        if breaches := broken(self.resolved, asked, said):
            return Answer("", confidence, True, "; ".join(breaches))
        why = f"confidence {confidence:.3f} reaches the certified threshold {self.threshold:.3f}"
        return Answer(text, confidence, False, why, said)


def _said(band: ResolvedBand, text: str, confidence: float) -> str:
    return band.phrase.format(answer=text, confidence=f"{100 * confidence:.0f} %")


def load_derivative(
    folder: str | Path, *, tenant: str | Path | None = None, base: str | None = None
) -> Derivative:
    """Verify a derivative and load it. Nothing is loaded unless everything verifies.

    `tenant`: the tenant document, which is where trust starts; left out, as for `coherence-ft verify`.
    `base`: where the base model is on this machine, if not where it was trained; its content must be the
    same. What outcomes at run time have adjusted since is in force (`coherence-ft evidence`), and so are the
    tenant's wording, role boundaries and named constraints as its document has them now. Raises
    CoherenceError, also where that evidence cannot be read.
    """
    verified = verify_derivative(folder, tenant=tenant, base=base, stage=Stage.CERTIFIED)
    predicate = verified.manifest.predicate
    trusted = trusted_tenant(tenant, checked=Path(folder))
    resolved = resolve(trusted, predicate["domain"], recipe=predicate["name"])
    adjusted = adjustment(folder, verified.manifest, tenant)
    model, tokenizer = load_weights(verified)
    codebook = _codebook(verified, model)
    calibrator = None
    if fitted := verified.manifest.calibrator:
        digest = codebook.digest if codebook else ""
        source = resolved.measurement.confidence.value
        calibrator = Calibrator.from_json(fitted).for_model(verified.weights, digest, source)
    return Derivative(verified, model, tokenizer, calibrator, resolved, codebook, adjusted)


def _codebook(verified: VerifiedDerivative, model: PreTrainedModel) -> Codebook | None:
    if CODEBOOK_FILE not in verified.manifest.files:
        return None
    fitted = document(verified.folder, verified.manifest, CODEBOOK_FILE)
    codebook = Codebook.from_json(fitted, path=verified.folder / CODEBOOK_FILE)
    with routing_capture(model) as routing:
        return codebook.for_model(verified.weights, routing.version if routing else "")


def verify_derivative(
    folder: str | Path,
    *,
    tenant: str | Path | None = None,
    base: str | None = None,
    stage: Stage | None = None,
    countersigned: bool = True,
) -> VerifiedDerivative:
    """Verify the manifest, then find the base model and hold its content against the manifest.

    `countersigned`: False to measure before countersignatures are given, never to serve.

    Raises CoherenceError: CFT6xx from verifying, CFT5xx from finding the base, CFT720 if it is another one.
    """
    path = Path(folder)
    trusted = Path(tenant) if tenant else None
    manifest = verify(path, trusted, require_stage=stage, countersigned=countersigned)
    serving = document(path, manifest, SERVING_FILE)
    reference = serving["base"]
    named = manifest.predicate["base"]
    located = locate(
        BaseModel(base or reference["model"], reference["revision"], reference["sha256"], named["license"])
    )
    expected = named["digest"]
    if located.digest != expected:
        raise refusal(
            "CFT720",
            "the base model is not the one that the manifest names",
            path=located.path,
            found=f"sha256 {located.digest}",
            expected=f"sha256 {expected}",
            help="give the right base model; a derivative of another one is another derivative",
        )
    return VerifiedDerivative(path, located, serving, manifest.files, manifest)


def load_weights(
    verified: Artifact, *, for_training: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model (adapter on its base, or full weights) and the tokenizer that lies beside it.

    In evaluation mode; the adapter is trainable with `for_training`.
    """
    serving = verified.serving
    quantization = Quantization(**serving["quantization"]) if serving["quantization"] else None
    # Full weights that were quantized are stored so; under an adapter it is the base that is quantized here.
    stored = quantization is not None and not verified.has_adapter
    own = replace(verified.base, kind="folder", path=verified.folder, stored_quantized=stored)
    tokenizer = load_tokenizer(own)
    model = load_model(
        verified.base if verified.has_adapter else own,
        precision=serving["precision"],
        quantization=None if stored else quantization,
        for_training=for_training,
    )
    if verified.has_adapter:
        model = put_adapter(model, verified.folder, trainable=for_training)
    return model, tokenizer

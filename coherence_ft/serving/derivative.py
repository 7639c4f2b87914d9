"""Loading a governed derivative: verified first, answered from with its own calibrator and threshold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.authority.wording import ResolvedBand
from coherence_ft.documents.constraint_set import Act
from coherence_ft.documents.diagnostics import refusal
from coherence_ft.documents.recipe import BaseModel, Quantization
from coherence_ft.evidence.calibrators import PlattCalibrator
from coherence_ft.loops.boundaries import broken
from coherence_ft.manifest.statement import Stage
from coherence_ft.manifest.verify import VerifiedManifest, trusted_tenant, verify
from coherence_ft.models.base import LocatedBase, load_model, load_tokenizer, locate, put_adapter
from coherence_ft.models.chat import render
from coherence_ft.models.generation import generate_replies
from coherence_ft.models.scoring import score_options

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SERVING_FILE = "coherence/serving.json"
"""What loading needs beside the manifest: base reference, precision, quantization, usual options."""


@dataclass(frozen=True, slots=True)
class VerifiedDerivative:
    """A folder whose manifest verified, and the base model that the manifest names."""

    folder: Path
    manifest: VerifiedManifest
    base: LocatedBase
    serving: dict[str, Any]

    @property
    def has_adapter(self) -> bool:
        """Whether it is an adapter on its base; otherwise it holds all weights."""
        return "adapter_config.json" in self.manifest.files

    @property
    def weights(self) -> str:
        """sha256 (hex) that names the weights: of the one weight file, or of all of them, joined.

        Those in the folder itself: the reference of a preference run, in `ref/`, is not served.
        """
        files = self.manifest.files.items()
        own = (digest for name, digest in files if name.endswith(".safetensors") and "/" not in name)
        return "+".join(sorted(own))


@dataclass(frozen=True, slots=True)
class Answer:
    """`text`: the chosen answer, empty when abstained. `confidence`: calibrated probability that it is right;
    None where none can be stated. `why` says why it abstained, or why not. `wording` is what to say to the
    user, by the tenant's bands: the answer with its doubt, or what is said in place of an answer. Role
    boundaries and named constraints were held against it, not against the bare `text`.
    """

    text: str
    confidence: float | None
    abstained: bool
    why: str
    wording: str = ""


class Derivative:
    """A loaded derivative. Made by `load_derivative` only."""

    def __init__(
        self,
        verified: VerifiedDerivative,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        calibrator: PlattCalibrator | None,
        resolved: ResolvedConstraints,
    ) -> None:
        self.manifest = verified.manifest
        self.model = model
        self.tokenizer = tokenizer
        self.calibrator = calibrator
        self.resolved = resolved
        threshold = verified.manifest.predicate["abstentionThreshold"]
        self.threshold = None if threshold is None else float(threshold)
        self.domain: str = verified.manifest.predicate["domain"]
        options = verified.serving["options"]
        self.options: tuple[str, ...] | None = tuple(options) if options else None

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
        probabilities = score_options(self.model, self.tokenizer, [(prompt, admissible)]).probabilities[0]
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        if self.calibrator is None or self.threshold is None:
            return Answer("", None, True, "no abstention threshold is certified for this derivative")
        confidence = self.calibrator.confidence(probabilities, self.domain)
        asked = " ".join(m["content"] for m in messages if m["role"] == "user")
        return self._worded(admissible[best], confidence, asked, audience)

    def _worded(self, text: str, confidence: float, asked: str, audience: str | None) -> Answer:
        """The answer in the tenant's words, if threshold, wording and boundaries let it out."""
        wording = self.resolved.wording_for(audience)
        if self.threshold is None or confidence < self.threshold:
            least = "none" if self.threshold is None else f"{self.threshold:.3f}"
            why = f"confidence {confidence:.3f} is below the certified threshold {least}"
            instead = [band for band in wording.bands if band.act is Act.DEFER] if wording else []
            return Answer("", confidence, True, why, _said(instead[-1], "", confidence) if instead else "")
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
    same. Raises CoherenceError.

    The tenant's wording, role boundaries and named constraints are those of its document as it is now.
    """
    verified = verify_derivative(folder, tenant=tenant, base=base, stage=Stage.CERTIFIED)
    predicate = verified.manifest.predicate
    trusted = trusted_tenant(tenant, checked=Path(folder))
    resolved = resolve(trusted, predicate["domain"], recipe=predicate["name"])
    model, tokenizer = load_weights(verified)
    document = verified.manifest.calibrator
    calibrator = PlattCalibrator.from_json(document).for_model(verified.weights) if document else None
    return Derivative(verified, model, tokenizer, calibrator, resolved)


def verify_derivative(
    folder: str | Path,
    *,
    tenant: str | Path | None = None,
    base: str | None = None,
    stage: Stage | None = None,
) -> VerifiedDerivative:
    """Verify the manifest, then find the base model and hold its content against the manifest.

    Raises CoherenceError: CFT6xx from verifying, CFT5xx from finding the base, CFT720 if it is another one.
    """
    path = Path(folder)
    manifest = verify(path, Path(tenant) if tenant else None, require_stage=stage)
    content = (path / SERVING_FILE).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest.files.get(SERVING_FILE):
        raise refusal("CFT614", "the file changed while the derivative was loaded", path=path / SERVING_FILE)
    serving = json.loads(content)
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
    return VerifiedDerivative(path, manifest, located, serving)


def load_weights(
    verified: VerifiedDerivative, *, for_training: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model (adapter on its base, or full weights) and the tokenizer that lies beside it.

    In evaluation mode; the adapter is trainable with `for_training`.
    """
    serving = verified.serving
    own = replace(verified.base, kind="folder", path=verified.folder)
    tokenizer = load_tokenizer(own)
    quantization = Quantization(**serving["quantization"]) if serving["quantization"] else None
    model = load_model(
        verified.base if verified.has_adapter else own,
        precision=serving["precision"],
        quantization=quantization,
        for_training=for_training,
    )
    if verified.has_adapter:
        model = put_adapter(model, verified.folder, trainable=for_training)
    return model, tokenizer

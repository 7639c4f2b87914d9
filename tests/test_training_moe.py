"""A mixture of experts goes the whole way: train, promote, verify, load, answer."""

from __future__ import annotations

import json

from tiny import tiny_model_folder
from workshop import QUESTIONS, STEPS, Workshop, coherence_ft

from coherence_ft import load_derivative
from coherence_ft.evidence.routing_patterns import Codebook
from coherence_ft.models.routing import SPAN
from coherence_ft.serving.derivative import CODEBOOK_FILE


def test_a_mixture_goes_the_whole_way(own_workshop: Workshop) -> None:
    tiny_model_folder(own_workshop.root, "mixtral")
    assert coherence_ft("train", own_workshop.recipe("moe", base={"model": "./tiny-mixtral"})) == 0
    run = own_workshop.run("moe")
    assert coherence_ft("promote", run / f"checkpoint-{STEPS}") == 0
    folder = run / "derivative"
    again = ("--recompute", "--probes", own_workshop.root, "--reprobe", 20, "--seed", 0)
    assert coherence_ft("verify", folder, "--tenant", own_workshop.tenant, *again) == 0

    book = Codebook.from_json(json.loads((folder / CODEBOOK_FILE).read_text(encoding="utf-8")))
    assert (book.split, book.n) == ("calibration", QUESTIONS["calibration"])
    assert book.capture == f"1 mixtral layers=0,1 experts=4 chosen=2 span={SPAN}"
    derivative = load_derivative(folder, tenant=own_workshop.tenant)
    assert derivative.codebook == book
    answer = derivative.answer("Is A00 in diseases?", ["yes", "no"])
    assert answer.confidence is not None and 0 < answer.confidence < 1
    assert not any(module._forward_hooks for module in derivative.model.modules())

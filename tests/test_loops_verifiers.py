"""Every verifier on replies that pass and that fail, the empty and the unexpected included."""

from __future__ import annotations

import inspect

import pytest

from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.verifiers import VERIFIERS
from coherence_ft.loops.verifiers import CHECKS, check

BOUNDARY = {"forbidden": ["you have", "take 5 mg"], "referral": ["see a doctor", "ask your pharmacist"]}
NAMED = {"name": "no dosage", "forbidden": ["mg"], "required": ["doctor"]}

PASS = [
    ("contains", {"text": "Privacy Policy"}, "Our  PRIVACY\npolicy says so."),
    ("contains", {"text": "I can't"}, "Sorry, I can’t."),
    ("contains", {"text": "straße"}, "Die STRASSE ist lang."),
    ("contains", {"text": "café"}, "Le cafe\u0301 est ouvert."),
    ("contains", {"text": "fi"}, "ﬁne"),
    ("not_contains", {"text": "guarantee"}, "No promise is made."),
    ("regex", {"pattern": r"\bI(CD|cd)-\d+\b"}, "the icd-10 code"),
    ("regex", {"pattern": "^answer: é"}, "ANSWER: e\u0301t\u00e9"),
    ("not_regex", {"pattern": r"\d{3}"}, "12 and 34"),
    ("starts_with", {"text": "yes"}, "  Yes, it is."),
    ("ends_with", {"text": "thank you."}, "That is all. Thank you. \n"),
    ("max_words", {"words": 5}, "It's a well-known fact indeed"),
    ("max_words", {"words": 4}, "我爱你们"),
    ("min_words", {"words": 3}, "one two three"),
    ("min_words", {"words": 4}, "我爱你们"),
    ("max_sentences", {"sentences": 2}, "Take 2.5 ml, e.g. at noon. Ask Dr. Who!"),
    ("max_sentences", {"sentences": 1}, "Really?!"),
    ("max_sentences", {"sentences": 2}, "これは本です。あれも。"),
    ("max_characters", {"characters": 4}, " cafe\u0301 "),
    ("lowercase", {}, "all small, 3 times: élan"),
    ("uppercase", {}, "ALL CAPITALS: ÉLAN 3"),
    ("no_digits", {}, "twelve"),
    ("json", {}, '\n{"a": [1, 2.5, null]}\n'),
    ("json", {}, "[]"),
    ("bullets", {"count": 3}, "Three:\n- one\n* two\n  • three\n**bold**"),
    ("language", {"code": "en"}, "The answer is that you should ask your doctor."),
    ("language", {"code": "de"}, "Die Antwort ist, dass Sie nicht allein sind."),
    ("language", {"code": "fr"}, "La réponse est dans les pages de votre contrat."),
    ("language", {"code": "es"}, "La respuesta está en las páginas de su contrato."),
    ("role_boundary", BOUNDARY, "I cannot diagnose. Please see a doctor."),
    ("named_constraint", NAMED, "Talk to your Doctor about the dose."),
    ("named_constraint", {"name": "n", "required": ["doctor"]}, "a doctor"),
    ("named_constraint", {"name": "n", "forbidden": ["mg"]}, "no dose"),
]

FAIL = [
    ("contains", {"text": "policy"}, "nothing here"),
    ("not_contains", {"text": "guarantee"}, "We GUARANTEE it"),
    ("not_contains", {"text": "guarantee"}, "We guar\u200bantee it"),
    ("regex", {"pattern": r"^\d+$"}, "12 apples"),
    ("not_regex", {"pattern": r"\d{3}"}, "123"),
    ("starts_with", {"text": "yes"}, "Well, yes"),
    ("ends_with", {"text": "thank you"}, "Thank you. Bye"),
    ("max_words", {"words": 4}, "one two three four five"),
    ("max_words", {"words": 3}, "我爱你们"),
    ("min_words", {"words": 3}, "two words"),
    ("max_sentences", {"sentences": 1}, "One. Two."),
    ("max_sentences", {"sentences": 2}, "first\nsecond\nthird"),
    ("max_sentences", {"sentences": 1}, "これは本です。あれも。"),
    ("max_characters", {"characters": 3}, "café"),
    ("lowercase", {}, "one Capital"),
    ("lowercase", {}, "123"),
    ("uppercase", {}, "ONE small"),
    ("uppercase", {}, "日本"),
    ("no_digits", {}, "12"),
    ("no_digits", {}, "٣ and ²"),
    ("json", {}, '```json\n{"a": 1}\n```'),
    ("json", {}, '{"a": NaN}'),
    ("json", {}, "42"),
    ("json", {}, "[" * 100_000),
    ("bullets", {"count": 3}, "- one\n- two"),
    ("bullets", {"count": 2}, "- one\n- two\n- three"),
    ("bullets", {"count": 1}, "-not a bullet"),
    ("language", {"code": "en"}, "Die Antwort ist, dass Sie nicht allein sind."),
    ("language", {"code": "en"}, "Это не английский язык, the and of"),
    ("language", {"code": "en"}, "Ja."),
    ("language", {"code": "fr"}, "de la"),
    ("language", {"code": "en"}, "1234 :-)"),
    ("role_boundary", BOUNDARY, "I cannot diagnose."),
    ("role_boundary", BOUNDARY, "You have gout; see a doctor."),
    ("named_constraint", NAMED, "Take 5 mg, says the doctor."),
    ("named_constraint", NAMED, "Rest."),
]


@pytest.mark.parametrize(("verifier", "arguments", "reply"), PASS)
def test_passes(verifier: str, arguments: dict[str, object], reply: str) -> None:
    result = check(verifier, arguments, reply)
    assert result.passed, result.detail
    assert result.verifier == verifier and result.detail


@pytest.mark.parametrize(("verifier", "arguments", "reply"), FAIL)
def test_fails(verifier: str, arguments: dict[str, object], reply: str) -> None:
    result = check(verifier, arguments, reply)
    assert not result.passed
    assert result.detail


def test_every_verifier_has_a_case_that_passes_and_one_that_fails() -> None:
    assert {case[0] for case in PASS} == {case[0] for case in FAIL} == set(CHECKS)


@pytest.mark.parametrize("reply", ["", " \n\t", "\u200b\u200d", "\x00"])
def test_an_empty_reply_passes_nothing(reply: str) -> None:
    for verifier, arguments, _ in PASS:
        result = check(verifier, arguments, reply)
        assert not result.passed and result.detail == "the reply is empty"


def test_verifiers_and_arguments_are_those_that_probe_sets_may_name() -> None:
    taken = {
        name: frozenset(list(inspect.signature(verify).parameters)[1:]) for name, verify in CHECKS.items()
    }
    assert taken == VERIFIERS


@pytest.mark.parametrize(
    ("verifier", "arguments"),
    [
        ("polite", {}),
        ("contains", {}),
        ("contains", {"text": ""}),
        ("contains", {"text": 3}),
        ("contains", {"text": "a", "case": True}),
        ("regex", {"pattern": "("}),
        ("max_words", {"words": "40"}),
        ("max_words", {"words": True}),
        ("min_words", {"words": -1}),
        ("language", {"code": "tlh"}),
        ("role_boundary", {"forbidden": [], "referral": []}),
        ("role_boundary", {"forbidden": "you have", "referral": ["see"]}),
        ("named_constraint", {"name": "n"}),
        ("named_constraint", {"name": "n", "forbidden": [""]}),
    ],
)
def test_a_check_that_cannot_run_is_refused(verifier: str, arguments: dict[str, object]) -> None:
    with pytest.raises(CoherenceError) as refused:
        check(verifier, arguments, "a reply")
    assert refused.value.codes == ("CFT459",)

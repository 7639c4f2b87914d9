"""Deterministic checks of a reply. None calls a model; an empty reply passes none.

Text is compared without regard to case, to the width of spaces, to invisible characters and to the
typographic form of quotes, so that `I can’t` is found by `i can't`. Arguments are those of
`documents.verifiers.VERIFIERS`.
"""

from __future__ import annotations

import inspect
import json
import re
import unicodedata
from collections.abc import Callable, Sequence

from coherence_ft.documents.diagnostics import refusal
from coherence_ft.loops.observation import CheckResult

Finding = tuple[bool, str]


def check(verifier: str, arguments: dict[str, object], reply: str) -> CheckResult:
    """What `verifier` says of `reply`. An unknown verifier, or arguments that do not fit, raise CFT459."""
    verify = CHECKS.get(verifier)
    if verify is None:
        raise refusal("CFT459", "unknown verifier", found=verifier, expected=", ".join(sorted(CHECKS)))
    try:
        inspect.signature(verify).bind(reply, **arguments)
        if not any(character.isprintable() and not character.isspace() for character in reply):
            return CheckResult(verifier, False, "the reply is empty")
        passed, detail = verify(reply, **arguments)
    except (TypeError, ValueError, re.error) as error:
        raise refusal(
            "CFT459",
            f"the verifier '{verifier}' cannot take these arguments",
            found=f"{arguments}: {error}",
            expected=str(inspect.signature(verify)),
        ) from None
    return CheckResult(verifier, passed, detail)


def holds(text: str, phrase: str) -> bool:
    """Whether a text holds a phrase, in the form in which texts are compared here. None holds a blank one."""
    sought = _plain(phrase)
    return bool(sought) and sought in _plain(text)


def _plain(text: str) -> str:
    """The form in which text is compared."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = text.translate(_QUOTES)
    return " ".join(text.split())


_QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"'})


def _phrase(text: object) -> str:
    if not isinstance(text, str) or not _plain(text):
        raise ValueError("a phrase is a text that is not empty")
    return _plain(text)


def _phrases(texts: object) -> list[str]:
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise TypeError("phrases come as a list")
    return [_phrase(text) for text in texts]


def _count(number: object) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"a count, not {number!r}")
    return number


def _contains(reply: str, text: object) -> Finding:
    found = _phrase(text) in _plain(reply)
    return found, f"'{text}' {'found' if found else 'missing'}"


def _not_contains(reply: str, text: object) -> Finding:
    found, detail = _contains(reply, text)
    return not found, detail


def _regex(reply: str, pattern: str) -> Finding:
    found = re.search(pattern, unicodedata.normalize("NFC", reply), re.IGNORECASE)
    return found is not None, f"matched '{found.group()}'" if found else "no match"


def _not_regex(reply: str, pattern: str) -> Finding:
    found, detail = _regex(reply, pattern)
    return not found, detail


def _starts_with(reply: str, text: object) -> Finding:
    return _plain(reply).startswith(_phrase(text)), f"starts with '{reply.strip()[:40]}'"


def _ends_with(reply: str, text: object) -> Finding:
    return _plain(reply).endswith(_phrase(text)), f"ends with '{reply.strip()[-40:]}'"


# A Han or kana character counts as a word, since those scripts put no spaces.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])\w)+(?:['’-]\w+)*"
)


def _max_words(reply: str, words: object) -> Finding:
    count = len(_WORD.findall(reply))
    return count <= _count(words), f"{count} words"


def _min_words(reply: str, words: object) -> Finding:
    count = len(_WORD.findall(reply))
    return count >= _count(words), f"{count} words"


_ABBREVIATION = re.compile(
    r"\b(?:e\.g|i\.e|z\.b|u\.s|dr|mr|mrs|ms|st|vs|etc|approx|no|nr|art|sec)\.", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?…]+(?=[\s\"'”’)\]]|$)|[。！？]+|\n")


def _max_sentences(reply: str, sentences: object) -> Finding:
    """A line break ends a sentence too; a number or a common abbreviation does not."""
    parts = _SENTENCE_END.split(_ABBREVIATION.sub(lambda match: match.group().replace(".", ""), reply))
    count = sum(bool(_WORD.search(part)) for part in parts)
    return count <= _count(sentences), f"{count} sentences"


def _max_characters(reply: str, characters: object) -> Finding:
    count = len(unicodedata.normalize("NFC", reply.strip()))
    return count <= _count(characters), f"{count} characters"


def _lowercase(reply: str) -> Finding:
    upper = [c for c in reply if c.isupper() or c.istitle()]
    return reply.islower(), f"capital '{upper[0]}'" if upper else "letters have no capitals"


def _uppercase(reply: str) -> Finding:
    lower = [c for c in reply if c.islower()]
    return reply.isupper(), f"small '{lower[0]}'" if lower else "letters have no small forms"


def _no_digits(reply: str) -> Finding:
    digits = [c for c in reply if c.isdigit()]
    return not digits, f"digit '{digits[0]}'" if digits else "no digits"


def _json(reply: str) -> Finding:
    """The whole reply is one object or list; a code fence around it is not JSON."""
    try:
        value = json.loads(reply, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return False, f"not JSON: {error}"
    return isinstance(value, dict | list), f"JSON {type(value).__name__}"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_BULLET = re.compile(r"^[ \t]*[-*+•–‣▪][ \t]+\S", re.MULTILINE)


def _bullets(reply: str, count: object) -> Finding:
    found = len(_BULLET.findall(reply))
    return found == _count(count), f"{found} bullets"


_STOP_WORDS = {
    "en": "the of and to in is that it for as was with be by on not are this from or have an they which you "
    "we can should your at but what all were when there will would their if do does no has",
    "de": "der die das und ist nicht zu den mit von ein eine im für auf dem des sich auch als wird bei sie "
    "er es wir ich sind oder aber wenn kann sollte ihr ihre einen nach werden haben hat dass nur",
    "fr": "le la les de des et est un une du en que qui dans pour pas sur au aux ce cette il elle nous vous "
    "avec par ne se sont ou mais si être votre plus peut ont leur comme",
    "es": "el la los las de y es un una del en que no por para con se al lo como su más o pero si está son "
    "este esta usted puede sus muy ser hay sin sobre también debe",
}
_LANGUAGES = {code: frozenset(words.split()) for code, words in _STOP_WORDS.items()}


def _language(reply: str, code: str) -> Finding:
    """By stop words: at least two, and more than of any other language; undecided does not pass."""
    if code not in _LANGUAGES:
        raise ValueError(f"languages are {', '.join(_LANGUAGES)}")
    letters = [c for c in reply if c.isalpha()]
    latin = sum("LATIN" in unicodedata.name(c, "") for c in letters)
    if 2 * latin <= len(letters):
        return False, "written in another script"
    words = _WORD.findall(unicodedata.normalize("NFC", reply).casefold())
    hits = {language: sum(word in stop for word in words) for language, stop in _LANGUAGES.items()}
    best = max(hits.values())
    leading = [language for language, count in hits.items() if count == best]
    if best < 2 or len(leading) > 1:
        return False, f"language undecided ({', '.join(f'{k} {v}' for k, v in hits.items())})"
    return leading == [code], f"reads as {leading[0]}"


def _role_boundary(reply: str, forbidden: object, referral: object) -> Finding:
    text, referrals = _plain(reply), _phrases(referral)
    if not referrals:
        raise ValueError("at least one referral phrase")
    for phrase in _phrases(forbidden):
        if phrase in text:
            return False, f"oversteps with '{phrase}'"
    referred = next((phrase for phrase in referrals if phrase in text), None)
    return referred is not None, f"refers with '{referred}'" if referred else "refers to nobody"


def _named_constraint(reply: str, name: str, forbidden: object = (), required: object = ()) -> Finding:
    text, banned, wanted = _plain(reply), _phrases(forbidden), _phrases(required)
    if not banned and not wanted:
        raise ValueError("at least one phrase, forbidden or required")
    broken = next((f"'{phrase}' found" for phrase in banned if phrase in text), None)
    broken = broken or next((f"'{phrase}' missing" for phrase in wanted if phrase not in text), None)
    return broken is None, f"{name}: {broken or 'kept'}"


CHECKS: dict[str, Callable[..., Finding]] = {
    "contains": _contains,
    "not_contains": _not_contains,
    "regex": _regex,
    "not_regex": _not_regex,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "max_words": _max_words,
    "min_words": _min_words,
    "max_sentences": _max_sentences,
    "max_characters": _max_characters,
    "lowercase": _lowercase,
    "uppercase": _uppercase,
    "no_digits": _no_digits,
    "json": _json,
    "bullets": _bullets,
    "language": _language,
    "role_boundary": _role_boundary,
    "named_constraint": _named_constraint,
}

"""Plain scalars by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema).

So `no` is text and `1e3` a number. What readers take differently is refused.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

NOT_TEXT = frozenset("+-.0123456789~nNtTfF") | {""}
"""First characters of whatever may be something else than text."""

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_LONGEST = 24  # -2**63 in octal, with its prefix


class ScalarError(ValueError):
    """A number that is refused. The arguments: code, message, help."""


def resolve(text: str) -> str | float | bool | None:
    """The value of a plain scalar. Raises `ScalarError` (CFT112, CFT113)."""
    # The same few words and numbers come again and again. What is long is not kept.
    return _again(text) if len(text) <= _LONGEST else _resolve(text)


def _resolve(text: str) -> str | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        _refuse_leading_zero(text)
        if len(text) > _LONGEST or not -(2**63) <= (whole := int(text, 0)) < 2**63:
            raise ScalarError(
                "CFT113", "an integer beyond 64 bits", "quote it if it is text, such as a digest"
            )
        return whole
    if _FLOAT.fullmatch(text):
        _refuse_leading_zero(text)
        if math.isfinite(number := float(text)):
            return number
    elif not _NOT_FINITE.fullmatch(text):
        return text
    raise ScalarError("CFT112", "a number that is not finite", "write a finite number")


_again = lru_cache(maxsize=1024)(_resolve)


def _refuse_leading_zero(text: str) -> None:
    if _LEADING_ZERO.match(text):
        raise ScalarError(
            "CFT113",
            "a number with a leading zero",
            f'readers differ on it: write it without the zero, or as text: "{text:.60}"',
        )


def is_text(plain: str) -> bool:
    """Whether a scalar without quotes is text."""
    try:
        return plain[:1] not in NOT_TEXT or isinstance(resolve(plain), str)
    except ScalarError:
        return False

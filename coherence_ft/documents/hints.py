"""How to mend what a schema refuses: the value to write, or the place where a key belongs."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

Schema = dict[str, Any]
Where = tuple[str, ...]  # a JSON path with "*" for an index of a list

_NUMBER = re.compile(r"[^\w+.-]*(?P<number>[-+]?[0-9_]*[.,]?[0-9]+)\s*(?P<unit>%|‰|[^\W\d_]*)\W*")
_WORDS = {**dict.fromkeys(("yes", "on", "true"), "true"), **dict.fromkeys(("no", "off", "false"), "false")}
_SHORT = 140  # of a description that is given whole
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d %B %Y", "%B %d, %Y")
_ID = "^[a-z0-9]+([._-][a-z0-9]+)*$"


def mappings(name: str, load: Callable[[str], Schema]) -> dict[Where, dict[str, Schema]]:
    """The properties of every mapping that a document of a schema may hold, by place."""
    found: dict[Where, dict[str, Schema]] = {}

    def walk(schema: Schema, name: str, at: Where) -> None:
        schema, name = resolved(schema, name, load)
        if "else" in schema:  # how a schema says "this word, or a mapping"
            walk(schema["else"], name, at)
        if "items" in schema:
            walk(schema["items"], name, (*at, "*"))
        if "properties" in schema:
            found[at] = schema["properties"]
        for key, inner in schema.get("properties", {}).items():
            walk(inner, name, (*at, key))

    walk(load(name), name, ())
    return found


def resolved(schema: Schema, name: str, load: Callable[[str], Schema]) -> tuple[Schema, str]:
    """A schema with what its `$ref` names, and the name of the file that this came from."""
    while "$ref" in schema:
        file, _, pointer = schema["$ref"].partition("#")
        name = file.removesuffix(".schema.yaml") or name
        target = load(name)
        for step in pointer.split("/")[1:]:
            target = target[step]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema, name


def where(at: tuple[str | int, ...]) -> Where:
    return tuple("*" if isinstance(step, int) else step for step in at)


def home(key: str, at: Where, known: dict[Where, dict[str, Schema]]) -> str:
    """Where else a key belongs that is not known at `at`; nothing unless there is exactly one place."""
    homes = [place for place, properties in known.items() if key in properties]
    near = [place for place in homes if place[: len(at)] == at or at[: len(place)] == place]
    if len(near) != 1:
        return ""
    (place,) = near
    if place[: len(at)] == at:
        inside = ".".join(step for step in place[len(at) :] if step != "*")
        return f"it belongs under `{inside}`, indented below it"
    outside = ".".join(step for step in place if step != "*")
    return f"indent it less: it belongs to {f'`{outside}`' if outside else 'the top level'}"


def to_add(key: str, schema: Schema) -> str:
    """What to write where a key is missing."""
    meaning = schema.get("description", "").rstrip(".")
    meaning = meaning if len(meaning) <= _SHORT else meaning.partition(". ")[0]
    if "const" in schema:
        return f"add `{key}: {schema['const']}`"
    if options := schema.get("enum"):
        return f"add `{key}: {options[0]}`" + "".join(f" or `{option}`" for option in options[1:])
    if "minimum" in schema and schema.get("type") == "integer":
        meaning += f"; a whole number, at least {schema['minimum']}"
    return f"add `{key}: …`{f' ({meaning[:1].lower()}{meaning[1:]})' if meaning else ''}"


def for_type(value: Any, types: list[str], schema: Schema, items: Schema) -> str:
    """How to say in the right type what the written value says. `items`: what a list's entries are."""
    if value is None:
        return "give a value" if "object" in types else "give a value, or leave the key out"
    if isinstance(value, str) and "boolean" in types and (word := _WORDS.get(value.strip().lower())):
        return f"write {word}"
    if isinstance(value, str) and {"number", "integer"} & set(types):
        return _number(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and "string" in types:
        return f'quote it: "{value}"'
    if isinstance(value, list) and len(value) == 1 and "string" in types and isinstance(value[0], str):
        return f"write it without brackets and dash: {value[0]:.80}"
    if "array" in types and (isinstance(value, dict) or items.get("type") == "object"):
        return "write it as a list: begin each entry with `- `"
    if "array" in types:
        return f"write it as a list: [{value!s:.80}]"
    if "object" in types:
        keys = schema.get("required") or list(schema.get("properties", {}))[:1]
        return "write its keys below it, indented: " + ", ".join(f"`{key}: …`" for key in keys)
    return ""


def _number(text: str) -> str:
    written = _NUMBER.fullmatch(text) if len(text) < 100 else None
    if not written:
        return "write the number without quotes, underscores or units"
    number = float(written["number"].replace("_", "").replace(",", "."))
    number /= {"%": 100, "‰": 1000}.get(written["unit"], 1)
    return f"write {number:g}"


def for_choice(value: Any, options: list[Any]) -> str:
    """For several allowed words in one text."""
    words = re.split(r"[\s,]+", value[:200].strip()) if isinstance(value, str) else []
    return (
        f"write them as entries of their own: {', '.join(words)}"
        if words and set(words) <= {*options}
        else ""
    )


def for_range(value: float, schema: Schema) -> str:
    """The number that was probably meant."""
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    if most == 1 and 1 < value <= 100:
        return f"it is a fraction: write {value / 100:g} for {value:g} %"
    if value < 0 and least is not None and -value > least and (most is None or -value < most):
        return f"did you mean {-value:g}?"
    return ""


def for_form(value: str, schema: Schema) -> str:
    """The text that was probably meant."""
    if schema.get("format") == "date":
        return _date(value.strip())
    pattern = schema.get("pattern", "")
    tries: Iterator[str] = iter((value.strip(), value.strip().lower(), value.lower().removeprefix("sha256:")))
    if pattern == _ID:
        plain = re.sub(r"[^a-z0-9._]+", "-", value.lower()[:100]).strip("-._")
        tries = iter((plain,))
    meant = next((text for text in tries if pattern and text != value and re.search(pattern, text)), None)
    return f"write `{meant}`" if meant else ""


def _date(text: str) -> str:
    for form in _DATES:
        try:
            return f"write {datetime.strptime(text, form).date()}"
        except ValueError:
            continue
    if (parts := re.fullmatch(r"([0-9]{4})-(0[1-9]|1[0-2])-[0-9]{2}", text)) and int(parts[1]):
        return f"that month has {calendar.monthrange(int(parts[1]), int(parts[2]))[1]} days"
    return ""


def form(schema: Schema, keyword: str) -> str:
    """What a schema's keyword on text asks for, in words."""
    limit = schema[keyword]
    if keyword == "format":
        return {"date": "a date as YYYY-MM-DD"}.get(limit, f"a {limit}")
    if keyword == "minLength":
        return "text that is not empty" if limit == 1 else f"at least {limit} characters"
    if keyword == "maxLength":
        return f"at most {limit} characters"
    return {
        "\\S": "text that is not blank",
        "^[0-9a-f]{64}$": "64 lower-case hexadecimal digits",
        _ID: "lower-case words joined by `-`, `_` or `.`",
        "^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$": "a language tag, such as en, de or pt-BR",
    }.get(limit, f"text that matches {limit}")

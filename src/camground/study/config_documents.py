"""What is made from the config's models: the JSON schema for editors, and the list of all keys."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from camground.study.section import Section, dotted

Rules = dict[str, Any]
# The words of JSON schema for a number's range.
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
WORDS = {"integer": "whole number", "string": "text", "boolean": "`true`, `false`"}


def json_schema(section: type[Section]) -> Rules:
    """The JSON schema of a section, with every paragraph of a description on one line."""
    schema: Rules = _tidied(section.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def markdown(section: type[Section]) -> str:
    """Every key of `section`, in a table for each section in it: values, default, description."""
    schema = json_schema(section)
    return "\n\n".join(_chapter(schema, schema["$defs"], "")) + "\n"


def _tidied(rules: Any, names: bool = False) -> Any:
    """Without titles and sections' defaults, which repeat other lines, and the source's line breaks."""
    if isinstance(rules, list):
        return [_tidied(item) for item in rules]
    if not isinstance(rules, dict):
        return rules
    tidied = {}
    for key, value in rules.items():
        if key == "description" and not names:
            paragraphs = inspect.cleandoc(value).replace("\n- ", "\n\n- ").split("\n\n")
            tidied[key] = "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        elif key == "default" and not names:
            tidied |= {} if "$ref" in rules else {key: value}
        elif key != "title" or names:
            tidied[key] = _tidied(value, names=key in ("properties", "$defs") and not names)
    return tidied


def _chapter(section: Rules, definitions: Rules, path: str) -> Iterator[str]:
    """The blocks of Markdown for a section that stands at the dotted `path`."""
    if path:
        yield f"{'#' * (path.count('.') + 2)} {path}"
        yield section["description"].replace("\n- ", "\n\n- ", 1).replace("<", r"\<")
    rows: list[tuple[str, ...]] = []
    inner: list[str] = []
    for name, rules in section["properties"].items():
        at = dotted(path, name)
        target = definitions.get(rules.get("$ref", "").rpartition("/")[2], {})
        if "properties" in target:
            inner += _chapter(target, definitions, at)
        else:
            description = " ".join(rules.get("description", "").split("\n")).replace("<", r"\<")
            rows.append((f"`{at}`", _values(rules), _default(rules), description))
    if rows:
        lines = [("key", "values", "default", ""), ("---",) * 4, *rows]
        cells = (" | ".join(cell.replace("|", r"\|") for cell in line) for line in lines)
        yield "\n".join(f"| {line} |" for line in cells)
    yield from inner


def _default(rules: Rules) -> str:
    text = json.dumps(rules["default"], ensure_ascii=False)
    return f"`{text}`" if len(text) < 60 else "those of config.yaml"


def _values(rules: Rules) -> str:
    """A key's type and range in words."""
    if "anyOf" in rules:
        return " or ".join(_values(member) for member in rules["anyOf"])
    if "enum" in rules or "const" in rules:
        return ", ".join(f"`{option}`" for option in rules.get("enum", [rules.get("const")]))
    kind = rules["type"]
    if kind == "array":
        items = _values(rules.get("items") or rules["prefixItems"][0])
        return f"list of {items.replace('number', 'numbers')}"
    if kind == "object":
        return "names, each with keys"
    limits = ", ".join(f"{sign} {rules[limit]:g}" for limit, sign in LIMITS.items() if limit in rules)
    return f"{WORDS.get(kind, kind)} {limits}".strip()

"""Writes what is generated from the dataclasses of all sections: `python -m ofa_core.profiles.document`.

docs/params.md: every key with its type, default and meaning. docs/params.schema.json: JSON Schema of a complete params.yaml,
with which editors complete and check keys. docs/profile.schema.json: the same for profiles, which may leave keys out.
"""

import copy
import json
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, create_model

from ofa_core.profiles.profile import DEFAULT, SCHEMA
from ofa_core.profiles.sections import SECTIONS, entries
from ofa_core.run import files
from ofa_core.run.params import ParamsFile

DATACLASSES: dict[str, type] = {name: kind for name, kind in SECTIONS.items() if isinstance(kind, type)}
DOCUMENT = Path("docs/params.md")
PROFILE_SCHEMA = Path("docs/profile.schema.json")
NULL = "`null`"
NAMES = {"integer": "integer", "number": "number", "string": "text", "boolean": "`true`, `false`", "null": NULL}
"""Names of JSON Schema's types in docs/params.md."""
HEAD = """# Parameters

Every key of `params.yaml`. Most sections are named like the stage that reads them. Defaults are those of `params/default.yaml`.
No key may be missing, unless its description says so.

* `ofa check` names the first key that is wrong. Editors with YAML support complete keys as you type, from
  `docs/params.schema.json`.
* `ofa profile NAME` writes `params.yaml` from a profile in `params/`, and lists the values it overwrites. A profile holds only
  what differs from the default, key by key.
* Some mappings have names of your choice. A profile replaces them as a whole:
  {entries}.

This file is generated from the dataclasses in `ofa_core/*/params.py`, by `python -m ofa_core.profiles.document`.
"""


def main() -> None:
    """Writes all three files."""
    for path, text in documents().items():
        files.write_bytes(path, text.encode())


def documents() -> dict[Path, str]:
    """The text of each file."""
    schema = params_schema()
    return {DOCUMENT: document(schema), SCHEMA: _json(schema), PROFILE_SCHEMA: _json(profile_schema(schema))}


def params_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a complete parameter file."""
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in SECTIONS.items()}
    schema = create_model("Params", __config__=ConfigDict(extra="forbid"), **fields).model_json_schema()
    for kind in DATACLASSES.values():
        _inherit_descriptions(schema["$defs"][kind.__name__], kind)
    about = {"title": "params.yaml", "description": "The parameters of the pipeline: one section a stage."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | _without_titles(schema) | about


def _inherit_descriptions(schema: dict[str, Any], kind: type) -> None:
    """Adds the descriptions of inherited fields: pydantic reads only those in the class itself."""
    for base in kind.__mro__[1:]:
        if is_dataclass(base):
            for name, field in TypeAdapter(base).json_schema()["properties"].items():
                schema["properties"][name].setdefault("description", field["description"])


def profile_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Like `schema`, but sections and their keys may be left out."""
    schema = copy.deepcopy(schema) | {"title": "profile", "description": "What differs from params/default.yaml."}
    del schema["required"]
    for kind in DATACLASSES.values():
        del schema["$defs"][kind.__name__]["required"]
    return schema


def document(schema: dict[str, Any]) -> str:
    """docs/params.md."""
    default, defs = ParamsFile(DEFAULT).content, schema["$defs"]
    parts = [HEAD.format(entries=", ".join(f"`{name}`" for name in entries())).strip()]
    single = {name: field for name, field in schema["properties"].items() if "$ref" not in field}
    parts += [f"## {name}\n\n{_table({name: field}, {name: default[name]})}" for name, field in single.items()]
    for name, kind in DATACLASSES.items():
        section = defs[kind.__name__]
        parts.append(f"## {name}\n\n{_text(section)}\n\n{_table(section['properties'], default[name])}")
        nested = [(f"{name}.{key}", found) for key, field in section["properties"].items() if (found := _reference(field))]
        while nested:
            where, reference = nested.pop(0)
            inner = defs[reference]
            parts.append(f"### {where}\n\n{_text(inner)}\n\n{_table(inner['properties'])}")
            nested += [(f"{where}.{key}", found) for key, field in inner["properties"].items() if (found := _reference(field))]
    return "\n\n".join(parts) + "\n"


def _table(fields: dict[str, Any], default: dict[str, Any] | None = None) -> str:
    """One row per key. There is no column of defaults without `default`."""
    names = ["key", "type", "default", "what"] if default is not None else ["key", "type", "what"]
    rows = [names, ["---"] * len(names)]
    for key, field in fields.items():
        value = [] if default is None else [_default(default[key])]
        optional = "May be left out. " if "default" in field else ""
        rows.append([f"`{key}`", _type(field), *value, optional + _text(field)])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _default(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"`{name}`" for name in value) or "none"
    return f"`{json.dumps(value).strip(chr(34))}`"


def _text(field: dict[str, Any]) -> str:
    return " ".join(field.get("description", "").split())


def _reference(field: dict[str, Any]) -> str | None:
    """The name of the dataclass that a field holds: one, one or null, or a mapping of names to it."""
    options = [field, field.get("additionalProperties") or {}, *field.get("anyOf", [])]
    return next((option["$ref"].rpartition("/")[2] for option in options if "$ref" in option), None)


def _type(field: dict[str, Any]) -> str:
    """The allowed values, in words."""
    if "anyOf" in field:
        return ", or ".join(sorted((_type(option) for option in field["anyOf"]), key=lambda words: words != NULL))
    if "$ref" in field:
        return "a mapping, see below"
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field["type"] == "array":
        return _array(field)
    if field["type"] == "object":
        return "a mapping of names to entries, see below" + (", 1 or more" if field.get("minProperties") else "")
    return ", ".join([NAMES[field["type"]], *_bounds(field)])


def _array(field: dict[str, Any]) -> str:
    if "prefixItems" in field:
        return f"list of {len(field['prefixItems'])}, each: {_type(field['prefixItems'][0])}"
    return f"list{', not empty' if field.get('minItems') else ''}, each: {_type(field['items'])}"


def _bounds(field: dict[str, Any]) -> list[str]:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    found = [f"{word} {field[key]}" for key, word in words.items() if key in field]
    if "minimum" in field and "maximum" in field:
        found = [f"{field['minimum']} to {field['maximum']}"]
    return found + ([f"a multiple of {field['multipleOf']}"] if "multipleOf" in field else [])


def _without_titles(schema: Any) -> Any:
    """Removes the titles that pydantic makes of names. A parameter called `title` would stay."""
    if isinstance(schema, list):
        return [_without_titles(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _without_titles(value) for key, value in schema.items() if not (key == "title" and isinstance(value, str))}


def _json(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    main()

"""The files generated from the dataclasses are up to date, and every key has a description."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from ofa_core.profiles import document
from ofa_core.profiles.profile import DEFAULT
from ofa_core.profiles.sections import SECTIONS
from ofa_core.run.params import ParamsFile
from tests.conftest import REPO


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPO)


@pytest.mark.parametrize("path", ["docs/params.md", "docs/params.schema.json", "docs/profile.schema.json"])
def test_documents_are_not_stale(path: str) -> None:
    assert (REPO / path).read_text() == document.documents()[Path(path)], "stale: run `python -m ofa_core.profiles.document`"


def described(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every key of every dataclass in the schema, and its description."""
    for name, kind in schema["$defs"].items():
        for key, field in kind["properties"].items():
            yield f"{name}.{key}", field.get("description", "")


def test_every_key_is_described() -> None:
    schema = document.params_schema()
    short = [name for name, text in described(schema) if len(text.split()) < 2 or not text.endswith(".")]
    assert short == []
    assert all(kind["description"].endswith(".") for kind in schema["$defs"].values())
    text = document.document(schema)
    for name, kind in SECTIONS.items():
        assert f"\n## {name}\n" in text
        for field in fields(kind) if is_dataclass(kind) else ():
            assert f"| `{field.name}` |" in text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def resolve(schema: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    return schema["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field


def test_schemas_ask_for_what_ofa_check_asks_for() -> None:
    """A complete file requires all keys. A profile requires only those of entries that the user names."""
    schema = document.params_schema()
    profile = document.profile_schema(schema)
    content = ParamsFile(DEFAULT).content
    assert list(schema["properties"]) == schema["required"] == list(content)
    assert "required" not in profile
    for name, kind in SECTIONS.items():
        if is_dataclass(kind):
            section = resolve(schema, schema["properties"][name])
            assert set(section["properties"]) == set(section["required"]) == set(content[name])
            assert section["additionalProperties"] is False
            assert "required" not in resolve(profile, profile["properties"][name])
    assert set(profile["$defs"]["PhaseParams"]["required"]) == set(content["shrink"]["phases"]["all"])
    assert "required" not in profile["$defs"]["TargetParams"]
    assert schema["$defs"]["SpaceParams"]["properties"]["name"]["anyOf"][0]["enum"][0] == "ofa_mbv3"

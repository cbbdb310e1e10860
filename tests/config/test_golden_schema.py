"""Every key that a config file may hold: of each section and kind its keys with type, range, choices and default, in one golden file.

The keywords of parts are the keys of config files, and a saved ``config.json`` must be readable for ever: a renamed keyword, another
default or a narrower range shows up here. After a change that is meant: ``UPDATE_GOLDEN=1 pytest tests/config/test_golden_schema.py``.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gconv_gan.config.base import Config
from gconv_gan.config.schema import resolved
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig
from tests.config_members import members

GOLDEN = Path(__file__).parent / "golden_schema.json"
ROOTS: dict[str, type[Config]] = {"gan": GANRunConfig, "classifier": ClassifierRunConfig}


def kind_is_required(model: type[Config], key: str) -> bool:
    try:
        model.model_validate_json(json.dumps({key: {}}))
    except ValidationError as error:
        return any(details["loc"] == (key,) and details["type"] == "union_tag_not_found" for details in error.errors())
    return False


def bare(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON schema without titles and descriptions."""
    return {
        key: bare(value) if isinstance(value, dict) else [bare(v) if isinstance(v, dict) else v for v in value] if key == "anyOf" else value
        for key, value in schema.items()
        if key not in ("title", "description")
    }


def keys(model: type[Config], path: str) -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, schema) of every key; ``section{kind}`` stands for a section of that kind."""
    schema = model.model_json_schema(mode="validation")
    for name, field in model.model_fields.items():
        place, parts = f"{path}.{name}", [part for part in members(field.annotation) if issubclass(part, Config)]
        default = {"required": True} if field.is_required() else {"default": json.loads(model_default(model, name))}
        if not parts:
            yield place, {**bare(schema["properties"][name]), **default}
            continue
        kinds = [part.model_fields["kind"].default for part in parts if "kind" in part.model_fields]
        yield place, {"kinds": sorted(kinds), "kind_required": kind_is_required(model, name), **default} if kinds else default
        for part in parts:
            yield from keys(part, f"{place}{{{part.model_fields['kind'].default}}}" if "kind" in part.model_fields else place)


def model_default(model: type[Config], name: str) -> str:
    default = model.model_fields[name].get_default(call_default_factory=True)
    return default.model_dump_json() if isinstance(default, Config) else json.dumps(default)


@pytest.mark.parametrize("root", ROOTS)
def test_the_keys_of_a_config_file_are_the_golden_ones(root: str) -> None:
    found = dict(sorted(keys(resolved(ROOTS[root]), root)))
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    if os.environ.get("UPDATE_GOLDEN"):
        golden = dict(sorted({**{place: value for place, value in golden.items() if not place.startswith(f"{root}.")}, **found}.items()))
        lines = ",\n".join(f"{json.dumps(place)}: {json.dumps(value, sort_keys=True)}" for place, value in golden.items())
        GOLDEN.write_text("{\n" + lines + "\n}\n")
    assert {place: value for place, value in golden.items() if place.startswith(f"{root}.")} == found

"""The description of the API, checked against the handlers."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

import tests
from pipeline.server.api.app import create_app
from pipeline.server.api.openapi import describe_api
from pipeline.server.api.schemas import FILENAME_MAX_CHARS, IMAGE_FORMAT, KEY_FORMAT
from tests.server.serving import KEY, KEY_VARIABLE, TWO_LINES, ScriptedRecogniser, serving_api

EXAMPLES = 15
"""Per phase and operation; about 400 requests in all."""

TIMEOUT_S = 300


@pytest.mark.parametrize("key", [None, KEY], ids=["open", "with-a-key"])
async def test_schemathesis_finds_no_difference_between_description_and_server(tmp_path: Path, key: str | None) -> None:
    """All checks in all phases, against a real server and with real images."""
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(f'[auth.openapi.key]\napi_key = "{key}"\n' if key else "")
    recogniser = ScriptedRecogniser(TWO_LINES)
    async with serving_api(recogniser, key=key) as (url, _):
        process = await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(settings)),
            *("run", f"{url}/openapi.json", "--checks", "all", "--max-examples", str(EXAMPLES), "--no-color"),
            *("--generation-database", "none", "--request-timeout", "30"),
            cwd=tmp_path,
            env=os.environ
            | {
                "SCHEMATHESIS_HOOKS": "tests.server.schema_formats",
                "PYTHONPATH": str(Path(tests.__file__).parent.parent),
            }
            | ({KEY_VARIABLE: key} if key else {}),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(TIMEOUT_S):
            output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert b"No issues found" in output, output.decode()
    assert len(recogniser.seen) > EXAMPLES


def test_exactly_the_api_s_routes_are_described() -> None:
    """Except the page and its files."""
    routes = {
        (resource.canonical, route.method.lower())
        for resource in create_app(ScriptedRecogniser()).router.resources()
        for route in resource
        if route.method != "HEAD" and resource.canonical != "/" and not resource.canonical.startswith("/page")
    }
    paths = describe_api(open_to_all=True)["paths"]
    assert {(path, method) for path, methods in paths.items() for method in methods} == routes


async def test_the_description_needs_no_key_and_says_whether_calls_do() -> None:
    async with serving_api(ScriptedRecogniser()) as (_, call):
        opened = await call(b"", "/openapi.json", "GET")
    async with serving_api(ScriptedRecogniser(), key=KEY) as (_, call):
        closed = await call(b"", "/openapi.json", "GET")
    assert opened.status == closed.status == 200
    assert opened.reply["openapi"] == "3.1.0"
    assert {} in opened.reply["security"]
    assert {} not in closed.reply["security"]


def test_every_reference_resolves() -> None:
    """Code generators fail on an unresolved reference."""
    description = describe_api(open_to_all=False)
    references = [
        line.partition('"$ref": "')[2].rstrip('",')
        for line in json.dumps(description, indent=1).splitlines()
        if '"$ref"' in line
    ]
    assert references
    for reference in references:
        place = description
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]


def test_the_described_request_has_the_bounds_of_the_contract() -> None:
    schemas = describe_api(open_to_all=False)["components"]["schemas"]
    document, filename = schemas["Document"], schemas["RecognitionRequest"]["properties"]["filename"]
    assert document["required"] == ["type", "image_url"]
    assert document["properties"]["type"]["const"] == "image_url"
    assert document["properties"]["image_url"].items() >= {"format": IMAGE_FORMAT, "minLength": 1}.items()
    assert "at most 10 MiB; from 100x100 to 4000x4000 px" in document["properties"]["image_url"]["description"]
    assert {"type": "string", "maxLength": FILENAME_MAX_CHARS} in filename["anyOf"]
    assert schemas["Credentials"]["properties"]["key"]["format"] == KEY_FORMAT


@pytest.mark.parametrize("name", ["TextReply", "PositionsReply", "Line", "Usage", "Health", "ErrorReply"])
def test_every_field_of_a_described_reply_is_required(name: str) -> None:
    schema = describe_api(open_to_all=False)["components"]["schemas"][name]
    assert schema["required"] == list(schema["properties"])


def test_every_field_is_described_unless_its_name_says_it() -> None:
    schemas = describe_api(open_to_all=False)["components"]["schemas"]
    undescribed = {
        (name, field)
        for name, schema in schemas.items()
        for field, described in schema["properties"].items()
        if "description" not in described and "$ref" not in described
    }
    assert undescribed == {
        ("TextReply", "format"),
        ("PositionsReply", "format"),
        ("Line", "text"),
        ("Line", "confidence"),
        ("Credentials", "key"),
    }

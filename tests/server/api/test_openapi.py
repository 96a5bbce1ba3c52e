"""The description of the API, checked against the handlers."""

import asyncio
import base64
import json
import os
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

import tests
from pipeline.server.api.app import create_app
from pipeline.server.api.openapi import describe_api
from pipeline.server.api.schemas import (
    EXAMPLE_IMAGE,
    FILENAME_MAX_CHARS,
    IMAGE_FORMAT,
    KEY_FORMAT,
    image_url_pattern,
)
from tests.rendering import encode
from tests.server.bombs import gif, gif_frame
from tests.server.serving import (
    IMAGE,
    KEY,
    KEY_VARIABLE,
    TWO_LINES,
    ScriptedRecogniser,
    request_body,
    serving_api,
)

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


@pytest.mark.parametrize(
    "name", ["TextReply", "PositionsReply", "Line", "Quality", "Confidence", "Usage", "Health", "ErrorReply"]
)
def test_every_field_of_a_described_reply_is_required(name: str) -> None:
    """Except the detail of the health, which is there when something is wrong."""
    schema = describe_api(open_to_all=False)["components"]["schemas"][name]
    assert schema["required"] == [field for field in schema["properties"] if (name, field) != ("Health", "detail")]


def base64_of(image_format: str) -> str:
    """Return the base64 of the smallest image of a format."""
    return base64.b64encode(encode(Image.new("L", (100, 100), "white"), image_format)).decode()


PNG = base64_of("PNG")

VALID = {
    **{f"raw-{name.lower()}": base64_of(name) for name in ("JPEG", "PNG", "GIF", "WEBP")},
    "gif-87a": base64.b64encode(gif(100, 100, gif_frame(0, 0, 100, 100)).replace(b"89a", b"87a")).decode(),
    "data-url": f"data:image/png;base64,{PNG}",
    "data-url-in-capitals": f"DATA:image/png;charset=binary;BASE64,{PNG}",
    "data-url-without-a-type": f"data:;base64,{PNG}",
    "lines": f"\r\n {PNG[:1]}\n{PNG[1:20]}\t {PNG[20:]}\r\n",
    "data-url-in-lines": f" data:image/png;base64,\n{PNG[:40]}\n{PNG[40:]}\n",
    "example": EXAMPLE_IMAGE,
    "ten-mib": base64.b64encode(IMAGE + bytes(10 * 1024 * 1024 - len(IMAGE))).decode(),
}
INVALID = {
    **{f"raw-{text}": text for text in ("0", "QQ", "QQ==", "QUJD", "====", "0" * 400, "A" * 1000, PNG[:20])},
    "empty": "",
    "space": " \n",
    "no-break-space": f"\xa0{PNG}",
    "ideographic-space": f"{PNG}\u3000",
    "no-base64": "data:image/png,plain",
    "no-data": "data:image/png;base64,",
    "zero": "data:image/png;base64,0",
    "no-comma": f"data:image/png;base64{PNG}",
    "pdf": base64.b64encode(b"%PDF-1.7".ljust(300)).decode(),
    "tiff": base64.b64encode(encode(Image.new("L", (100, 100)), "TIFF")).decode(),
    "padding-in-the-middle": f"{PNG[:40]}={PNG[40:]}",
    "url-safe-alphabet": f"{PNG[:40]}-_{PNG[42:]}",
    "file": "file:///etc/passwd",
    "ftp": "ftp://example.org/a.png",
    "text": "an image",
}


@pytest.mark.parametrize("image_url", VALID.values(), ids=VALID)
async def test_what_the_described_pattern_matches_is_accepted(image_url: str) -> None:
    assert await tell_apart(image_url) == (True, 200)


@pytest.mark.parametrize("image_url", INVALID.values(), ids=INVALID)
async def test_what_the_described_pattern_does_not_match_is_rejected(image_url: str) -> None:
    """It was described as a string of at least one character."""
    assert await tell_apart(image_url) == (False, 400)


async def tell_apart(image_url: str) -> tuple[bool, int]:
    """Return whether the served description accepts the text, and the server's status."""
    async with serving_api(ScriptedRecogniser()) as (_, call):
        description = (await call(b"", "/openapi.json", "GET")).reply
        document = {"type": "image_url", "image_url": image_url}
        status = (await call(request_body(document=document))).status
    described = description["components"]["schemas"]["Document"]["properties"]["image_url"]
    is_valid = len(image_url) >= described["minLength"] and re.search(described["pattern"], image_url) is not None
    return is_valid, status


@pytest.mark.parametrize("url", ["https://example.org/a.png", " HTTP://example.org"])
def test_a_url_is_described_where_the_server_fetches_urls(url: str) -> None:
    assert re.search(image_url_pattern(fetches_urls=True), url)
    assert not re.search(image_url_pattern(fetches_urls=False), url)


async def test_the_described_pattern_works_in_javascript(tmp_path: Path) -> None:
    """For an image of ten MiB: where a group is repeated, the stack of V8 overflows."""
    script = (
        "const [pattern, good, bad] = JSON.parse(require('fs').readFileSync(0, 'utf-8'));"
        "const match = new RegExp(pattern, 'u');"
        "console.log(JSON.stringify([good.map((text) => match.test(text)), bad.map((text) => match.test(text))]));"
    )
    sent = json.dumps([image_url_pattern(fetches_urls=True), [*VALID.values()], [*INVALID.values()]])
    process = await asyncio.create_subprocess_exec(
        "node", "-e", script, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=tmp_path
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate(sent.encode())
    good, bad = json.loads(output)
    assert set(good) == {True}
    assert set(bad) == {False}


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

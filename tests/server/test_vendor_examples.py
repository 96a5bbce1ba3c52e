"""The vendor's three examples run against the real server with only the host and the key replaced."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine_server import EngineServer
from tests.rendering import render

pytestmark = pytest.mark.engine

EXAMPLES = Path(__file__).parent / "examples"


@pytest.mark.parametrize(
    ("example", "command"),
    [
        pytest.param("curl.sh", ["bash"], id="curl"),
        pytest.param("fetch.mjs", ["node"], id="javascript-fetch"),
        pytest.param("requests_example.txt", [sys.executable], id="python-requests"),
    ],
)
def test_the_vendor_s_example_works_against_this_server(
    engine_server: EngineServer, tmp_path: Path, example: str, command: list[str]
) -> None:
    render("The vendor's example", "供应商的示例", size_px=(900, 300)).save(tmp_path / "document.jpg", quality=95)
    script = (EXAMPLES / example).read_text("utf-8")
    assert "https://llmocr.com/api/text-recognition" in script
    assert "YOUR_API_KEY" in script
    script = script.replace("https://llmocr.com", engine_server.base_url).replace("YOUR_API_KEY", engine_server.key)
    (tmp_path / example).write_text(script, "utf-8")
    done = subprocess.run([*command, example], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    reply = json.loads(done.stdout)
    assert sorted(reply) == ["content", "filename", "format", "id", "payload", "timestamp"]
    assert reply["content"] == "The vendor's example\n供应商的示例"
    assert reply["filename"] == "document.jpg"
    assert reply["payload"] == f"{engine_server.base_url}/api/text-recognition?key=***"

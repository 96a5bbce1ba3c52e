"""The fixture `engine_server`: one `pagemill serve` with the real engine for a whole test session.

Loading the engine takes seconds, so the tests of `tests/engine` and `tests/server` share one server.
"""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests

from pipeline.convert.command import child_environ


@dataclass(frozen=True, slots=True)
class EngineServer:
    """A running `pagemill serve` with the real engine.

    Attributes:
        base_url: The URL that the server printed.
        key: The only API key that the server accepts.
        process: The server's process; the worker processes are its children.
    """

    base_url: str
    key: str
    process: "subprocess.Popen[bytes]"

    def post(self, image: bytes) -> requests.Response:
        """Send an image to the text endpoint and return the response."""
        url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
        return requests.post(
            f"{self.base_url}/api/text-recognition",
            params={"key": self.key},
            json={"document": {"type": "image_url", "image_url": url}, "filename": "page.png"},
            timeout=120,
        )

    def read(self, image: bytes) -> str:
        """Return the text of an image."""
        response = self.post(image)
        assert response.status_code == 200, response.text
        content = response.json()["content"]
        assert isinstance(content, str)
        return content


def start_engine_server(key: str, *options: str) -> EngineServer:
    """Start a server that exits when its stdin closes; return once the server has printed its URL."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "pipeline", "serve", "--port", "0", "--exit-with-parent", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environ(os.environ) | {"PAGEMILL_OPERATOR_KEY": key},
    )
    assert process.stdout is not None
    return EngineServer(process.stdout.readline().decode().strip(), key, process)


def stop_engine_server(server: EngineServer) -> int:
    """Close the server's stdin, as the end of its parent would, and return the exit status."""
    assert server.process.stdin is not None
    assert server.process.stdout is not None
    server.process.stdin.close()
    server.process.stdout.close()
    return server.process.wait(timeout=20)


@pytest.fixture(scope="session")
def engine_server() -> Iterator[EngineServer]:
    """Run the shared server, with one worker."""
    server = start_engine_server("the-key-of-the-test-session", "--workers", "1")
    assert server.base_url.startswith("http://127.0.0.1:")
    yield server
    stop_engine_server(server)

"""One real server for all tests that need the engine, because loading the engine takes seconds."""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests

from pipeline.convert.processes import child_environ


@dataclass(frozen=True, slots=True)
class EngineServer:
    """A real `pagemill serve` with the real engine.

    Attributes:
        base_url: Its base URL.
        key: The only key that it accepts.
        process: The server process; the workers are its children.
    """

    base_url: str
    key: str
    process: "subprocess.Popen[bytes]"

    def post(self, image: bytes) -> requests.Response:
        """Send an image; return the response."""
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
    """Start a server that ends at the end of its stdin; return when it accepts requests."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "pipeline", "serve", "--port", "0", "--exit-with-parent", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environ(os.environ) | {"PAGEMILL_OPERATOR_KEY": key},
    )
    assert process.stdout is not None
    return EngineServer(process.stdout.readline().decode().strip(), key, process)


def stop_engine_server(server: EngineServer) -> int:
    """Close the server's stdin, as the exit of its parent would; return its exit status."""
    assert server.process.stdin is not None
    assert server.process.stdout is not None
    server.process.stdin.close()
    server.process.stdout.close()
    return server.process.wait(timeout=20)


@pytest.fixture(scope="session")
def engine_server() -> Iterator[EngineServer]:
    """The shared server, with one worker."""
    server = start_engine_server("session-key", "--workers", "1")
    assert server.base_url.startswith("http://127.0.0.1:")
    yield server
    stop_engine_server(server)

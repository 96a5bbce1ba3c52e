"""Where a request comes from, by its Host header."""

import asyncio
import socket
from pathlib import Path

import pytest

from pipeline.server.access.origins import is_loopback_host
from pipeline.wire import TEXT_RECOGNITION_PATH
from tests.server import attackers
from tests.server.keyed import keyed_server
from tests.server.serving import port_of, request_body


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        *((host, True) for host in ("localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.53:80", "[::1]:8080")),
        *((f"{host}evil.example", False) for host in ("localhost.", "127.0.0.1.", "localhost,", "localhost:80@")),
        *((f"evil.example{host}", False) for host in ("@localhost", "/localhost", "#localhost", "?@localhost")),
        *((f"localhost{host}", False) for host in ("/x", "#evil", "?x", "\\evil", ":80:80", ":port", ":999999")),
        *((host, False) for host in ("", " ", "0.0.0.0", "[::]", "127.1", "a:b@localhost", "[localhost", "192.0.2.1")),
    ],
)
def test_only_a_plain_loopback_host_is_local(host: str, is_local: bool) -> None:  # noqa: FBT001
    assert is_loopback_host(host) is is_local


async def test_a_request_without_a_host_is_answered_without_a_lookup_of_this_machine_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lookup would block the event loop."""
    monkeypatch.setattr(socket, "getfqdn", lambda: pytest.fail("looked up"))
    body = request_body()
    async with keyed_server(tmp_path / "keys") as client, attackers.connected(port_of(client.url)) as (reader, writer):
        writer.write(f"POST {TEXT_RECOGNITION_PATH} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        async with asyncio.timeout(20):
            response = await reader.read()
        assert b" 200 " in response.splitlines()[0]
        assert f'"payload":"{client.url}{TEXT_RECOGNITION_PATH}"'.encode() in response

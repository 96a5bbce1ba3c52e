"""Signing in and out, and the usage of the month, over real connections."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import orjson
import pytest

from pipeline.server.access.authentication import SESSION_COOKIE
from pipeline.server.access.sessions import IDLE_S
from pipeline.server.api import account
from pipeline.server.http.requests import read_body
from pipeline.wire import parse_status_text
from tests.clocks import Clock
from tests.server.keyed import JSON, keyed_server, make_key, session_of, used
from tests.server.serving import Response, port_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the key store."""
    return tmp_path / "keys.sqlite3"


async def test_a_session_authenticates_calls_and_charges_its_key(path: Path) -> None:
    secret, key = make_key(path)
    async with keyed_server(path) as client:
        signed_in = await client.sign_in(secret)
        assert (signed_in.status, signed_in.body) == (204, b"")
        response = await client.recognise(headers=session_of(signed_in))
        assert response.status == 200
        assert response.reply["payload"].endswith("/api/text-recognition")
    assert used(path, key) == 1


async def test_the_cookie_is_http_only_same_site_and_over_https_secure(path: Path) -> None:
    secret, _ = make_key(path)
    async with keyed_server(path) as client:
        plain, encrypted = await client.sign_in(secret), await client.sign_in(secret, {"X-Forwarded-Proto": "https"})
    assert _attributes(plain) == ["HttpOnly", "Path=/", "SameSite=Strict"]
    assert _attributes(encrypted) == ["HttpOnly", "Path=/", "SameSite=Strict", "Secure"]
    assert secret not in plain.headers["Set-Cookie"]


async def test_the_usage_says_whether_a_session_authenticated_the_request(path: Path) -> None:
    """The page cannot read its cookie, and shows "Sign out" by this."""
    secret, _ = make_key(path)
    async with keyed_server(path) as client:
        session = session_of(await client.sign_in(secret))
        assert (await client.usage(headers=session)).reply["session"]
        assert not (await client.usage(secret, headers=session)).reply["session"]
    async with keyed_server(path.with_name("none")) as client:
        assert (await client.sign_in("anything")).status == 204
        assert not (await client.usage(headers=session)).reply["session"]


async def test_signing_out_ends_the_session_and_deletes_the_cookie(path: Path) -> None:
    secret, _ = make_key(path)
    async with keyed_server(path) as client:
        session = session_of(await client.sign_in(secret))
        signed_out = await client.call("DELETE", "/session", headers=session)
        assert signed_out.status == 204
        assert f'{SESSION_COOKIE}=""' in signed_out.headers["Set-Cookie"]
        assert "Max-Age=0" in signed_out.headers["Set-Cookie"]
        assert (await client.recognise(headers=session)).status == 401
        assert (await client.call("DELETE", "/session")).status == 204


async def test_an_idle_session_is_401(path: Path) -> None:
    secret, _ = make_key(path)
    clock = Clock()
    async with keyed_server(path, clock=clock) as client:
        session = session_of(await client.sign_in(secret))
        clock.uptime_s += IDLE_S - 1
        assert (await client.usage(headers=session)).status == 200
        clock.uptime_s += IDLE_S
        assert (await client.usage(headers=session)).status == 401


async def test_a_key_in_the_query_takes_precedence_over_the_session(path: Path) -> None:
    """Also a wrong key."""
    secret, key = make_key(path)
    other_secret, other = make_key(path)
    async with keyed_server(path) as client:
        session = session_of(await client.sign_in(secret))
        assert (await client.recognise(other_secret, headers=session)).status == 200
        assert (await client.recognise("wrong", headers=session)).status == 401
    assert (used(path, key), used(path, other)) == (0, 1)


async def test_another_site_s_page_cannot_use_the_session(path: Path) -> None:
    """Where the browser sends no header about the page, the content type must be JSON."""
    secret, key = make_key(path)
    async with keyed_server(path) as client:
        session = session_of(await client.sign_in(secret))
        for forged in (
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "http://evil.example"},
            {"Content-Type": "text/plain"},
        ):
            assert (await client.call("POST", "/api/text-recognition", b"{}", session | forged)).status == 403
        assert (await client.call("DELETE", "/session", headers=session | {"Origin": "null"})).status == 403
        assert (await client.sign_in(secret, {"Sec-Fetch-Site": "cross-site"})).status == 403
        assert (
            await client.recognise(headers=session | {"Origin": client.url, "Sec-Fetch-Site": "same-origin"})
        ).status == 200
        assert (await client.recognise(headers=session | {"Origin": client.url})).status == 200
    assert used(path, key) == 2


async def test_the_usage_has_the_plan_the_month_and_its_calls(path: Path) -> None:
    secret, _ = make_key(path, "basic")
    ultra_secret, _ = make_key(path, "ultra")
    async with keyed_server(path) as client:
        await client.recognise(secret)
        response = await client.usage(secret)
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.reply == {
            "tier": "basic",
            "month": "2026-11",
            "used": 1,
            "quota": 1000,
            "resets": "2026-12-01T00:00:00Z",
            "session": False,
        }
        assert (await client.usage(ultra_secret)).reply["quota"] is None
        assert (await client.usage()).status == 401


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"{", "not valid JSON", id="torn"),
        pytest.param(b"\xff", "not valid JSON", id="not-utf-8"),
        pytest.param(b"{}", "missing required field `key`", id="no-key"),
        pytest.param(b'{"key": 7}', r"$.key", id="a-number"),
        pytest.param(b"[" * 2000, "not valid JSON|Expected `object`", id="deep"),
        pytest.param(b'"' + b"x" * 5000 + b'"', "4096 bytes at most", id="too-large"),
    ],
)
async def test_credentials_that_are_not_the_documented_object_are_400(path: Path, body: bytes, message: str) -> None:
    make_key(path)
    async with keyed_server(path) as client:
        response = await client.call("POST", "/session", body, JSON)
    assert response.status == 400
    assert any(text in parse_status_text(response.body) for text in message.split("|"))


async def test_credentials_without_a_content_length_are_400(path: Path) -> None:
    """The caller is not authenticated yet."""
    async with keyed_server(path) as client, client.session.post(client.url + "/session", data=_chunks()) as response:
        assert response.status == 400
        assert "must announce its length" in parse_status_text(await response.read())


async def test_credentials_that_do_not_arrive_in_time_are_400(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_key(path)
    monkeypatch.setattr(account, "read_body", partial(read_body, timeout_s=0.05))
    async with keyed_server(path) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(client.url))
        writer.write(b"POST /session HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        async with asyncio.timeout(20):
            assert await reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"
        writer.close()
        await writer.wait_closed()


async def _chunks() -> AsyncIterator[bytes]:
    yield b'{"key": '
    yield b'"x"}'


def _attributes(response: Response) -> list[str]:
    return sorted(part.strip() for part in response.headers["Set-Cookie"].split(";")[1:])


async def test_credentials_are_bounded_also_after_decompression(path: Path) -> None:
    body = zlib.compress(orjson.dumps({"key": "x" * 100_000}))
    assert len(body) < 1000
    async with keyed_server(path) as client:
        response = await client.call("POST", "/session", body, {**JSON, "Content-Encoding": "deflate"})
        assert response.status == 400
        assert (await client.sign_in("x" * 5000)).status == 400


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", "192.0.2.1", "[", ""])
async def test_an_open_server_accepts_only_loopback_names_as_host(path: Path, host: str) -> None:
    """Against DNS rebinding: a site whose name resolves to 127.0.0.1."""
    async with keyed_server(path, allow_anonymous=True) as client:
        assert (await client.recognise()).status == 200
        assert (await client.recognise(headers={"Host": host})).status == 403
        assert (await client.usage(headers={"Host": host})).status == 403
        secret, _ = make_key(path)
        assert (await client.usage(secret, headers={"Host": "archive.example"})).status == 200

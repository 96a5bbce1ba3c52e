"""Signing in and out, and the month's usage, over real connections."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import orjson
import pytest

from pipeline.server.access.access import COOKIE
from pipeline.server.access.sessions import IDLE_S
from pipeline.server.api import account
from pipeline.server.http.requests import read_body
from pipeline.wire import parse_status_text
from tests.clocks import Clock
from tests.server.keyed import JSON, keyed_server, make_key, session_of, used
from tests.server.serving import Answer, port_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store is."""
    return tmp_path / "keys.sqlite3"


async def test_a_session_calls_without_the_key(path: Path) -> None:
    """And is charged to it."""
    secret, key = make_key(path)
    async with keyed_server(path) as caller:
        signed_in = await caller.sign_in(secret)
        assert (signed_in.status, signed_in.body) == (204, b"")
        answer = await caller.recognise(headers=session_of(signed_in))
        assert answer.status == 200
        assert answer.reply["payload"].endswith("/api/text-recognition")
    assert used(path, key) == 1


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(path: Path) -> None:
    """And of plain http, where https is spoken."""
    secret, _ = make_key(path)
    async with keyed_server(path) as caller:
        plain, encrypted = await caller.sign_in(secret), await caller.sign_in(secret, {"X-Forwarded-Proto": "https"})
    assert _attributes(plain) == ["HttpOnly", "Path=/", "SameSite=Strict"]
    assert _attributes(encrypted) == ["HttpOnly", "Path=/", "SameSite=Strict", "Secure"]
    assert secret not in plain.headers["Set-Cookie"]


async def test_the_usage_tells_whether_there_is_a_session_to_end(path: Path) -> None:
    """The page cannot see its cookie; a key that is shown, or a session that is over, is none."""
    secret, _ = make_key(path)
    async with keyed_server(path) as caller:
        session = session_of(await caller.sign_in(secret))
        assert (await caller.usage(headers=session)).reply["session"]
        assert not (await caller.usage(secret, headers=session)).reply["session"]
    async with keyed_server(path.with_name("none")) as caller:
        assert (await caller.sign_in("anything")).status == 204
        assert not (await caller.usage(headers=session)).reply["session"]


async def test_after_signing_out_the_token_is_worth_nothing(path: Path) -> None:
    """The browser drops the cookie, and the server the session."""
    secret, _ = make_key(path)
    async with keyed_server(path) as caller:
        session = session_of(await caller.sign_in(secret))
        signed_out = await caller.call("DELETE", "/session", headers=session)
        assert signed_out.status == 204
        assert f'{COOKIE}=""' in signed_out.headers["Set-Cookie"]
        assert "Max-Age=0" in signed_out.headers["Set-Cookie"]
        assert (await caller.recognise(headers=session)).status == 401
        assert (await caller.call("DELETE", "/session")).status == 204


async def test_an_idle_session_is_over(path: Path) -> None:
    """The next call needs the key again."""
    secret, _ = make_key(path)
    clock = Clock()
    async with keyed_server(path, clock=clock) as caller:
        session = session_of(await caller.sign_in(secret))
        clock.uptime_s += IDLE_S - 1
        assert (await caller.usage(headers=session)).status == 200
        clock.uptime_s += IDLE_S
        assert (await caller.usage(headers=session)).status == 401


async def test_a_key_that_is_shown_counts_before_the_session(path: Path) -> None:
    """A wrong one is not made good by a cookie."""
    secret, key = make_key(path)
    other_secret, other = make_key(path)
    async with keyed_server(path) as caller:
        session = session_of(await caller.sign_in(secret))
        assert (await caller.recognise(other_secret, headers=session)).status == 200
        assert (await caller.recognise("wrong", headers=session)).status == 401
    assert (used(path, key), used(path, other)) == (0, 1)


async def test_another_site_s_page_cannot_use_the_session(path: Path) -> None:
    """Neither to call nor to end it; where the browser says nothing, the content type has to be JSON."""
    secret, key = make_key(path)
    async with keyed_server(path) as caller:
        session = session_of(await caller.sign_in(secret))
        for forged in (
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "http://evil.example"},
            {"Content-Type": "text/plain"},
        ):
            assert (await caller.call("POST", "/api/text-recognition", b"{}", session | forged)).status == 403
        assert (await caller.call("DELETE", "/session", headers=session | {"Origin": "null"})).status == 403
        assert (await caller.sign_in(secret, {"Sec-Fetch-Site": "cross-site"})).status == 403
        assert (
            await caller.recognise(headers=session | {"Origin": caller.url, "Sec-Fetch-Site": "same-origin"})
        ).status == 200
        assert (await caller.recognise(headers=session | {"Origin": caller.url})).status == 200
    assert used(path, key) == 2


async def test_the_usage_tells_the_plan_and_the_month(path: Path) -> None:
    """The unlimited tier has no quota."""
    secret, _ = make_key(path, "basic")
    ultra_secret, _ = make_key(path, "ultra")
    async with keyed_server(path) as caller:
        await caller.recognise(secret)
        answer = await caller.usage(secret)
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.reply == {
            "tier": "basic",
            "month": "2026-11",
            "used": 1,
            "quota": 1000,
            "resets": "2026-12-01T00:00:00Z",
            "session": False,
        }
        assert (await caller.usage(ultra_secret)).reply["quota"] is None
        assert (await caller.usage()).status == 401


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(b"{", "not valid JSON", id="torn"),
        pytest.param(b"\xff", "not valid JSON", id="not-utf-8"),
        pytest.param(b"{}", "missing required field `key`", id="no-key"),
        pytest.param(b'{"key": 7}', r"$.key", id="a-number"),
        pytest.param(b"[" * 2000, "not valid JSON|Expected `object`", id="deep"),
        pytest.param(b'"' + b"x" * 5000 + b'"', "4096 bytes at most", id="too-large"),
    ],
)
async def test_a_body_that_is_no_key_is_refused(path: Path, body: bytes, message: str) -> None:
    """The reply says what is wrong with it."""
    make_key(path)
    async with keyed_server(path) as caller:
        answer = await caller.call("POST", "/session", body, JSON)
    assert answer.status == 400
    assert any(text in parse_status_text(answer.body) for text in message.split("|"))


async def test_who_shows_no_key_yet_cannot_send_without_end(path: Path) -> None:
    """A body whose length is not announced is not read."""
    async with keyed_server(path) as caller, caller.session.post(caller.url + "/session", data=_chunks()) as response:
        assert response.status == 400
        assert "must announce its length" in parse_status_text(await response.read())


async def test_who_sends_slowly_is_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is that of all bodies."""
    make_key(path)
    monkeypatch.setattr(account, "read_body", partial(read_body, deadline_s=0.05))
    async with keyed_server(path) as caller:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(caller.url))
        writer.write(b"POST /session HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        async with asyncio.timeout(20):
            assert await reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"
        writer.close()
        await writer.wait_closed()


async def _chunks() -> AsyncIterator[bytes]:
    yield b'{"key": '
    yield b'"x"}'


def _attributes(answer: Answer) -> list[str]:
    return sorted(part.strip() for part in answer.headers["Set-Cookie"].split(";")[1:])


async def test_a_session_s_body_is_small_also_once_it_is_decompressed(path: Path) -> None:
    """Who has no key yet cannot have megabytes kept."""
    body = zlib.compress(orjson.dumps({"key": "x" * 100_000}))
    assert len(body) < 1000
    async with keyed_server(path) as caller:
        answer = await caller.call("POST", "/session", body, {**JSON, "Content-Encoding": "deflate"})
        assert answer.status == 400
        assert (await caller.sign_in("x" * 5000)).status == 400


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", "192.0.2.1", "[", ""])
async def test_an_open_server_is_called_by_the_name_of_this_machine_alone(path: Path, host: str) -> None:
    """A site whose name was made to mean this machine reads nothing."""
    async with keyed_server(path, anyone=True) as caller:
        assert (await caller.recognise()).status == 200
        assert (await caller.recognise(headers={"Host": host})).status == 403
        assert (await caller.usage(headers={"Host": host})).status == 403
        secret, _ = make_key(path)
        assert (await caller.usage(secret, headers={"Host": "archive.example"})).status == 200

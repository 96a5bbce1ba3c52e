"""Keys and quotas shared by real processes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import anyio
import pytest
from aiohttp import ClientError, ClientSession, DummyCookieJar, TCPConnector

from pipeline.config import ServeConfig
from pipeline.convert.command import child_environ
from pipeline.errors import UsageError
from pipeline.server.access.keyring import Keyring
from pipeline.server.serve import serve
from tests.server.keyed import Client, keyed_server, make_key, revoke, used
from tests.server.scripted_server import HANGS_FROM_BYTES
from tests.server.serving import IMAGE, ScriptedRecogniser

DEADLINE_S = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the key store."""
    return tmp_path / "keys.sqlite3"


@asynccontextmanager
async def server_process(path: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Client]]:
    """Start a server in a process of its own; it ends with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.server.scripted_server",
        str(path),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=child_environ(os.environ),
    )
    assert process.stdin is not None
    try:
        url = await _read_line(process)
        async with ClientSession(connector=TCPConnector(limit=0), cookie_jar=DummyCookieJar()) as session:
            yield process, Client(url, session)
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), DEADLINE_S)


async def _read_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), DEADLINE_S)).decode().strip()


async def test_two_processes_give_the_last_call_of_the_month_to_one_of_200(path: Path) -> None:
    secret, key = make_key(path, quota=1)
    async with server_process(path) as (_, one), server_process(path) as (_, other):
        responses = await asyncio.gather(*((one, other)[number % 2].recognise(secret) for number in range(200)))
    found = [response.status for response in responses]
    assert (found.count(200), found.count(403)) == (1, 199)
    assert used(path, key) == 1


async def test_a_killed_server_has_counted_the_call_in_flight(path: Path) -> None:
    """The count is on disk before the recognition begins."""
    secret, key = make_key(path, quota=1)
    async with server_process(path) as (process, client):
        call = asyncio.create_task(client.recognise(secret, IMAGE + bytes(HANGS_FROM_BYTES)))
        assert await _read_line(process) == "recognising"
        process.kill()
        with pytest.raises(ClientError):
            await call
    assert used(path, key) == 1
    async with keyed_server(path) as client:
        assert (await client.recognise(secret)).status == 403


async def test_beyond_loopback_a_key_must_exist_before_the_server_starts(path: Path) -> None:
    """A key in the store suffices, as one in the environment does."""
    stop, announced = anyio.Event(), list[str]()
    config = ServeConfig(host="0.0.0.0", port=0, keys=path)
    stop.set()
    async with Keyring(path) as keyring:
        with pytest.raises(UsageError, match="needs a key: set PAGEMILL_OPERATOR_KEY, or run: pagemill serve keys add"):
            await serve(config, key=None, stop=stop, ready=announced.append, keyring=keyring)
        make_key(path)
        recogniser = nullcontext(ScriptedRecogniser())
        await serve(config, key=None, stop=stop, ready=announced.append, recogniser=recogniser, keyring=keyring)


async def test_a_running_server_accepts_a_new_key_and_rejects_a_revoked_one_at_once(path: Path) -> None:
    async with server_process(path) as (_, client):
        assert (await client.recognise()).status == 200
        secret, key = make_key(path)
        assert (await client.recognise()).status == 401
        assert (await client.recognise(secret)).status == 200
        revoke(path, key)
        assert (await client.recognise(secret)).status == 401

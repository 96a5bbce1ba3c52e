"""Keys and quotas among real processes."""

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
from pipeline.convert.processes import child_environ
from pipeline.errors import UsageError
from pipeline.server.access.keyring import Keyring
from pipeline.server.serve import serve
from tests.server.keyed import Caller, keyed_server, make_key, revoke, used
from tests.server.scripted_server import HANGS_FROM_BYTES
from tests.server.serving import IMAGE, ScriptedRecogniser

DEADLINE_S = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store is."""
    return tmp_path / "keys.sqlite3"


@asynccontextmanager
async def server_process(path: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Caller]]:
    """Start a server of its own; it ends with the block."""
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
            yield process, Caller(url, session)
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), DEADLINE_S)


async def _read_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), DEADLINE_S)).decode().strip()


async def test_two_processes_give_the_last_call_of_the_month_to_one_of_200(path: Path) -> None:
    """A hundred calls at each, all at once."""
    secret, key = make_key(path, quota=1)
    async with server_process(path) as (_, one), server_process(path) as (_, other):
        answers = await asyncio.gather(*((one, other)[number % 2].recognise(secret) for number in range(200)))
    found = [answer.status for answer in answers]
    assert (found.count(200), found.count(403)) == (1, 199)
    assert used(path, key) == 1


async def test_a_server_that_is_killed_forgets_no_call(path: Path) -> None:
    """The count is on the disk before the recognition begins; the next server goes on from it."""
    secret, key = make_key(path, quota=1)
    async with server_process(path) as (process, caller):
        call = asyncio.create_task(caller.recognise(secret, IMAGE + bytes(HANGS_FROM_BYTES)))
        assert await _read_line(process) == "recognising"
        process.kill()
        with pytest.raises(ClientError):
            await call
    assert used(path, key) == 1
    async with keyed_server(path) as caller:
        assert (await caller.recognise(secret)).status == 403


async def test_a_server_that_others_reach_needs_a_key_to_be_made(path: Path) -> None:
    """One in the store is as good as one in the environment."""
    stop, announced = anyio.Event(), list[str]()
    config = ServeConfig(host="0.0.0.0", port=0, keys=path)
    stop.set()
    async with Keyring(path) as keyring:
        with pytest.raises(UsageError, match="needs a key: set PAGEMILL_OPERATOR_KEY, or run: pagemill serve keys add"):
            await serve(config, key=None, stop=stop, ready=announced.append, keyring=keyring)
        make_key(path)
        recogniser = nullcontext(ScriptedRecogniser())
        await serve(config, key=None, stop=stop, ready=announced.append, recogniser=recogniser, keyring=keyring)


async def test_a_key_is_made_and_revoked_under_a_running_server(path: Path) -> None:
    """Nothing is restarted, and nothing is waited for."""
    async with server_process(path) as (_, caller):
        assert (await caller.recognise()).status == 200
        secret, key = make_key(path)
        assert (await caller.recognise()).status == 401
        assert (await caller.recognise(secret)).status == 200
        revoke(path, key)
        assert (await caller.recognise(secret)).status == 401

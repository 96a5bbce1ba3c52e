"""A bad network: a proxy that delays, throttles, resets, stalls, half-closes and refuses connections."""

import asyncio
import random
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from urllib.parse import urlsplit

from tests.faults.raw_server import RESET

_BLOCK_BYTES: Final = 4096


class Mishap(Enum):
    """What befalls a connection after so many bytes."""

    RESET = auto()
    STALL = auto()
    """Nothing more is passed on, and nothing is closed."""
    HALF_CLOSE = auto()
    """The one who was being written to sees the end; the other way stays open."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the network is.

    Attributes:
        latency_s: Of each block, one way.
        jitter_s: Uniform on top of that.
        up_bytes_per_s: Bandwidth towards the server; None is any.
        down_bytes_per_s: Bandwidth towards the client; None is any.
        mishaps: What may befall a connection.
        share: Of the connections that meet with one, in [0, 1].
        within_bytes: It happens after so many bytes at most, counted in both directions.
        open_s: How long connections are accepted, in turn with `shut_s`; 0 is always.
        shut_s: How long they are refused, and those that stood are gone.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    up_bytes_per_s: float | None = None
    down_bytes_per_s: float | None = None
    mishaps: tuple[Mishap, ...] = ()
    share: float = 0.0
    within_bytes: int = 4000
    open_s: float = 0.0
    shut_s: float = 0.0


class _Fate:
    """What a connection has before it."""

    def __init__(self, weather: Weather, dice: random.Random) -> None:
        self.mishap = dice.choice(weather.mishaps) if dice.random() < weather.share else None
        self._left_bytes = dice.randrange(weather.within_bytes)

    def let_pass(self, data: bytes) -> bytes:
        """Return what still gets through."""
        if self.mishap is None:
            return data
        passed = data[: self._left_bytes]
        self._left_bytes -= len(passed)
        return passed


class Proxy:
    """Passes bytes on to a server, as well as the weather allows.

    Attributes:
        url: Where it listens.
        mishaps: How many connections met with one.
        outages: How often it went away.
    """

    def __init__(self, target: str, weather: Weather, seed: int) -> None:
        self._target = urlsplit(target)
        self._weather = weather
        self._dice = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._port = 0
        self._server: asyncio.Server | None = None
        self.mishaps = 0
        self.outages = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    async def listen(self) -> None:
        """Accept connections, on the same port each time."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def open_and_shut(self) -> None:
        """Listen and refuse in turn, without end."""
        while True:
            await asyncio.sleep(self._weather.open_s)
            self.outages += 1
            await self.end()
            await asyncio.sleep(self._weather.shut_s)
            await self.listen()

    async def end(self) -> None:
        """Refuse connections, and end those that stand."""
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0.01)  # what has been accepted comes to its handler
        for task in self._tasks:
            task.cancel()
        recorder = await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        for outcome in recorder:
            if isinstance(outcome, Exception):
                raise outcome
        self._tasks.clear()
        self._writers.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._tasks.add(asyncio.create_task(self._join(reader, writer)))

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes from either end, until both have ended or a mishap ends them."""
        assert self._target.port is not None
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target.port)
        self._writers.append(server_writer)
        fate = _Fate(self._weather, self._dice)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pass_on(reader, server_writer, self._weather.up_bytes_per_s, fate))
                ways.create_task(self._pass_on(server_reader, writer, self._weather.down_bytes_per_s, fate))
        except* ConnectionError:
            for each in (writer, server_writer):
                with suppress(OSError):  # it may be closed
                    each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        finally:
            for each in (writer, server_writer):
                each.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_per_s: float | None, fate: _Fate
    ) -> None:
        while data := await reader.read(_BLOCK_BYTES):
            wait_s = self._weather.latency_s + self._weather.jitter_s * self._dice.random()
            wait_s += len(data) / bytes_per_s if bytes_per_s is not None else 0.0
            if wait_s:
                await asyncio.sleep(wait_s)
            passed = fate.let_pass(data)
            writer.write(passed)
            await writer.drain()
            if len(passed) < len(data):
                await self._meet(fate, writer)
        with suppress(OSError):  # the other end may have gone
            writer.write_eof()

    async def _meet(self, fate: _Fate, writer: asyncio.StreamWriter) -> None:
        self.mishaps += 1
        match fate.mishap:
            case Mishap.RESET:
                raise ConnectionResetError
            case Mishap.HALF_CLOSE:
                writer.write_eof()
                await asyncio.Event().wait()
            case _:
                await asyncio.Event().wait()


@asynccontextmanager
async def open_proxy(target: str, weather: Weather, *, seed: int = 0) -> AsyncGenerator[Proxy]:
    """Run a proxy before the server with that base URL."""
    proxy = Proxy(target, weather, seed)
    await proxy.listen()
    timetable = asyncio.create_task(proxy.open_and_shut()) if weather.open_s else None
    try:
        yield proxy
    finally:
        if timetable is not None:
            timetable.cancel()
        await proxy.end()

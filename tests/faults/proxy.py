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


class ConnectionFault(Enum):
    """What happens to a connection after a number of bytes."""

    RESET = auto()
    """Both ends get a RST."""
    STALL = auto()
    """No more bytes are forwarded, and nothing is closed."""
    HALF_CLOSE = auto()
    """The receiving end sees the end of the stream; the other direction stays open."""


@dataclass(frozen=True, slots=True)
class Network:
    """The quality of a network.

    Attributes:
        latency_s: Of each block, one way.
        jitter_s: Added to the latency, uniform in [0, jitter_s).
        up_bytes_per_s: Bandwidth towards the server; None is unlimited.
        down_bytes_per_s: Bandwidth towards the client; None is unlimited.
        faults: The faults that connections may have.
        fault_share: Share of the connections that have a fault, in [0, 1].
        fault_within_bytes: Most bytes, in both directions together, before the fault.
        up_s: Time for which connections are accepted between outages; 0 is always.
        down_s: Length of an outage: open connections are closed, and new ones refused.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    up_bytes_per_s: float | None = None
    down_bytes_per_s: float | None = None
    faults: tuple[ConnectionFault, ...] = ()
    fault_share: float = 0.0
    fault_within_bytes: int = 4000
    up_s: float = 0.0
    down_s: float = 0.0


class _PlannedFault:
    """The fault of one connection, if any, and the bytes left before it."""

    def __init__(self, network: Network, dice: random.Random) -> None:
        self.fault = dice.choice(network.faults) if dice.random() < network.fault_share else None
        self._left_bytes = dice.randrange(network.fault_within_bytes)

    def let_pass(self, data: bytes) -> bytes:
        """Return the part of the data that is forwarded before the fault."""
        if self.fault is None:
            return data
        passed = data[: self._left_bytes]
        self._left_bytes -= len(passed)
        return passed


class Proxy:
    """Forwards bytes to a server over a simulated network.

    Attributes:
        url: The base URL at which it listens.
        faulty_connections: Number of connections that had a fault.
        outages: Number of outages.
    """

    def __init__(self, target: str, network: Network, seed: int) -> None:
        self._target = urlsplit(target)
        self._network = network
        self._dice = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._port = 0
        self._server: asyncio.Server | None = None
        self.faulty_connections = 0
        self.outages = 0

    @property
    def url(self) -> str:
        """The base URL at which it listens."""
        return f"http://127.0.0.1:{self._port}"

    async def listen(self) -> None:
        """Accept connections, on the same port each time."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def alternate_outages(self) -> None:
        """Accept and refuse connections in turn, without end."""
        while True:
            await asyncio.sleep(self._network.up_s)
            self.outages += 1
            await self.end()
            await asyncio.sleep(self._network.down_s)
            await self.listen()

    async def end(self) -> None:
        """Refuse new connections and abort the open ones."""
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0.01)  # connections accepted by the kernel reach their handler
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        self._tasks.clear()
        self._writers.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._tasks.add(asyncio.create_task(self._forward(reader, writer)))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward the bytes of both ends until both have ended or a fault ends them."""
        assert self._target.port is not None
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target.port)
        self._writers.append(server_writer)
        planned = _PlannedFault(self._network, self._dice)
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._copy(reader, server_writer, self._network.up_bytes_per_s, planned))
                directions.create_task(self._copy(server_reader, writer, self._network.down_bytes_per_s, planned))
        except* ConnectionError:
            for each in (writer, server_writer):
                with suppress(OSError):  # it may be closed already
                    each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        finally:
            for each in (writer, server_writer):
                each.transport.abort()

    async def _copy(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        bytes_per_s: float | None,
        planned: _PlannedFault,
    ) -> None:
        while data := await reader.read(_BLOCK_BYTES):
            wait_s = self._network.latency_s + self._network.jitter_s * self._dice.random()
            wait_s += len(data) / bytes_per_s if bytes_per_s is not None else 0.0
            if wait_s:
                await asyncio.sleep(wait_s)
            passed = planned.let_pass(data)
            writer.write(passed)
            await writer.drain()
            if len(passed) < len(data):
                await self._fail(planned, writer)
        with suppress(OSError):  # the other end may have closed it
            writer.write_eof()

    async def _fail(self, planned: _PlannedFault, writer: asyncio.StreamWriter) -> None:
        self.faulty_connections += 1
        match planned.fault:
            case ConnectionFault.RESET:
                raise ConnectionResetError
            case ConnectionFault.HALF_CLOSE:
                writer.write_eof()
                await asyncio.Event().wait()
            case _:
                await asyncio.Event().wait()


@asynccontextmanager
async def open_proxy(target: str, network: Network, *, seed: int = 0) -> AsyncGenerator[Proxy]:
    """Run a proxy in front of the server with that base URL."""
    proxy = Proxy(target, network, seed)
    await proxy.listen()
    outages = asyncio.create_task(proxy.alternate_outages()) if network.up_s else None
    try:
        yield proxy
    finally:
        if outages is not None:
            outages.cancel()
        await proxy.end()

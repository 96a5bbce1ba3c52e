"""Machines of the tests: network namespaces on a bridge, which can be cut off. Needs root."""

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from urllib.parse import urlsplit

_NET = "10.77.13"


class Machines:
    """Network namespaces `pm<pid>-1` and so on, with the addresses 10.77.13.1 and so on; ours is 10.77.13.254."""

    host = f"{_NET}.254"

    def __init__(self, number: int) -> None:
        self._bridge = f"pm{os.getpid() % 100_000}"
        self._numbers = range(1, number + 1)

    def address(self, number: int) -> str:
        """Return a machine's address."""
        return f"{_NET}.{number}"

    def inside(self, number: int) -> tuple[str, ...]:
        """Return what precedes a command to run it on a machine."""
        return ("ip", "netns", "exec", self._name(number))

    def open(self) -> None:
        """Make them."""
        _ip(f"link add {self._bridge} type bridge", f"addr add {self.host}/24 dev {self._bridge}")
        _ip(f"link set {self._bridge} up")
        for number in self._numbers:
            name, link = self._name(number), f"{self._bridge}v{number}"
            _ip(f"netns add {name}", f"link add {link} type veth peer name eth0 netns {name}")
            _ip(f"link set {link} master {self._bridge} up", f"-n {name} addr add {self.address(number)}/24 dev eth0")
            _ip(f"-n {name} link set eth0 up", f"-n {name} link set lo up")

    def close(self) -> None:
        """Kill what runs on them, and remove them."""
        for number in self._numbers:
            while pids := _ip_output(f"netns pids {self._name(number)}").split():
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), 9)
            _ip_output(f"netns del {self._name(number)}")
        _ip_output(f"link del {self._bridge}")

    def cut(self, number: int) -> None:
        """Cut a machine off."""
        _ip(f"link set {self._bridge}v{number} down")

    def heal(self, number: int) -> None:
        """Connect it again."""
        _ip(f"link set {self._bridge}v{number} up")

    def _name(self, number: int) -> str:
        return f"{self._bridge}-{number}"

    @asynccontextmanager
    async def forward(self, url: str) -> AsyncGenerator[str]:
        """Yield the URL under which machines reach a server of this machine's loopback."""
        port = urlsplit(url).port
        assert port is not None
        streams: set[asyncio.StreamWriter] = set()

        async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while block := await reader.read(65536):
                    writer.write(block)
                    await writer.drain()
            writer.close()

        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", port)
            streams.update({writer, back})
            await asyncio.gather(copy(reader, back), copy(there, writer))

        server = await asyncio.start_server(connect, self.host, port)
        try:
            yield url.replace("127.0.0.1", self.host)
        finally:
            server.close()
            for stream in streams:
                stream.transport.abort()
            await server.wait_closed()
            await asyncio.sleep(0.1)  # the copies end


def _ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True, capture_output=True)


def _ip_output(command: str) -> str:
    return subprocess.run(["ip", *command.split()], check=False, capture_output=True, text=True).stdout


@contextmanager
def run_machines(number: int) -> Iterator[Machines]:
    """Run so many machines for the block."""
    machines = Machines(number)
    try:
        machines.open()
        yield machines
    finally:
        machines.close()

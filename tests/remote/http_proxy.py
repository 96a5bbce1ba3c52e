"""A real HTTP proxy: it tunnels CONNECT, forwards requests in absolute form, and may demand a login or refuse."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class HttpProxy:
    """The proxy's behaviour, and what it has seen.

    Attributes:
        login: "user:password" that it demands; "" demands none.
        connect_status: Its answer to CONNECT; "200 OK" opens the tunnel.
        target: Host and port to which it connects, whatever the request names; None follows the request.
        heads: The heads of all requests.
        url: Its URL, without a login.
    """

    login: str = ""
    connect_status: str = "200 OK"
    target: tuple[str, int] | None = None
    heads: list[bytes] = field(default_factory=list)
    url: str = ""
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def url_with_login(self) -> str:
        """Its URL with the login that it demands."""
        return self.url.replace("http://", f"http://{self.login}@")

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection."""
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def end(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                await self._answer(head, reader, writer)
        finally:
            writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = head.split(b" ", 2)
        basic = base64.b64encode(self.login.encode())
        if self.login and b"Proxy-Authorization: Basic " + basic not in head:
            writer.write(b'HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm="p"\r\nContent-Length: 0\r\n\r\n')
            return
        if method == b"CONNECT":
            writer.write(f"HTTP/1.1 {self.connect_status}\r\n\r\n".encode())
            if not self.connect_status.startswith("200"):
                return
            host, _, port = target.decode().rpartition(":")
            await self._tunnel(reader, writer, self.target or (host, int(port)), b"")
        else:
            url = urlsplit(target.decode())
            path = url._replace(scheme="", netloc="").geturl().encode()
            await self._tunnel(
                reader, writer, self.target or (url.hostname or "", url.port or 80), head.replace(target, path, 1)
            )

    async def _tunnel(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int], first: bytes
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection(*target)
        far_writer.write(first)
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(_copy(reader, far_writer))
                directions.create_task(_copy(far_reader, writer))
        finally:
            far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def serve_proxy(proxy: HttpProxy | None = None) -> AsyncGenerator[HttpProxy]:
    """Run the proxy on a free loopback port."""
    proxy = proxy if proxy is not None else HttpProxy()
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
        await server.wait_closed()

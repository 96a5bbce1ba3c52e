"""A server process without an engine, started as the embedded one is; its argument, if any, is the key store."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio

from pipeline.config import ServeConfig
from pipeline.engine.recognition import Recogniser, Recognition
from pipeline.server.access.keyring import Keyring
from pipeline.server.serve import read_serve_key, serve, stop_at_end_of_stdin

HANGS_FROM_BYTES = 10_000


class SizeRecogniser:
    """Returns the image's size as the text; for a large image it prints a line and never returns."""

    async def recognise(self, image: bytes) -> Recognition:
        """Return the size in bytes."""
        if len(image) >= HANGS_FROM_BYTES:
            print("recognising", flush=True)  # noqa: T201 - the test waits for it
            await asyncio.Event().wait()
        return Recognition(str(len(image)))


@asynccontextmanager
async def _size_recogniser() -> AsyncIterator[Recogniser]:
    yield SizeRecogniser()


async def _main(keys: Path | None) -> None:
    stop = anyio.Event()
    unwatch = stop_at_end_of_stdin(stop)
    key = read_serve_key(os.environ)
    ready = lambda url: print(url, flush=True)  # noqa: E731, T201 - what the command line does
    config = ServeConfig(port=0, keys=keys, rate_per_s=1e6)
    async with AsyncExitStack() as stack:
        keyring = await stack.enter_async_context(Keyring(keys)) if keys else None
        await serve(config, key=key, stop=stop, ready=ready, recogniser=_size_recogniser(), keyring=keyring)
    unwatch()


if __name__ == "__main__":
    if "--wrong-setting" in sys.argv:
        print("pagemill: [serve] precision: no such processor", file=sys.stderr)  # noqa: T201 - as the server does
        sys.exit(2)
    if "--fail" in sys.argv:
        sys.exit("first line\npagemill: the recognition engine is not installed")
    asyncio.run(_main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))

"""A server process with keys and without an engine, which hangs on large pages; its argument is the key store."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from pipeline.config import ServeConfig
from pipeline.server.access.keyring import Keyring
from pipeline.server.recognition import Recogniser, Recognition
from pipeline.server.serve import serve, stop_at_end_of_stdin

HANGS_FROM_BYTES = 10_000


class HangingRecogniser:
    """Says so on stdout when it begins with a page, and never ends a large one."""

    async def recognise(self, image: bytes) -> Recognition:
        """Return the size in bytes."""
        if len(image) >= HANGS_FROM_BYTES:
            print("recognising", flush=True)  # noqa: T201 - the test waits for it
            await asyncio.Event().wait()
        return Recognition(str(len(image)))


@asynccontextmanager
async def _recogniser() -> AsyncIterator[Recogniser]:
    yield HangingRecogniser()


async def _main(keys: Path) -> None:
    stop = anyio.Event()
    unwatch = stop_at_end_of_stdin(stop)
    ready = lambda url: print(url, flush=True)  # noqa: E731, T201 - what the command line does
    config = ServeConfig(port=0, keys=keys, rate_per_s=1e6)
    async with Keyring(keys) as keyring:
        await serve(config, key=None, stop=stop, ready=ready, recogniser=_recogniser(), keyring=keyring)
    unwatch()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))

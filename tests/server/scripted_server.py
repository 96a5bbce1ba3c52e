"""A server process without an engine, started as the embedded one is; its text is the image's size."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from pipeline.config import ServeConfig
from pipeline.server.recognition import Recogniser, Recognition
from pipeline.server.serve import read_serve_key, serve, stop_at_end_of_stdin


class SizeRecogniser:
    """Returns the image's size as its text."""

    async def recognise(self, image: bytes) -> Recognition:
        """Return the size in bytes."""
        return Recognition(str(len(image)))


@asynccontextmanager
async def _size_recogniser() -> AsyncIterator[Recogniser]:
    yield SizeRecogniser()


async def _main() -> None:
    stop = anyio.Event()
    unwatch = stop_at_end_of_stdin(stop)
    key = read_serve_key(os.environ)
    ready = lambda url: print(url, flush=True)  # noqa: E731, T201 - what the command line does
    await serve(ServeConfig(port=0), key=key, stop=stop, ready=ready, recogniser=_size_recogniser())
    unwatch()


if __name__ == "__main__":
    if "--fail" in sys.argv:
        sys.exit("first line\npagemill: the recognition engine is not installed")
    asyncio.run(_main())

"""The leanest client: read, encode, post, parse. It keeps none of the promises; `tests.benchmarks.cpu` compares it."""

import asyncio
import base64
import json
import sys
from io import BytesIO
from pathlib import Path

import aiohttp


async def main(directory: Path, url: str, jobs: int) -> None:
    """Post every file of a directory, `jobs` at a time."""
    paths = iter(sorted(directory.iterdir()))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=jobs)) as session:

        async def work() -> None:
            for path in paths:
                image = await asyncio.to_thread(path.read_bytes)
                data = "data:image/png;base64," + base64.b64encode(image).decode()
                body = json.dumps({"document": {"type": "image_url", "image_url": data}, "filename": path.name})
                headers = {"Content-Type": "application/json"}
                target = f"{url}/api/text-recognition?key=k"
                async with session.post(target, data=BytesIO(body.encode()), headers=headers) as reply:
                    text = (await reply.json())["content"]
                    assert text

        await asyncio.gather(*(work() for _ in range(jobs)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))

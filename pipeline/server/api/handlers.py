"""The API's handlers: what a request goes through, from the key to the answer."""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from aiohttp import web

from pipeline.engine.geometry import enclose
from pipeline.engine.recognition import Line, Recogniser, Recognition
from pipeline.server.access.access import Access
from pipeline.server.access.callers import Caller
from pipeline.server.http.answers import json_answer, json_bytes_answer
from pipeline.server.http.fetch import Fetch, obtain_image
from pipeline.server.http.images import check_image
from pipeline.server.http.load import Load, Traffic
from pipeline.server.http.metrics import CALLER
from pipeline.server.http.requests import RequestError, parse_request, read_body
from pipeline.wire import TEXT_FORMAT, replace_surrogates

POSITIONS_FORMAT = "json"

Described = dict[str, Any]
KEPT_AT_MOST: Final = 1_000
KEPT_MAX_BYTES: Final = 16 * 1024 * 1024
"""An answer has a few kB; with all positions of a dense page a few 100."""


class Api:
    """Recognition, and the answers that were given.

    Args:
        recogniser: Reads the images.
        access: Judges who may call.
        load: Bounds what is under way.
        traffic: Knows when the server ends.
        now_ms: The clock, Unix epoch in milliseconds.
        fetch: Fetches images that are given as URLs; None refuses these.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        access: Access,
        *,
        load: Load,
        traffic: Traffic,
        now_ms: Callable[[], int],
        fetch: Fetch | None = None,
    ) -> None:
        self._recogniser = recogniser
        self._access = access
        self._load = load
        self._traffic = traffic
        self._now_ms = now_ms
        self._fetch = fetch
        self._documents = Documents()
        self._checks = ThreadPoolExecutor(1, thread_name_prefix="check")  # one at a time bounds their memory

    async def recognise_text(self, request: web.Request) -> web.Response:
        """Answer with the text."""
        return await self._recognise(request, describe_text)

    async def recognise_positions(self, request: web.Request) -> web.Response:
        """Answer with the text, and where each line of it stands."""
        return await self._recognise(request, describe_positions)

    async def tell_document(self, request: web.Request) -> web.Response:
        """Answer as before, to the caller who got that answer."""
        caller = await self._admit(request)
        answer = self._documents.find(caller.name, request.match_info["id"])
        if answer is None:
            raise RequestError("Not Found: no document with this id, or no longer", 404)
        return json_bytes_answer(200, answer)

    async def _admit(self, request: web.Request) -> Caller:
        caller = await self._access.admit(request)
        request[CALLER] = caller.name
        return caller

    async def _recognise(self, request: web.Request, describe: Callable[[Recognition], Described]) -> web.Response:
        caller = await self._admit(request)
        with self._load.body() as hold:
            async with self._traffic.limit():
                wanted = parse_request(await read_body(request, hold))
                if wanted.url is None:
                    await self._check(wanted.image)
            self._load.check()  # costs nothing, where a charge writes to the disk
            async with caller.charge():
                async with self._traffic.limit():
                    # Who has no call left must not send the server about.
                    image = wanted.image if wanted.url is None else await self._obtain(wanted.url, hold)
                with self._load.place():
                    async with self._traffic.limit():
                        recognition = await self._recogniser.recognise(image)
                document_id = str(uuid.uuid4())
                response = json_answer(
                    200,
                    {
                        "id": document_id,
                        "filename": wanted.filename,
                        **describe(recognition),
                        "timestamp": self._now_ms(),
                        "payload": _endpoint(request),
                    },
                )
        assert isinstance(response.body, bytes)
        self._documents.keep(caller.name, document_id, response.body)
        return response

    async def _obtain(self, url: str, hold: Callable[[int], None]) -> bytes:
        image = await obtain_image(url, self._fetch)
        hold(len(image))
        await self._check(image)
        return image

    async def _check(self, image: bytes) -> None:
        """Return when the engine may see an image."""
        # Damaged metadata can keep a check busy for a second, which the event loop has not got.
        await asyncio.get_running_loop().run_in_executor(self._checks, check_image, image)


def describe_text(recognition: Recognition) -> Described:
    """Return the part of an answer that tells the text."""
    return {"content": recognition.text, "format": TEXT_FORMAT}


def describe_positions(recognition: Recognition) -> Described:
    """Return the part of an answer that tells the lines, and where they stand."""
    return {
        "content": "\n".join(line.text for line in recognition.lines),
        "format": POSITIONS_FORMAT,
        "ocrResult": {"words_info": [describe_line(line) for line in recognition.lines]},
    }


def describe_line(line: Line) -> Described:
    """Return a line as `words_info` has it.

    `location` holds the four corners, x and y in turn, clockwise from the text's top left. `rotate_rect` holds the
    centre's x and y, the width along the line, the height across it, and the angle as `RotatedRectangle` defines it.
    All are pixels of the image that was sent, to a tenth.
    """
    box = enclose(line.corners)
    return {
        "text": line.text,
        "confidence": round(line.confidence, 4),
        "location": [round(value, 1) for corner in line.corners for value in corner],
        "rotate_rect": [round(value, 1) for value in (box.x_px, box.y_px, box.width_px, box.height_px, box.angle_deg)],
    }


def _endpoint(request: web.Request) -> str:
    """Return the URL that was called, the key's value masked: what is echoed gets stored."""
    query = "?key=***" if "key" in request.query else ""
    return replace_surrogates(f"{request.scheme}://{request.host}{request.rel_url.raw_path}{query}")


class Documents:
    """The latest answers, in memory; the oldest makes room.

    Args:
        at_most: Number of answers.
        max_bytes: What they may hold together; a larger one is not kept.
    """

    def __init__(self, at_most: int = KEPT_AT_MOST, max_bytes: int = KEPT_MAX_BYTES) -> None:
        self._at_most = at_most
        self._max_bytes = max_bytes
        self._bytes = 0
        self._answers: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Documents {len(self._answers)}, {self._bytes} bytes>"

    def __len__(self) -> int:
        return len(self._answers)

    def keep(self, caller: str, document_id: str, answer: bytes) -> None:
        """Keep an answer for the caller who got it.

        Args:
            caller: The caller's name.
            document_id: Not used before.
            answer: The body that was sent.
        """
        if len(answer) > self._max_bytes:
            return  # nobody else's has to go for one that cannot stay
        self._answers[caller, document_id] = answer
        self._bytes += len(answer)
        while len(self._answers) > self._at_most or self._bytes > self._max_bytes:
            _, oldest = self._answers.popitem(last=False)
            self._bytes -= len(oldest)

    def find(self, caller: str, document_id: str) -> bytes | None:
        """Return an answer that this caller got; None when there is none, or no longer."""
        return self._answers.get((caller, document_id))

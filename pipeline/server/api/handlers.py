"""The handlers of recognition: from a request to its reply, and the kept replies."""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from pipeline.engine.geometry import enclose
from pipeline.engine.quality import describe_doubt, judge
from pipeline.engine.recognition import Line, Recogniser, Recognition
from pipeline.server.access.authentication import KEY_PARAMETER, Authenticator
from pipeline.server.access.callers import Caller, WorkTimer
from pipeline.server.access.origins import host_of
from pipeline.server.api import schemas
from pipeline.server.api.request_parsing import parse_recognition_request
from pipeline.server.http.admission import AdmissionControl, Share
from pipeline.server.http.connections import SHARE
from pipeline.server.http.fetch import Fetch, fetch_image
from pipeline.server.http.images import check_image
from pipeline.server.http.in_flight import InFlightRequests
from pipeline.server.http.observability import CALLER
from pipeline.server.http.pacing import BodyPacer
from pipeline.server.http.requests import RequestError, read_body
from pipeline.server.http.responses import json_bytes_response, json_response
from pipeline.server.http.turns import FairTurns
from pipeline.wire import TEXT_FORMAT, replace_surrogates

KEPT_REPLIES: Final = 1_000
KEPT_BYTES: Final = 16 * 1024 * 1024
"""A reply has a few kB; with the positions of a dense page, a few hundred kB."""


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """The fields of a reply that do not depend on the recognised text; `schemas.TextReply` describes them."""

    id: str
    filename: str
    timestamp: int
    payload: str


class RecognitionHandlers:
    """Reads images, and returns earlier replies again.

    Args:
        recogniser: Reads the images.
        authenticator: Finds the caller of a request.
        admission: Shares memory, fetches and the queue among callers.
        turns: Shares the recogniser among callers.
        in_flight: Ends the work at the shutdown's timeout.
        now_ms: The clock, Unix epoch in milliseconds.
        fetch: Fetches images given by URL; None rejects them.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        authenticator: Authenticator,
        *,
        admission: AdmissionControl,
        turns: FairTurns,
        in_flight: InFlightRequests,
        now_ms: Callable[[], int],
        fetch: Fetch | None = None,
    ) -> None:
        self._recogniser = recogniser
        self._authenticator = authenticator
        self._admission = admission
        self._turns = turns
        self._in_flight = in_flight
        self._now_ms = now_ms
        self._fetch = fetch
        self._replies = RecentReplies()
        self._pacer = BodyPacer()
        self._check_thread = ThreadPoolExecutor(1, thread_name_prefix="check")  # one check at a time bounds memory
        self._check_turns = FairTurns(1, finishes_jobs=True)

    async def recognise_text(self, request: web.Request) -> web.Response:
        """Return the text of the image."""
        return await self._recognise(request, text_reply)

    async def recognise_positions(self, request: web.Request) -> web.Response:
        """Return the text of the image and the position of each line."""
        return await self._recognise(request, positions_reply)

    async def get_reply(self, request: web.Request) -> web.Response:
        """Return an earlier reply, byte for byte, to the caller who got it."""
        caller = await self._admit(request)
        reply = self._replies.find(caller.name, request.match_info["id"])
        if reply is None:
            raise RequestError("Not Found: no document with this id, or no longer", 404)
        return json_bytes_response(200, reply)

    async def _admit(self, request: web.Request) -> Caller:
        caller = await self._authenticator.admit(request)
        request[CALLER], request[SHARE] = caller.name, caller.share_name
        return caller

    async def _recognise(
        self,
        request: web.Request,
        make_reply: Callable[[ReplyHead, Recognition], schemas.TextReply | schemas.PositionsReply],
    ) -> web.Response:
        caller = await self._admit(request)
        await caller.check_quota()  # before the body, which a caller without calls must not make the server hold
        with self._admission.share(caller.share_name) as share:
            async with self._until_ended(share):
                body = await read_body(
                    request,
                    partial(self._admission.count_bytes, share),
                    delay_s=partial(self._pacer.delay_s, share.caller),
                )
                parsed = parse_recognition_request(body)
                del body
                share.end_body()
                if parsed.url is None:
                    await self._check(parsed.image, share)
            self._admission.check_queue(share)  # before the charge, which writes to the disk
            async with caller.charge() as work:
                image = parsed.image if parsed.url is None else await self._fetch_image(parsed.url, share, work)
                with self._admission.queue_slot(share):
                    async with self._until_ended(share):
                        recognition = await self._read(image, share, work)
                head = ReplyHead(str(uuid.uuid4()), parsed.filename, self._now_ms(), _called_url(request))
                response = json_response(200, make_reply(head, recognition))
        assert isinstance(response.body, bytes)
        self._replies.keep(caller.name, head.id, response.body)
        return response

    @asynccontextmanager
    async def _until_ended(self, share: Share) -> AsyncGenerator[None]:
        """Run the block until the shutdown's timeout, or until the request gives way to another caller's.

        Raises:
            RequestError: 429.
        """
        async with share.until_given_way(), self._in_flight.until_shutdown():
            yield

    async def _fetch_image(self, url: str, share: Share, work: WorkTimer) -> bytes:
        async with self._until_ended(share):
            async with self._admission.fetch_slot(share):
                with work.measured():
                    image = await fetch_image(url, self._fetch)
            self._admission.count_bytes(share, len(image))
            await self._check(image, share)
        return image

    async def _check(self, image: bytes, share: Share) -> None:
        """Raise RequestError when the image is not within the limits of the API."""
        # In a thread: a check decompresses up to 4 MB of comments.
        loop = asyncio.get_running_loop()
        await self._check_turns.run(share.caller, lambda: loop.run_in_executor(self._check_thread, check_image, image))

    async def _read(self, image: bytes, share: Share, work: WorkTimer) -> Recognition:
        async def read() -> Recognition:
            share.keep()
            with work.measured():
                return await self._recogniser.recognise(image)

        return await self._turns.run(share.caller, read)


def text_reply(head: ReplyHead, recognition: Recognition) -> schemas.TextReply:
    """Return the reply with the text alone."""
    return schemas.TextReply(
        id=head.id,
        filename=head.filename,
        content=recognition.text,
        format=TEXT_FORMAT,
        timestamp=head.timestamp,
        payload=head.payload,
    )


def positions_reply(head: ReplyHead, recognition: Recognition) -> schemas.PositionsReply:
    """Return the reply with the text, the position of each line, and the quality."""
    quality = judge(recognition)
    return schemas.PositionsReply(
        id=head.id,
        filename=head.filename,
        content=recognition.text,
        format="json",
        ocr_result=schemas.OcrResult(tuple(map(_line, recognition.lines))),
        quality=quality,
        warnings=describe_doubt(quality),
        timestamp=head.timestamp,
        payload=head.payload,
    )


def _line(line: Line) -> schemas.Line:
    """Return a line with its position, to a tenth of a pixel and of a degree."""
    box = enclose(line.corners)
    return schemas.Line(
        text=line.text,
        confidence=round(line.confidence, 4),
        location=tuple(round(value, 1) for corner in line.corners for value in corner),
        rotate_rect=(
            round(box.x_px, 1),
            round(box.y_px, 1),
            round(box.width_px, 1),
            round(box.height_px, 1),
            round(box.angle_deg, 1),
        ),
    )


def _called_url(request: web.Request) -> str:
    """Return the URL of the call, the key's value masked, because callers store replies."""
    query = f"?{KEY_PARAMETER}=***" if KEY_PARAMETER in request.query else ""
    return replace_surrogates(f"{request.scheme}://{host_of(request)}{request.rel_url.raw_path}{query}")


class RecentReplies:
    """The latest replies, in memory; the oldest are dropped first.

    Args:
        max_replies: Number of replies.
        max_bytes: Size of all replies together; a larger reply is not kept.
    """

    def __init__(self, max_replies: int = KEPT_REPLIES, max_bytes: int = KEPT_BYTES) -> None:
        self._max_replies = max_replies
        self._max_bytes = max_bytes
        self._bytes = 0
        self._replies: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RecentReplies {len(self._replies)}, {self._bytes} bytes>"

    def __len__(self) -> int:
        return len(self._replies)

    def keep(self, caller: str, reply_id: str, reply: bytes) -> None:
        """Keep a reply for its caller.

        Args:
            caller: The caller's name.
            reply_id: An id that was not used before.
            reply: The body as sent.
        """
        if len(reply) > self._max_bytes:
            return  # dropping all others would not make room
        self._replies[caller, reply_id] = reply
        self._bytes += len(reply)
        while len(self._replies) > self._max_replies or self._bytes > self._max_bytes:
            _, oldest = self._replies.popitem(last=False)
            self._bytes -= len(oldest)

    def find(self, caller: str, reply_id: str) -> bytes | None:
        """Return a reply that this caller got; None when there is none, or it was dropped."""
        return self._replies.get((caller, reply_id))

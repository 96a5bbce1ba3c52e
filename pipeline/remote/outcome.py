"""The outcome of one call before it is interpreted: a status with what is known of its body, or why there is none.

Source: the API's contract ("Success", "Errors"); RFC 9110, 10.2.3 (Retry-After) and 15.4 (redirects).
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

import orjson

from pipeline.errors import one_line
from pipeline.remote.allowance import Allowance, parse_allowance, parse_date
from pipeline.wire import REPLY_MAX_BYTES, BodyKind, InvalidReplyError, WireReply, parse_error, parse_reply

_MAX_RETRY_AFTER_S: Final = 366 * 86400.0
_SEARCHED_BYTES: Final = 8192
"""Length of the start of a page in which words are searched."""

_NESTS: Final = ("Response", "response", "error", "Error", "fault")
_MESSAGE_FIELDS: Final = (
    *("code", "Code", "error_code", "__type", "status"),
    *("message", "Message", "error_msg", "errorMessage", "msg", "desc", "error", "detail", "title"),
)
"""Where the errors of public APIs and gateways keep code and message."""

_OUTAGE_WORDS: Final = re.compile(
    rb"maintenance|maintain|unavailable|temporar|try again|be right back|be back|outage|overload|gateway|"
    rb"server error|busy|down for|" + "维护|暂停|暂时|稍后|升级中|繁忙|不可用|メンテナンス".encode(),
    re.IGNORECASE,
)
"""Words of a page that a failing service shows, not of a login page or of another website."""

_TLS_PORT_WORDS: Final = re.compile(
    rb"plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server|speaking plain HTTP to an SSL",
    re.IGNORECASE,
)
"""How nginx, Go's net/http and Apache answer plain HTTP on a TLS port."""


class Fault(Enum):
    """Why a call brought no reply."""

    NOT_SENT = "not sent"
    """Connection refused, DNS, TLS, proxy: the request cannot have reached the service."""

    NO_DESCRIPTOR = "no descriptor"
    """This process cannot open a socket: not sent, and neither the page nor the service is at fault."""

    LOST = "lost"
    """Connection reset, timeout, truncated reply: the call may have been billed."""


class Hint(Enum):
    """What the words of a page say about its cause."""

    OUTAGE = "the service is down for now"
    TLS_PORT = "the port speaks TLS and was called with plain HTTP"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one POST, before it is interpreted.

    Attributes:
        status: HTTP status; None when no usable reply was received.
        fault: Why no usable reply was received; None when one was.
        detail: One line for the user, without secrets.
        retry_after_s: Seconds that the service asks the client to wait; None when it does not ask.
        reply: The parsed body of a success; None otherwise.
        body: What the body is when it is no accepted reply.
        hint: What the words of the body say; None when they say nothing.
        kept: The bytes of a paid reply that could not be understood, without the key; None when there are none.
        cut_off_s: For a new connection that ended without a byte of a reply: its age then; None otherwise.
        was_refused: True when the connection was refused at the TCP level.
        allowance: What the headers say is left; None when they do not.
        date: When the service says that it answered; None when it does not.
    """

    status: int | None = None
    fault: Fault | None = None
    detail: str = ""
    retry_after_s: float | None = None
    reply: WireReply | None = None
    body: BodyKind = BodyKind.OTHER
    hint: Hint | None = None
    kept: bytes | None = field(default=None, repr=False, compare=False)
    cut_off_s: float | None = field(default=None, compare=False)
    was_refused: bool = field(default=False, compare=False)
    allowance: Allowance | None = None
    date: datetime | None = field(default=None, compare=False)


def read_outcome(
    status: int, headers: Mapping[str, str], body: bytes, *, charset: str | None, excess: bool, now: datetime
) -> Outcome:
    """Return the outcome of a call that was answered.

    Args:
        status: HTTP status.
        headers: The response's headers.
        body: Its body, at most REPLY_MAX_BYTES.
        charset: The charset that its Content-Type declares; None for none.
        excess: The body is longer than `body`.
        now: The client's clock.
    """
    allowance = parse_allowance(headers, now)
    if 200 <= status < 300:
        outcome = _read_success(status, body, charset, excess=excess)
        return outcome if allowance is None else replace(outcome, allowance=allowance)
    wait_s = parse_retry_after(headers.get("Retry-After"), headers.get("retry-after-ms"), headers.get("Date"), now)
    kind, detail = parse_error(body, charset)
    if kind is BodyKind.OTHER and "json" in headers.get("Content-Type", ""):
        kind = BodyKind.JSON  # it broke off
    elif kind is BodyKind.JSON:
        detail = _describe_foreign_error(body)
    if excess:
        detail = f"a reply of more than {REPLY_MAX_BYTES} bytes"
    if 300 <= status < 400:
        detail = _describe_redirect(headers.get("Location"))
    return Outcome(
        status,
        detail=detail,
        retry_after_s=wait_s,
        body=kind,
        hint=_find_hint(kind, body),
        allowance=allowance,
        date=parse_date(headers.get("Date")),
    )


def _describe_foreign_error(body: bytes) -> str:
    """Return code and message of another service's JSON error as one line; "" when it has none in a known field."""
    with suppress(orjson.JSONDecodeError):
        error = orjson.loads(body)
        while inner := isinstance(error, dict) and [
            error[name] for name in _NESTS if isinstance(error.get(name), dict)
        ]:
            error = inner[0]
        if isinstance(error, dict):
            texts = [error[name] for name in _MESSAGE_FIELDS if isinstance(error.get(name), str)]
            return " ".join(": ".join(texts).split())
    return ""


def _read_success(status: int, body: bytes, charset: str | None, *, excess: bool) -> Outcome:
    if excess:
        return Outcome(status, detail=f"a reply of more than {REPLY_MAX_BYTES} bytes", kept=body)
    try:
        reply = parse_reply(body, charset)
    except InvalidReplyError as exc:
        kind, _ = parse_error(body, charset)
        if kind is BodyKind.PAGE:
            detail = "an HTML page instead of the API's JSON"
            return Outcome(status, detail=detail, body=kind, hint=_find_hint(kind, body))
        return Outcome(status, detail=str(exc), body=kind, kept=body or None)
    return Outcome(status, reply=reply, kept=body if reply.is_lossy else None)


def _find_hint(kind: BodyKind, body: bytes) -> Hint | None:
    start = body[:_SEARCHED_BYTES]
    if kind in {BodyKind.PAGE, BodyKind.OTHER} and _TLS_PORT_WORDS.search(start):
        return Hint.TLS_PORT
    return Hint.OUTAGE if kind is BodyKind.PAGE and _OUTAGE_WORDS.search(start) else None


def _describe_redirect(location: str | None) -> str:
    """Return where a redirect leads: scheme and host only, because the rest may hold the key."""
    try:
        parts = urlsplit(location or "")
        target = f"{parts.scheme}://{parts.hostname}" if parts.scheme and parts.hostname else parts.hostname
        port = f":{parts.port}" if target and parts.port else ""
    except ValueError:
        target, port = None, ""
    if target:
        return one_line(f"redirects to {target[:200]}{port}")
    return "redirects within the same host" if location else "redirects without naming a target"


def parse_retry_after(value: str | None, milliseconds: str | None, date: str | None, now: datetime) -> float | None:
    """Return the seconds that the service asks the client to wait.

    Args:
        value: `Retry-After`: seconds, or an HTTP date (RFC 9110, 10.2.3).
        milliseconds: `retry-after-ms`; it wins over `value` because it is finer.
        date: The response's `Date`; an HTTP date in `value` is relative to it, because the two clocks differ.
        now: The client's clock, used when `date` is absent or invalid.

    Returns:
        Seconds >= 0, at most a year; None when both headers are absent, invalid or negative.
    """
    if milliseconds is not None and (wait_ms := _parse_number(milliseconds)) is not None:
        return wait_ms / 1000
    if value is None:
        return None
    if (wait_s := _parse_number(value)) is not None:
        return wait_s
    until, sent = parse_date(value), parse_date(date)
    if until is None:
        return None
    return min(max(0.0, (until - (sent or now)).total_seconds()), _MAX_RETRY_AFTER_S)


def _parse_number(text: str) -> float | None:
    stripped = text.strip()
    if not re.fullmatch(r"\d{1,12}(\.\d{1,6})?", stripped):
        return None
    return min(float(stripped), _MAX_RETRY_AFTER_S)

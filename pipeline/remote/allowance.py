"""Allowances: what a service says, in its headers, about the calls that are left.

Read here: `RateLimit` and `RateLimit-Policy` in the forms of the IETF's drafts 7 to 10, `RateLimit-Limit`,
`-Remaining`, `-Reset` (drafts 0 to 6; GitLab sends the reset as an epoch), `X-RateLimit-…` and `X-Rate-Limit-…`, with
the window's name (Kong: `-Remaining-Minute`) or the counted unit (`-remaining-requests`, `-Requests-Remaining`), and
Anthropic's. Limits on tokens, bytes and concurrent calls are left out: they do not count calls.

Source: draft-ietf-httpapi-ratelimit-headers; the documentation of GitHub, Discord, Kong, OpenAI, Azure and RapidAPI.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_MAX_COUNT: Final = 10**9
_YEAR_S: Final = 366 * 86400.0
_MAX_FIELD_CHARS: Final = 2000
"""Longer headers are not searched: no policy needs so many."""

_EPOCH_UNITS: Final = ((1e8, 1e11, 1.0), (1e11, 1e14, 1e3), (1e14, 1e17, 1e6), (1e17, 1e20, 1e9))
"""From, to, units per second: resets of 1973 and later in seconds, milliseconds, microseconds and nanoseconds since
1970. What is smaller is seconds from now."""

_WINDOWS_S: Final[Mapping[str, float]] = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_CALL_UNITS: Final = frozenset({"", "request", "requests"})
_SAME_CLOCK_S: Final = 2.0
"""Clocks that differ by less are taken for equal: `Date` counts whole seconds, the client's clock does not."""

_NAME: Final = re.compile(
    r"(?P<family>x-ratelimit|x-rate-limit|ratelimit|anthropic-ratelimit)-(?:(?P<before>request|requests)-)?"
    r"(?P<field>limit|remaining|reset-after|reset)(?:-(?P<after>request|requests|second|minute|hour|day))?"
)
"""Names of headers that hold one number each; `-tokens` and any other unit does not match."""

_ISO_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]")
_GMT_OFFSET: Final = re.compile(r"GMT([+-]\d{4})")
"""JavaScript's `String(date)` writes the zone so, which `email.utils` does not read."""

_NUMBER: Final = re.compile(r"\d{1,20}(?:\.\d{1,9})?")
_DURATION: Final = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:h|ms|m|s|us|µs|ns))+")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")
_DURATION_UNITS_S: Final[Mapping[str, float]] = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}
"""Units of Go's `time.Duration`, as OpenAI writes it: 6m0s, 120ms."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """The calls that a service says are left.

    Attributes:
        remaining: Calls left until the reset, >= 0.
        reset_s: Seconds from the reply until calls are left again, >= 0, at most a year; None when it is not named.
        limit: Calls per window, >= 1; None when it is not named.
        window_s: Length of the window in seconds, > 0; None when it is not named.
    """

    remaining: int
    reset_s: float | None = None
    limit: int | None = None
    window_s: float | None = None


def parse_allowance(headers: Mapping[str, str], now: datetime) -> Allowance | None:
    """Return the most exhausted allowance that the headers name; None when they name none that makes sense.

    Of several with as few calls left, the one with the latest reset.

    Args:
        headers: The response's headers, in any case of letters; a repeated one counts as a list.
        now: The client's clock, aware; resets that are points in time are relative to the response's `Date` if it has
            one, because the two clocks differ.
    """
    fields: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if "ratelimit" in lower or "rate-limit" in lower or lower == "date":
            fields[lower] = f"{fields[lower]}, {value}" if lower in fields and lower != "date" else value
    if not fields or fields.keys() == {"date"}:
        return None
    sent = _choose_clock(parse_date(fields.get("date")), now)
    found = [*_read_draft(fields, sent), *_read_single_fields(fields, sent)]
    return min(found, key=lambda one: (one.remaining, -(one.reset_s or 0.0)), default=None)


def parse_date(text: str | None) -> datetime | None:
    """Return the aware moment of an HTTP, ISO 8601 or JavaScript date; None when it is absent or invalid."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip()) if _ISO_DATE.match(text.strip()) else _parse_http_date(text)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _parse_http_date(text: str) -> datetime:
    return parsedate_to_datetime(_GMT_OFFSET.sub(r"\1", text))


def _choose_clock(date: datetime | None, now: datetime) -> datetime:
    return now if date is None or abs((date - now).total_seconds()) < _SAME_CLOCK_S else date


def _make(
    remaining: int | None, reset_s: float | None, limit: int | None, window_s: float | None
) -> Iterator[Allowance]:
    """Yield the allowance of these numbers if they make sense; services without a limit send zeros."""
    if remaining is None or limit == 0:
        return
    if window_s is not None and reset_s is not None and reset_s > window_s + 1:  # in another unit, or of another window
        reset_s = None
    yield Allowance(remaining, reset_s, limit, window_s)


def _read_draft(fields: Mapping[str, str], sent: datetime) -> Iterator[Allowance]:
    """Yield the allowances of `RateLimit`; `RateLimit-Policy` adds limit and window by name, or by the limit."""
    policies = list(_read_policies(fields.get("ratelimit-policy", "")))
    for name, parameters in _split_list(fields.get("ratelimit", "")):
        remaining = _parse_count(parameters.get("r", parameters.get("remaining")))
        limit = _parse_count(parameters.get("limit", parameters.get("q")))
        reset_s = _parse_reset(parameters.get("t", parameters.get("reset")), sent)
        by_name = [policy for policy in policies if policy.name == name and name]
        matching = by_name or [policy for policy in policies if policy.limit == limit is not None]
        if not matching and len(policies) == 1 and not policies[0].name:
            matching = policies
        if not matching:
            yield from _make(remaining, reset_s, limit, _parse_window(parameters.get("w")))
        elif matching[0].counts_calls:
            yield from _make(remaining, reset_s, matching[0].limit, matching[0].window_s)


@dataclass(frozen=True, slots=True)
class _Policy:
    name: str
    limit: int | None
    window_s: float | None
    counts_calls: bool = True


def _read_policies(field: str) -> Iterator[_Policy]:
    """Yield the policies of `RateLimit-Policy`: `"name";q=100;w=60`, or `100;w=60` in the drafts up to 7."""
    for name, parameters in _split_list(field):
        limit = _parse_count(parameters.get("q", name))
        unit = parameters.get("qu", "").lower()
        yield _Policy(
            "" if "q" not in parameters else name, limit, _parse_window(parameters.get("w")), unit in _CALL_UNITS
        )


def _split_list(field: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the items of a structured list, each with its parameters; of draft 7's dictionary, one item."""
    if len(field) > _MAX_FIELD_CHARS:
        return
    if re.match(r"\s*(?:limit|remaining|reset)\s*=", field):  # `limit=100, remaining=50, reset=5`
        yield "", _split_parameters(re.split(r"[,;]", field))
        return
    for item in re.findall(r'(?:"[^"]*"|[^,"])+', field):
        head, *parameters = re.findall(r'(?:"[^"]*"|[^;"])+', item) or [""]
        yield head.strip().strip('"'), _split_parameters(parameters)


def _split_parameters(parts: list[str]) -> dict[str, str]:
    pairs = (part.partition("=") for part in parts)
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def _read_single_fields(fields: Mapping[str, str], sent: datetime) -> Iterator[Allowance]:
    """Yield the allowances of headers that hold one number each, grouped by family and window."""
    groups: dict[tuple[str, str], dict[str, str]] = {}
    for name, value in fields.items():
        if match := _NAME.fullmatch(name):
            unit = match["before"] or match["after"] or ""
            groups.setdefault((match["family"], unit), {})[match["field"]] = value[:_MAX_FIELD_CHARS]
    for (_, unit), group in groups.items():
        limit, _, policy = group.get("limit", "").partition(",")  # `60, 60;w=60`
        windows = [
            _parse_window(part.partition("w=")[2].partition(";")[0]) for part in policy.split(",") if "w=" in part
        ]
        reset = group.get("reset-after", group.get("reset"))
        yield from _make(
            _parse_count(group.get("remaining", "").partition(",")[0]),
            _parse_reset(reset, sent),
            _parse_count(limit.partition(";")[0]),
            _WINDOWS_S.get(unit) or (windows[0] if len(windows) == 1 else None),
        )


def _parse_number(text: str | None) -> float | None:
    stripped = "" if text is None else text.strip()
    return float(stripped) if _NUMBER.fullmatch(stripped) else None


def _parse_count(text: str | None) -> int | None:
    number = _parse_number(text)
    return None if number is None or number > _MAX_COUNT else int(number)


def _parse_window(text: str | None) -> float | None:
    number = _parse_number(text)
    return number if number is not None and 0 < number <= _YEAR_S else None


def _parse_reset(text: str | None, sent: datetime) -> float | None:
    """Return the seconds to a reset: a number, by its magnitude, a duration of Go, or a date; None for garbage."""
    stripped = "" if text is None else text.strip()
    if (number := _parse_number(stripped)) is not None:
        units = [per_s for begin, end, per_s in _EPOCH_UNITS if begin <= number < end]
        reset_s = number / units[0] - sent.timestamp() if units else number
    elif _DURATION.fullmatch(stripped):
        reset_s = sum(float(digits) * _DURATION_UNITS_S[unit] for digits, unit in _DURATION_PART.findall(stripped))
    elif (moment := parse_date(stripped)) is not None:
        reset_s = (moment - sent).total_seconds()
    else:
        return None
    return max(0.0, reset_s) if reset_s <= _YEAR_S else None

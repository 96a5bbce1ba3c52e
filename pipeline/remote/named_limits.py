"""The limit that the words of an error name: a rate, the calls of a day, or the plan's; and when it ends.

The words of quotas, rates and sales pages mix: "Quota exceeded for … per minute", "Rate limit reached … requests per
day", "please upgrade your plan for a higher rate limit". So the kinds are tried in an order, the most telling first.

Source: the API's contract, "Is the quota's end a 403 or a 429?"; the errors of public APIs, which
`tests/remote/test_verdict.py` lists.
"""

import re
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final
from zoneinfo import ZoneInfo

from pipeline.billing import Calendar, billing_month, reset_time


class Limit(Enum):
    """A limit that an error names."""

    RATE = "calls in a time of up to an hour, or at once"
    DAY = "calls of a day"
    PLAN = "calls of a month, or of the plan"


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_URL: Final = re.compile(r"https?://\S+")
"""Addresses of help pages contain words of every kind."""

_ORDER: Final = (
    (
        Limit.RATE,
        _words(
            r"per[\s_-]*(?:\d+[\s_-]*)?(?:second|sec\b|minute|min\b|hour)|\bhourly|"
            r"\b(?:a|every|each) (?:second|minute)|"
            r"(?:\d|requests?|reqs?|calls?) ?/ ?(?:\d+ ?)?(?:seconds?|secs?|s|minutes?|mins?|m|hours?|h)\b|"
            r"\b(?:qps|rps|qpm|rpm)\b|within \d+ (?:second|minute)|"
            r"每\s*\d*\s*(?:秒|分钟|小时)|秒级|分钟级|毎[秒分時]"
        ),
    ),
    (
        Limit.DAY,
        _words(
            r"per[\s_-]*(?:1[\s_-]*)?day|daily|\b(?:a|every|each) day|/ ?day\b|\brpd\b|"
            r"24[\s-]*hours?\b|每日|每天|今日|今天|当日|当天|日限|日流控|日配额|日调用|24\s*小时"
        ),
    ),
    (Limit.PLAN, _words(r"per[\s_-]*month|monthly|this month|本月|每月|当月")),
    (Limit.DAY, _words(r"\btoday\b")),
    (
        Limit.RATE,
        _words(
            r"rate[\s_-]*limit|(?:call|request)[\s_-]*rate|rate exceeded|throttl|too frequent|concurren|"
            r"(?:again|retry|wait|replenished)\D{0,20}\d+(?:\.\d+)? ?(?:ms|s|secs?|seconds?|m|mins?|minutes?)\b|"
            r"resource has been exhausted|频率|频繁|限流|流控|并发"
        ),
    ),
    (
        Limit.PLAN,
        _words(
            r"quota|subscription|upgrade (?:to|your|the) |exceeded your (?:current )?plan|credit balance|"
            r"insufficient(?![\s_-]*(?:permission|privilege|authenti|authori[sz]|scope|access|rights))|"
            r"配额|额度|余额不足|套餐|欠费"
        ),
    ),
)


def find_limit(text: str) -> Limit | None:
    """Return the limit that an error's text names; None when it names none."""
    words = _URL.sub(" ", text)
    return next((limit for limit, pattern in _ORDER if pattern.search(words)), None)


def describe_end(limit: Limit | None, now: datetime, calendar: Calendar) -> str:
    """Return when a used-up limit ends, as the end of a message: the service has not said it.

    Args:
        limit: The limit; anything but a day's ends with the plan's month.
        now: An aware moment of that day, or month.
        calendar: Time zone and reset day of the plan.
    """
    if limit is Limit.DAY:
        zone = ZoneInfo(calendar.timezone)
        tomorrow = now.astimezone(zone).date() + timedelta(days=1)
        end = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=zone).astimezone(UTC)
        return f"; the day ends on {end:%Y-%m-%d %H:%M} UTC"
    return f"; the month ends on {reset_time(billing_month(now, calendar), calendar):%Y-%m-%d %H:%M} UTC"

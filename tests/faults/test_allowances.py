"""Headers that say what is left: a run waits before it is refused, and headers that lie do not slow it down."""

import asyncio
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from pipeline.records import State
from pipeline.remote.claims import Claims
from tests.fakes import Call, accept, serve_fake
from tests.pages import write_pages
from tests.runs import run_here
from tests.virtual_time import run_virtual

Headers = Callable[[int, float], dict[str, str]]
"""The headers for a number of calls left, and the seconds to the reset."""

FORMS: dict[str, Headers] = {
    "draft-10": lambda left, reset_s: {
        "RateLimit": f'"p";r={left};t={math.ceil(reset_s)}',
        "RateLimit-Policy": '"p";q=20;w=30',
    },
    "draft-6": lambda left, reset_s: {
        "RateLimit-Limit": "20",
        "RateLimit-Remaining": str(left),
        "RateLimit-Reset": str(math.ceil(reset_s)),
    },
    "openai": lambda left, reset_s: {
        "x-ratelimit-limit-requests": "20",
        "x-ratelimit-remaining-requests": str(left),
        "x-ratelimit-reset-requests": f"{reset_s:.3f}s",
    },
}


class Window:
    """A service that serves 20 calls in each window of 30 s and refuses others without a Retry-After.

    Args:
        headers: Say what is left; None sends none.
    """

    def __init__(self, headers: Headers | None) -> None:
        self._headers = headers
        self._window = 0
        self._left = 20
        self.refused = 0

    async def answer(self, call: Call) -> web.StreamResponse:
        """Serve or refuse one call."""
        if (window := int(call.at_s // 30)) != self._window:
            self._window, self._left = window, 20
        is_served = self._left > 0
        self._left -= is_served
        headers = self._headers(self._left, (window + 1) * 30 - call.at_s) if self._headers else {}
        if is_served:
            await asyncio.sleep(0.2)
            response = accept(call)
        else:
            self.refused += 1
            response = web.json_response({"statusText": "Too Many Requests"}, status=429)
        response.headers.update(headers)
        return response


def recognise(scans: Path, workspace: Path, service: Window) -> float:
    """Recognise 60 pages and return the duration on the event loop's clock."""

    async def main() -> float:
        async with serve_fake(service.answer) as fake:
            summary = await run_here(scans, workspace, fake.url, run={"jobs": 4})
        assert (summary.exit_code, summary.totals[State.DONE]) == (0, 60)
        assert summary.calls == 60
        return summary.elapsed_s

    write_pages(scans, 60)
    return run_virtual(main())


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=() if form == "draft-10" else pytest.mark.deep) for form in FORMS]
)
def test_a_run_waits_for_the_reset_before_it_is_refused(form: str, scans: Path, tmp_path: Path) -> None:
    """Three windows: the last 20 pages are served as soon as the third opens, at 60 s."""
    service = Window(FORMS[form])
    elapsed_s = recognise(scans, tmp_path / "out", service)
    assert service.refused <= 2
    assert elapsed_s < 60 / 0.9


def test_without_headers_it_is_refused_first(scans: Path, tmp_path: Path) -> None:
    """Negative control."""
    service = Window(None)
    assert recognise(scans, tmp_path / "out", service) > 60 / 0.9
    assert service.refused > 5


def constant_zero(_: int, reset_s: float) -> dict[str, str]:
    """Say that nothing is left, always."""
    return {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "50"}


class Unlimited(Window):
    """Serves all calls, and says always that nothing is left."""

    async def answer(self, call: Call) -> web.StreamResponse:
        self._left = 20
        return await super().answer(call)


def test_a_header_that_always_says_zero_costs_at_most_three_resets(scans: Path, tmp_path: Path) -> None:
    elapsed_s = recognise(scans, tmp_path / "out", Unlimited(constant_zero))
    assert elapsed_s < 3 * 50 + 10


def test_if_it_were_believed_the_run_would_last_for_ever(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: a few calls per reset."""
    monkeypatch.setattr(Claims, "_compare", lambda *_: None)
    assert recognise(scans, tmp_path / "out", Unlimited(constant_zero)) > 6 * 50

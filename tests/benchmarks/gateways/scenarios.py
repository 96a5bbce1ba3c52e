"""The limiters of the table, and what a client can reach behind each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import limits

from tests.benchmarks.gateways.ideals import Ideal, at_once, bucket, concurrency, counter, slower_of, windows
from tests.gateways import envoy, haproxy, imitations, nginx, traefik
from tests.gateways.application import Admission, Application, Decision, Headers, Strategy, limit_by_library
from tests.gateways.gateway import Limiter

AFTER_PENALTY: Final = 0.8
"""Least share of the ideal where a penalty must be met before it is known."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A limiter, and a run behind it.

    Attributes:
        name: Names its row.
        limiter: The limiter.
        pages: Pages of the run.
        ideal: The least time under the limit.
        latency_s: The service's time per page.
        least_share: Of the permitted rate, which pagemill must reach.
        done: Pages that the limit lets through; None: all.
        exit_codes: With which pagemill may end.
        patience_s: pagemill's `patience_s`.
    """

    name: str
    limiter: Limiter
    pages: int
    ideal: Ideal
    latency_s: float = 0.1
    least_share: float = 0.9
    done: int | None = None
    exit_codes: frozenset[int] = frozenset({0})
    patience_s: int = 600

    @property
    def expected_done(self) -> int:
        """Pages that must be done."""
        return self.pages if self.done is None else self.done


def _nginx_bucket(rate_per_s: int, words: str, pages: int, *, status: int = 429) -> Scenario:
    """Return nginx's `limit_req`, whose words are `no burst`, `burst=N nodelay` or `burst=N (delay)`."""
    burst = 0 if words == "no burst" else int(words.removeprefix("burst=").split()[0])
    options = {"no burst": ""}.get(words, words.replace(" (delay)", ""))
    limiter = nginx.limit_requests(f"{rate_per_s}r/s", options, status=status)
    name = f"nginx {rate_per_s}r/s {words} {status}"
    return Scenario(name, limiter, pages, bucket(rate_per_s, burst + 1))


def _nginx_named_wait(status: int, wait_s: int, pages: int) -> Scenario:
    limiter = nginx.limit_requests_and_name_wait("5r/s", "burst=10 nodelay", status=status, retry_after_s=wait_s)
    words = " nodelay 429" if status == 429 else f" {status}"
    return Scenario(f"nginx 5r/s burst=10{words} + Retry-After {wait_s}", limiter, pages, bucket(5, 11))


def _nginx_both() -> Scenario:
    limiter = nginx.limit_both("20r/s", "burst=10 nodelay", 3, status=429)
    return Scenario("nginx 20r/s burst=10 + limit_conn 3 429", limiter, 500, slower_of(bucket(20, 11), concurrency(3)))


NGINX: Final = [
    _nginx_bucket(5, "burst=10 nodelay", 200),
    _nginx_bucket(5, "burst=10 nodelay", 200, status=503),
    _nginx_bucket(5, "burst=10 (delay)", 200, status=503),
    _nginx_bucket(5, "burst=10 (delay)", 200),
    _nginx_bucket(5, "no burst", 150),
    _nginx_bucket(50, "burst=20 nodelay", 1500),
    _nginx_bucket(50, "burst=20 nodelay", 1500, status=503),
    _nginx_bucket(50, "no burst", 1000),
    _nginx_bucket(50, "burst=20 (delay)", 1000),
    _nginx_named_wait(429, 1, 200),
    _nginx_named_wait(529, 2, 100),
    _nginx_named_wait(503, 2, 100),
    Scenario(
        "nginx 60r/m burst=5 nodelay 429",
        nginx.limit_requests("60r/m", "burst=5 nodelay", status=429),
        120,
        bucket(1, 6),
    ),
    Scenario("nginx limit_conn 4 429", nginx.limit_connections(4, status=429), 800, concurrency(4)),
    Scenario("nginx limit_conn 4 503", nginx.limit_connections(4), 800, concurrency(4)),
    Scenario(
        "nginx limit_conn 2 429 500ms", nginx.limit_connections(2, status=429), 150, concurrency(2), latency_s=0.5
    ),
    _nginx_both(),
]


def _haproxy_rate(calls: int, window_s: int, pages: int) -> Scenario:
    limiter = haproxy.limit_rate(calls, f"{window_s}s")
    return Scenario(f"haproxy rate({window_s}s) gt {calls}, all counted", limiter, pages, counter(calls, window_s))


HAPROXY: Final = [
    _haproxy_rate(100, 10, 500),
    _haproxy_rate(20, 10, 120),
    _haproxy_rate(20, 60, 60),
    _haproxy_rate(20, 1, 600),
    Scenario(
        "haproxy gpc0_rate(10s) ge 100, refused free", haproxy.limit_accepted_rate(100, "10s"), 500, counter(100, 10)
    ),
    Scenario(
        "haproxy rate(10s) gt 100 429 + Retry-After 10",
        haproxy.limit_rate(100, "10s", haproxy.named_wait(10)),
        500,
        counter(100, 10),
        least_share=AFTER_PENALTY,
    ),
    Scenario("haproxy rate(10s) gt 100 403 default", haproxy.limit_rate(100, "10s", "deny"), 300, counter(100, 10)),
    Scenario("haproxy conn_cur gt 8 429", haproxy.limit_connections(8), 600, concurrency(8)),
    Scenario("haproxy tcp reject src_conn_cur", haproxy.reject_connections(8), 600, concurrency(8)),
]

# since 1.30 Envoy's bucket fills continuously, whatever its interval (measured)
ENVOY: Final = [
    Scenario("envoy 5/s batch 1s", envoy.limit_rate(5, "1s"), 200, bucket(5, 5)),
    Scenario("envoy 100 per 10s", envoy.limit_rate(100, "10s"), 500, bucket(10, 100)),
    Scenario("envoy 10 per 60s", envoy.limit_rate(10, "60s"), 40, bucket(1 / 6, 10)),
    Scenario(
        "envoy 60 per 60s xrl",
        envoy.limit_rate(60, "60s", enable_x_ratelimit_headers="DRAFT_VERSION_03"),
        200,
        bucket(1, 60),
    ),
    Scenario("envoy 50 tokens, 50/s", envoy.limit_rate(50, "1s"), 1500, bucket(50, 50)),
    # a fifth call waits for one of the four connections (measured)
    Scenario("envoy circuit breaker 4 503", envoy.break_circuit(4), 600, concurrency(4)),
    Scenario("envoy adaptive concurrency 8 503", envoy.limit_adaptively(8), 600, concurrency(8)),
    Scenario(
        "envoy adaptive concurrency 8 429",
        envoy.limit_adaptively(8, concurrency_limit_exceeded_status={"code": 429}),
        600,
        concurrency(8),
    ),
]

TRAEFIK: Final = [
    Scenario("traefik rateLimit 5/s burst 10", traefik.limit_rate(5, 10), 200, bucket(5, 10)),
    Scenario("traefik rateLimit 50/s burst 20", traefik.limit_rate(50, 20), 1500, bucket(50, 20)),
    Scenario("traefik rateLimit 10/min burst 1", traefik.limit_rate(10, 1, "1m"), 40, bucket(1 / 6, 1)),
    Scenario("traefik inFlightReq 4", traefik.limit_in_flight(4), 600, concurrency(4)),
]


def _library(strategy: Strategy, rates: str, pages: int, headers: Headers = "none") -> Scenario:
    """Return a limiter of the library `limits`, named after its settings."""
    words = {"counter": "swc"}.get(strategy, strategy), rates, {"none": "", "IETF": "IETF draft"}.get(headers, headers)
    parsed = [(rate.amount, rate.get_expiry()) for rate in limits.parse_many(rates)]
    ideal = counter(*parsed[0]) if strategy == "counter" else windows(*parsed)
    return Scenario(
        " ".join(("limits", *filter(None, words))), limit_by_library(strategy, rates, headers), pages, ideal
    )


LIBRARY: Final = [
    _library("fixed", "60/minute", 200),
    _library("fixed", "60/minute", 200, "Retry-After"),
    _library("fixed", "60/minute", 200, "Retry-After rounded down"),
    replace(_library("fixed", "60/minute", 200, "Retry-After of the window"), least_share=AFTER_PENALTY),
    _library("fixed", "60/minute", 200, "X-RateLimit"),
    _library("fixed", "60/minute", 200, "IETF"),
    _library("fixed", "60/minute", 200, "RateLimit-*"),
    _library("fixed", "10/minute", 40),
    _library("fixed", "10/minute", 40, "Retry-After"),
    _library("fixed", "100/10 seconds", 600),
    _library("fixed", "5/second", 200),
    _library("fixed", "5/second", 200, "Retry-After"),
    _library("moving", "60/minute", 200),
    _library("moving", "60/minute", 200, "Retry-After"),
    _library("moving", "10/minute", 40),
    _library("moving", "100/10 seconds", 600),
    _library("moving", "5/second", 200),
    _library("counter", "60/minute", 200),
    _library("counter", "100/10 seconds", 600),
    _library("fixed", "5/second;100/minute", 300),
    _library("moving", "5/second;100/minute", 300),
    _library("moving", "5/second;100/minute", 300, "Retry-After"),
]


def _imitated(name: str, admission: Callable[[], Admission], pages: int, ideal: Ideal) -> Scenario:
    return Scenario(name, Application(admission), pages, ideal)


def _blocking(name: str, calls: int, window_s: int, pages: int, refuse: imitations.Refuse) -> Scenario:
    """Return a limiter that blocks for 30 s; the ideal is that of a client that never meets the block."""
    admission = partial(imitations.Block, calls, window_s, 30, refuse)
    limited = _imitated(name, admission, pages, windows((calls, window_s)))
    return replace(limited, least_share=AFTER_PENALTY)


def _day(name: str, refuse: Callable[[], Decision]) -> Scenario:
    """Return a cap of 100 calls a day; most of such a run is start-up and patience, so that its speed says nothing."""
    limited = _imitated(name, partial(imitations.DayCap, 100, refuse), 150, at_once)
    return replace(limited, least_share=0.0, done=100, exit_codes=frozenset({8}), patience_s=20)


IMITATIONS: Final = [
    _day("daily cap 100 no Retry-After", imitations.plain_refusal),
    _day("daily cap 100 in words", imitations.day_refusal),
    _imitated(
        "imit AWS 10/s burst 20", partial(imitations.TokenBucket, 10, 20, imitations.aws_refusal), 300, bucket(10, 20)
    ),
    _imitated(
        "imit Azure 60/min", partial(imitations.TokenBucket, 1, 20, imitations.azure_refusal), 120, bucket(1, 20)
    ),
    _imitated("imit Google 60/min", partial(imitations.ClockWindow, 60, 60, imitations.google), 200, windows((60, 60))),
    _imitated(
        "imit Google 60/min in statusText",
        partial(imitations.ClockWindow, 60, 60, imitations.google_in_status_text),
        200,
        windows((60, 60)),
    ),
    _imitated("imit Kong 60/min", partial(imitations.ClockWindow, 60, 60, imitations.kong(60)), 200, windows((60, 60))),
    _blocking("imit Cloudflare 50 per 10s block 30s", 50, 10, 1000, imitations.cloudflare_refusal),
    _blocking("imit 50 per 5s block 30s", 50, 5, 1500, imitations.plain_refusal),
]

LONGER: Final = {
    "haproxy rate(10s) gt 20, all counted": 600,
    "haproxy rate(60s) gt 20, all counted": 200,
    "limits fixed 60/minute": 600,
    "limits fixed 60/minute Retry-After": 600,
    "limits moving 60/minute": 600,
    "limits fixed 10/minute": 120,
    "nginx 5r/s no burst 429": 1500,
    "haproxy rate(10s) gt 100 429 + Retry-After 10": 3000,
    "limits fixed 5/second;100/minute": 900,
    "imit 50 per 5s block 30s": 3000,
}
"""Pages of the runs `long …`, by the name of the short one."""

_SHORT: Final = [*NGINX, *HAPROXY, *ENVOY, *TRAEFIK, *LIBRARY, *IMITATIONS]
_LONG: Final = [
    replace(scenario, name=f"long {scenario.name}", pages=LONGER[scenario.name])
    for scenario in _SHORT
    if scenario.name in LONGER
]
SCENARIOS: Final[Sequence[Scenario]] = [*_SHORT, *_LONG]

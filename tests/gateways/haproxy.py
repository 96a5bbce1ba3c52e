"""HAProxy with a stick table: rates in a sliding window, and connections at once."""

import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fakes import serve_fake
from tests.gateways.gateway import Gateway, LoggedCall, accept_after, parse_retry_after
from tests.gateways.programs import find_program, reserve_port, run_program

# One thread: with two, a call may be counted between another one's count and its check, which refuses both.
SETTINGS: Final = """\
global
  nbthread 1
  log stdout format raw local0
  maxconn 4096
  hard-stop-after 2s
defaults
  mode http
  log global
  log-format "call %[var(txn.arrived_ms)] %Ta %ST %[var(txn.retry_after)]"
  timeout client 70s
  timeout server 70s
  timeout connect 5s
  timeout http-keep-alive 70s
frontend limiter
  bind 127.0.0.1:{port}
  http-request set-var(txn.arrived_ms) date(0,ms)
  http-after-response set-var(txn.retry_after) res.hdr(retry-after)
{rules}
  default_backend service
backend service
  server service {service}
"""


@dataclass(frozen=True, slots=True)
class Haproxy:
    """HAProxy and the rules of its frontend, in their order."""

    rules: Sequence[str]

    @asynccontextmanager
    async def serve(self, directory: Path, latency_s: float) -> AsyncGenerator[Gateway]:
        """Run HAProxy in front of a service; see `Limiter`."""
        async with serve_fake(accept_after(latency_s)) as service:
            with reserve_port() as port:
                settings = directory / "haproxy.cfg"
                rules = "\n".join(f"  {rule}" for rule in self.rules)
                settings.write_text(
                    SETTINGS.format(port=port, rules=rules, service=service.url.removeprefix("http://"))
                )
                log = directory / "haproxy.out"
                command = (find_program("haproxy"), "-db", "-f", settings)
                async with run_program(command, port, log, graceful_signal=signal.SIGUSR1):
                    yield Gateway(f"http://127.0.0.1:{port}", service, lambda: read_log(log))


def _table(counters: str) -> str:
    return f"stick-table type ip size 10k expire 120s store {counters}"


def limit_rate(calls: int, window: str, refusal: str = "deny deny_status 429") -> Haproxy:
    """Return HAProxy that admits so many calls per window, refused ones counted.

    Args:
        calls: Calls per window.
        window: Such as `10s`.
        refusal: The action of `http-request` for a call too many; `deny` alone answers with the plain 403 page.
    """
    return Haproxy(
        (
            _table(f"http_req_rate({window})"),
            "http-request track-sc0 src",
            f"http-request {refusal} if {{ sc_http_req_rate(0) gt {calls} }}",
        )
    )


def limit_accepted_rate(calls: int, window: str) -> Haproxy:
    """Return HAProxy that admits so many calls per window, refused ones not counted."""
    return Haproxy(
        (
            _table(f"gpc0,gpc0_rate({window})"),
            "http-request track-sc0 src",
            f"http-request deny deny_status 429 if {{ sc0_gpc0_rate ge {calls} }}",
            "http-request sc-inc-gpc0(0)",
        )
    )


def limit_connections(connections: int) -> Haproxy:
    """Return HAProxy that answers 429 on connections beyond so many."""
    return Haproxy(
        (
            _table("conn_cur"),
            "http-request track-sc0 src",
            f"http-request deny deny_status 429 if {{ sc_conn_cur(0) gt {connections} }}",
        )
    )


def reject_connections(connections: int) -> Haproxy:
    """Return HAProxy that closes connections beyond so many at once, unanswered and not logged."""
    return Haproxy(
        (
            _table("conn_cur"),
            "tcp-request connection track-sc0 src",
            f"tcp-request connection reject if {{ sc_conn_cur(0) gt {connections} }}",
        )
    )


def named_wait(retry_after_s: int) -> str:
    """Return the action of a refusal by 429 with a Retry-After."""
    body = '{"statusText":"slow down"}'
    return f"return status 429 content-type application/json string '{body}' hdr Retry-After {retry_after_s}"


def read_log(path: Path) -> Sequence[LoggedCall]:
    """Return the calls of a log; connections without a request have no arrival."""
    calls = []
    for line in path.read_text().splitlines():
        name, *fields = line.split()
        if name != "call" or fields[0] == "-":
            continue
        arrived_ms, lasted_ms, status, retry_after = fields
        arrived_s = int(arrived_ms) / 1000
        ended_s = arrived_s + max(0, int(lasted_ms)) / 1000
        calls.append(LoggedCall(arrived_s, ended_s, max(0, int(status)), parse_retry_after(retry_after)))
    return calls

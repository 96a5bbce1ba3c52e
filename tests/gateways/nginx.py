"""nginx with `limit_req` or `limit_conn` (ngx_http_limit_req_module, ngx_http_limit_conn_module)."""

import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fakes import serve_fake
from tests.gateways.gateway import Gateway, LoggedCall, accept_after, parse_retry_after
from tests.gateways.programs import find_program, reserve_port, run_program

SETTINGS: Final = """\
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  log_format calls '$msec $request_time $status $sent_http_retry_after';
  access_log {directory}/calls.log calls;
  client_max_body_size 20m;
  client_body_buffer_size 1m;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  {zones}
  upstream service {{ server {service}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    {server}
    location /api/ {{
      {location}
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """nginx and its settings for limits.

    Attributes:
        zones: `limit_req_zone` and `limit_conn_zone`.
        location: Directives of the API's location.
        server: Further directives of the server, such as a location for an `error_page`.
    """

    zones: str
    location: str
    server: str = ""

    @asynccontextmanager
    async def serve(self, directory: Path, latency_s: float) -> AsyncGenerator[Gateway]:
        """Run nginx in front of a service; see `Limiter`."""
        async with serve_fake(accept_after(latency_s)) as service:
            with reserve_port() as port:
                settings = directory / "nginx.conf"
                settings.write_text(
                    SETTINGS.format(
                        directory=directory,
                        zones=self.zones,
                        service=service.url.removeprefix("http://"),
                        port=port,
                        server=self.server,
                        location=self.location,
                    )
                )
                # -e: otherwise a user who is not root is warned that the default log cannot be opened
                command = (find_program("nginx"), "-e", "stderr", "-p", directory, "-c", settings)
                output = directory / "nginx.out"
                async with run_program(command, port, output, graceful_signal=signal.SIGQUIT):
                    log = directory / "calls.log"
                    yield Gateway(f"http://127.0.0.1:{port}", service, lambda: read_log(log))


def limit_requests(rate: str, options: str, *, status: int = 503) -> Nginx:
    """Return nginx with `limit_req`.

    Args:
        rate: Such as `5r/s`.
        options: Such as `burst=10 nodelay`.
        status: Of a refusal; 503 is nginx's default.
    """
    return Nginx(
        f"limit_req_zone $binary_remote_addr zone=calls:1m rate={rate};",
        f"limit_req zone=calls {options}; limit_req_status {status};",
    )


def limit_requests_and_name_wait(rate: str, options: str, *, status: int, retry_after_s: int) -> Nginx:
    """Return nginx with `limit_req` whose refusals are JSON with a Retry-After."""
    limited = limit_requests(rate, options, status=status)
    body = '{"statusText":"slow down"}'
    return Nginx(
        limited.zones,
        f"{limited.location} error_page {status} @refuse;",
        f"location @refuse {{ add_header Retry-After {retry_after_s} always; default_type application/json; "
        f"return {status} '{body}'; }}",
    )


def limit_connections(calls: int, *, status: int = 503) -> Nginx:
    """Return nginx with `limit_conn`: at most so many calls at once."""
    return Nginx(
        "limit_conn_zone $binary_remote_addr zone=open:1m;", f"limit_conn open {calls}; limit_conn_status {status};"
    )


def limit_both(rate: str, options: str, calls: int, *, status: int) -> Nginx:
    """Return nginx with `limit_req` and `limit_conn` in one location."""
    requests, connections = limit_requests(rate, options, status=status), limit_connections(calls, status=status)
    return Nginx(f"{requests.zones} {connections.zones}", f"{requests.location} {connections.location}")


def read_log(path: Path) -> Sequence[LoggedCall]:
    """Return the calls of an access log."""
    calls = []
    for line in path.read_text().splitlines():
        ended, lasted, status, retry_after = line.split()
        calls.append(
            LoggedCall(float(ended) - float(lasted), float(ended), int(status), parse_retry_after(retry_after))
        )
    return calls

"""A monitor of cron jobs, as healthchecks.io is one: an HTTP server in a thread that records the pings it gets."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Ping:
    """One request.

    Attributes:
        path: Its path.
        run_id: Its parameter `rid`; None without one.
        body: What it said.
    """

    path: str
    run_id: str | None
    body: str


@dataclass(slots=True)
class Monitor:
    """The monitor's answers, and the pings it has got.

    Attributes:
        answers: (status, body) of the next pings; then it answers (200, "OK").
        pings: All pings, in the order of arrival.
        silent: While set, pings get no answer.
        url: The URL of a job.
    """

    answers: list[tuple[int, str]] = field(default_factory=list)
    pings: list[Ping] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @property
    def paths(self) -> list[str]:
        """The paths of all pings."""
        return [ping.path for ping in self.pings]


@contextmanager
def run_monitor() -> Generator[Monitor]:
    """Run a monitor on a free loopback port."""
    monitor = Monitor()
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            target = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            monitor.pings.append(Ping(target.path, next(iter(parse_qs(target.query).get("rid", [])), None), body))
            if monitor.silent.is_set():
                ended.wait()
                return
            status, text = monitor.answers.pop(0) if monitor.answers else (200, "OK")
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monitor.url = f"http://127.0.0.1:{server.server_address[1]}/job"
    try:
        yield monitor
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()

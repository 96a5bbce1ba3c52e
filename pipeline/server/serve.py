"""Starts the server from its configuration, and shuts it down."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

import anyio
from aiohttp import web

from pipeline.config import OPERATOR_KEY_VARIABLE, ServeConfig
from pipeline.convert import pdf
from pipeline.engine.recognition import EngineState, Recogniser
from pipeline.errors import UsageError
from pipeline.server.access.authentication import Authenticator
from pipeline.server.access.keyring import Keyring
from pipeline.server.api.app import create_app
from pipeline.server.http.addresses import is_loopback
from pipeline.server.http.admission import QUEUE_SLOTS_PER_WORKER, AdmissionControl
from pipeline.server.http.fetch import Fetcher
from pipeline.server.http.in_flight import InFlightRequests
from pipeline.server.http.listener import Runner, Site, fit_descriptors, set_send_timeout
from pipeline.server.http.observability import MALFORMED_ROUTE, Metrics
from pipeline.server.http.turns import FairTurns
from pipeline.server.workers.pdf_renderer import PdfProcess
from pipeline.server.workers.pool import Pool, plan_pool
from pipeline.shutdown import SERVER_SHUTDOWN_S
from pipeline.wire import is_api_key

SWITCH_INTERVAL_S: Final = 0.0005
"""How long a thread runs before another one may (Python's default is 5 ms). A request waits for threads four times, for
the key store and the check of its image, each time behind a busy event loop."""

OPERATOR_KEY_MIN_CHARS: Final = 20
"""Enough of the 64 characters of base64 for 120 bits."""


async def serve(
    config: ServeConfig,
    *,
    key: str | None,
    stop: anyio.Event,
    ready: Callable[[str], None],
    recogniser: AbstractAsyncContextManager[Recogniser] | None = None,
    keyring: Keyring | None = None,
    shutdown_s: float = SERVER_SHUTDOWN_S,
) -> None:
    """Serve the API until `stop` is set; then finish the requests in flight and end the workers.

    Args:
        config: Address, engine and limits.
        key: The operator's key, without a quota; without any key, requests from loopback alone are accepted.
        stop: Set by a signal, or at the end of stdin.
        ready: Called once with the base URL.
        recogniser: Reads the images; by default the engine's worker processes.
        keyring: The keys in the store; None accepts none of them.
        shutdown_s: Limit for requests in flight after `stop`.

    Raises:
        UsageError: the address cannot be bound, or is not loopback while there is no key.
        EngineError: the engine does not start.
        KeyStoreError: the key store cannot be read.
    """
    authenticator = await _make_authenticator(config, key, keyring)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(_bind(config.host, config.port))  # before the models load: it may be in use
        metrics, in_flight = Metrics(), InFlightRequests()
        engine, engine_state, workers = _choose_engine(config, recogniser, metrics)
        started = await _start_engine(stack, engine, stop)
        if started is None:
            return
        app = create_app(
            started,
            authenticator,
            admission=AdmissionControl(workers * QUEUE_SLOTS_PER_WORKER),
            turns=_turns_of_workers(workers) if recogniser is None else None,
            metrics=metrics,
            in_flight=in_flight,
            engine_state=engine_state,
            fetch=Fetcher().fetch if config.allow_urls else None,
            pdf_renderer=await stack.enter_async_context(PdfProcess()) if pdf.is_installed() else None,
        )
        async with _listening(app, listener, config, metrics) as site:
            ready(base_url(config.host, listener.getsockname()[1]))
            await stop.wait()
            await site.stop()
            await in_flight.shut_down(shutdown_s)


def _turns_of_workers(workers: int) -> FairTurns:
    """Return the turns of the engine's workers: each finishes its page although the caller has disconnected."""
    return FairTurns(workers, finishes_jobs=True)


def read_serve_key(environ: MutableMapping[str, str]) -> str | None:
    """Return the operator's key and delete it from the environment, which child processes inherit.

    Raises:
        UsageError: the key is empty or too short, or has spaces or control characters in it.
    """
    key = environ.pop(OPERATOR_KEY_VARIABLE, None)
    if key is not None and not is_api_key(key):
        raise UsageError(f"{OPERATOR_KEY_VARIABLE}: not a key (empty, or with spaces or control characters in it)")
    if key is not None and len(key) < OPERATOR_KEY_MIN_CHARS:
        raise UsageError(
            f"{OPERATOR_KEY_VARIABLE}: a key of {len(key)} characters can be guessed; at least "
            f"{OPERATOR_KEY_MIN_CHARS} are needed: openssl rand -hex 16"
        )
    return key


def stop_at_end_of_stdin(stop: anyio.Event) -> Callable[[], None]:
    """Set the event at the end of stdin, which comes when the parent process exits or crashes.

    Returns:
        A function that stops watching stdin. Call both in the event loop's thread.
    """
    loop = asyncio.get_running_loop()

    def unwatch() -> None:
        loop.remove_reader(0)

    def read() -> None:
        if not os.read(0, 4096):
            unwatch()
            stop.set()

    loop.add_reader(0, read)
    return unwatch


def base_url(host: str, port: int) -> str:
    """Return the URL of a server; an IPv6 address gets its brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _make_authenticator(config: ServeConfig, key: str | None, keyring: Keyring | None) -> Authenticator:
    on_loopback = is_loopback(config.host)
    without_keys = key is None and (keyring is None or await keyring.is_empty())
    if without_keys and not on_loopback:
        raise UsageError(
            f"serving on {config.host} needs a key: set {OPERATOR_KEY_VARIABLE}, or run: pagemill serve keys add"
        )
    authenticator = Authenticator(key=key, keyring=keyring, rate_per_s=config.rate_per_s, allow_anonymous=on_loopback)
    await authenticator.is_open()  # remembers it, to report when the first key closes the server
    await authenticator.closed_reason()  # logs it
    return authenticator


def _choose_engine(
    config: ServeConfig, recogniser: AbstractAsyncContextManager[Recogniser] | None, metrics: Metrics
) -> tuple[AbstractAsyncContextManager[Recogniser], Callable[[], EngineState], int]:
    """Return the recogniser, a function that returns its state, and its number of workers."""
    if recogniser is not None:
        return recogniser, EngineState, 1
    options = plan_pool(config)
    pool = Pool(options, record_page=metrics.record_page)
    return pool, pool.state, options.workers


async def _start_engine(
    stack: AsyncExitStack, engine: AbstractAsyncContextManager[Recogniser], stop: anyio.Event
) -> Recogniser | None:
    """Return the started engine; None when `stop` was set before it had started."""
    start = asyncio.ensure_future(stack.enter_async_context(engine))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({start, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return start.result() if start.done() else None
    finally:
        for future in (start, stopped):
            future.cancel()
        await asyncio.gather(start, stopped, return_exceptions=True)


@asynccontextmanager
async def _listening(
    app: web.Application, listener: socket.socket, config: ServeConfig, metrics: Metrics
) -> AsyncIterator[web.BaseSite]:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    runner = Runner(
        app,
        on_malformed=lambda status: metrics.count_response(MALFORMED_ROUTE, status),
        max_connections=fit_descriptors(),
        on_evicted=metrics.count_evicted_connections,
    )
    try:
        await runner.setup()
        site = Site(runner, listener)
        try:
            await site.start()
        except OSError as exc:
            raise UsageError(f"cannot listen on {config.host}:{config.port}: {exc.strerror or exc}") from exc
        yield site
    finally:
        await runner.cleanup()


def _bind(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # "localhost" may resolve to IPv4 and IPv6; the base URL can have only one address.
        family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            set_send_timeout(listener)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as exc:
        raise UsageError(f"cannot listen on {host}:{port}: {exc.strerror or exc}") from exc
    return listener

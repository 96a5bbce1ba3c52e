"""From a configuration to a server that answers, and to its orderly end."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import anyio
from aiohttp import web

from pipeline.config import OPERATOR_KEY_VARIABLE, ServeConfig
from pipeline.engine.recognition import EngineState, Recogniser
from pipeline.errors import UsageError
from pipeline.server.access.access import Access
from pipeline.server.access.keyring import Keyring
from pipeline.server.api.app import create_app
from pipeline.server.http.addresses import is_loopback
from pipeline.server.http.fetch import Fetcher
from pipeline.server.http.load import PLACES_PER_WORKER, Load, Traffic
from pipeline.server.http.metrics import MALFORMED, Metrics
from pipeline.server.http.protocol import BoundedSite, Runner, limit_unread
from pipeline.server.workers.pool import Pool, plan_pool
from pipeline.shutdown import SERVER_SHUTDOWN_S


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
    """Serve the API until asked to stop; then finish the requests in flight and end the workers.

    Args:
        config: Where to listen, and which engine.
        key: The operator's own key, let in without a quota. Without it and without keys in the store, everybody is
            let in, from this machine alone.
        stop: Set by a signal, or by the end of stdin.
        ready: Called once with the base URL when the server answers.
        recogniser: Reads the images; the default starts the engine's worker processes.
        keyring: The keys that were made for callers; None takes none of them.
        shutdown_s: How long requests in flight may take after `stop`.

    Raises:
        UsageError: the address cannot be listened on, or is not this machine's alone and there is no key.
        EngineError: the engine does not start.
        KeyStoreError: the keys cannot be read.
    """
    access = await _check_access(config, key, keyring)
    async with AsyncExitStack() as stack:
        # Bound before the models load, so that a port in use is told at once; it listens when the engine is ready.
        listener = stack.enter_context(_bind(config.host, config.port))
        metrics, traffic = Metrics(), Traffic()
        engine, engine_state, workers = _choose_engine(config, recogniser, metrics)
        started = await _enter(stack, engine, stop)
        if started is None:
            return
        app = create_app(
            started,
            access,
            load=Load(workers * PLACES_PER_WORKER),
            metrics=metrics,
            traffic=traffic,
            engine_state=engine_state,
            fetch=Fetcher().fetch if config.allow_urls else None,
        )
        async with _listening(app, listener, config, metrics) as site:
            ready(base_url(config.host, listener.getsockname()[1]))
            await stop.wait()
            await site.stop()
            await traffic.end(shutdown_s)


def read_serve_key(environ: MutableMapping[str, str]) -> str | None:
    """Return the key that callers must show, and take it out of the environment, which child processes inherit.

    Raises:
        UsageError: it is empty, or has spaces or control characters in it.
    """
    key = environ.pop(OPERATOR_KEY_VARIABLE, None)
    if key is not None and (not key or not key.isprintable() or " " in key):
        raise UsageError(f"{OPERATOR_KEY_VARIABLE}: not a key (empty, or with spaces or control characters in it)")
    return key


def stop_at_end_of_stdin(stop: anyio.Event) -> Callable[[], None]:
    """Set the event when stdin ends, as it does when the process that started this one is gone, however it went.

    Returns:
        Ends the watch. Call both in the event loop's thread.
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


async def _check_access(config: ServeConfig, key: str | None, keyring: Keyring | None) -> Access:
    alone = is_loopback(config.host)
    without_keys = key is None and (keyring is None or await keyring.is_empty())
    if without_keys and not alone:
        raise UsageError(
            f"serving on {config.host} needs a key: set {OPERATOR_KEY_VARIABLE}, or run: pagemill serve keys add"
        )
    return Access(key=key, keyring=keyring, rate_per_s=config.rate_per_s, anyone=alone)


def _choose_engine(
    config: ServeConfig, recogniser: AbstractAsyncContextManager[Recogniser] | None, metrics: Metrics
) -> tuple[AbstractAsyncContextManager[Recogniser], Callable[[], EngineState], int]:
    """Return what reads the images, what tells how it is, and its number of workers."""
    if recogniser is not None:
        return recogniser, EngineState, 1
    options = plan_pool(config)
    pool = Pool(options, page_took=metrics.page_took)
    return pool, pool.state, options.workers


async def _enter(
    stack: AsyncExitStack, engine: AbstractAsyncContextManager[Recogniser], stop: anyio.Event
) -> Recogniser | None:
    """Return the started engine; None when it was asked to stop before."""
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
    runner = Runner(app, malformed=lambda status: metrics.request_answered(MALFORMED, status))
    try:
        await runner.setup()
        site = BoundedSite(runner, listener)
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
        # "localhost" may name both families; the base URL can name one.
        family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            limit_unread(listener)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as exc:
        raise UsageError(f"cannot listen on {host}:{port}: {exc.strerror or exc}") from exc
    return listener

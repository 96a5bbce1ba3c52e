"""Fetching images from public hosts, and from no others; 127.0.0.2 stands for a public host."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ServeConfig
from pipeline.server.http.addresses import AddressCheck, is_public
from pipeline.server.http.fetch import (
    MAX_FETCHES,
    MAX_REDIRECTS,
    NOT_FETCHED,
    Fetcher,
    fetch_image,
    is_own,
    may_connect_to,
)
from pipeline.server.http.requests import RequestError
from tests.server.canary import Canary, listening_canary
from tests.server.ssrf_urls import INSIDE, SHAPES, SPELLINGS, WHOLE, loopback_urls

OUTSIDE = "127.0.0.2"
NAME = "images.example"
IMAGE = b"an image, or whatever the check takes it for"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_outside(address: str) -> bool:
    """Return what the server's check returns, and True for the address of the public host."""
    return address == OUTSIDE or is_public(address)


def allow_all(_address: str) -> bool:
    """Allow every address: the check removed, for the negative controls."""
    return True


class Names:
    """A name server: each lookup of a name takes its next result, the last one again and again."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {name.replace("_", "."): answers for name, answers in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        answers = self._answers.get(host)
        if answers is None:
            raise OSError("no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]


@asynccontextmanager
async def outside(handler: Handler, *, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve the public host; yield its port."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, OUTSIDE, port, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def send_image(_request: web.Request) -> web.Response:
    """Return the image, as a public image server does."""
    return web.Response(body=IMAGE)


def fetcher(names: Names | None = None, is_allowed: AddressCheck = is_outside, **options: float) -> Fetcher:
    """Return a fetcher with a scripted name server."""
    lookup = names or Names(images_example=[[OUTSIDE]])
    return Fetcher(is_allowed=is_allowed, lookup=lookup, **options)  # type: ignore[arg-type]


async def error_of(fetch: Awaitable[bytes]) -> str:
    """Return the message of the 400 that the fetch ends with."""
    with pytest.raises(RequestError) as caught:
        await fetch
    assert caught.value.status == 400
    return str(caught.value)


async def test_an_image_of_a_public_host_is_fetched() -> None:
    async with outside(send_image) as port:
        assert await fetcher().fetch(f"http://{NAME}:{port}/scan 1.png?size=full#top") == IMAGE
        assert await fetcher().fetch(f"http://{OUTSIDE}:{port}") == IMAGE


async def test_a_fetch_sends_no_cookie_referrer_or_credentials() -> None:
    received: list[web.BaseRequest] = []

    async def redirect_with_cookie(request: web.Request) -> web.Response:
        received.append(request)
        headers = {"Location": "/next", "Set-Cookie": "track=1"}
        return web.Response(status=302, headers=headers) if request.path == "/" else web.Response(body=IMAGE)

    async with outside(redirect_with_cookie) as port:
        assert await fetcher().fetch(f"http://{NAME}:{port}/") == IMAGE
    assert [request.path for request in received] == ["/", "/next"]
    for request in received:
        assert set(request.headers) == {"Host", "Accept", "Accept-Encoding", "Connection", "User-Agent"}


@pytest.mark.parametrize("url", [*loopback_urls(1), *INSIDE])
async def test_no_spelling_of_loopback_and_no_inner_host_is_fetched(url: str) -> None:
    """No name but localhost and the non-canonical numbers reaches the name server."""
    names = Names(localhost=[["127.0.0.1", "::1"]])
    assert await error_of(fetcher(names).fetch(url)) == NOT_FETCHED
    assert {name.rstrip(".") for name in names.asked} <= {
        "localhost",
        "0x7f.0.0.1",
        "0x7f.1",
        "0x7f000001",
        "0x0",
        "\0",
    }


async def fetch_all(canary: Canary, is_allowed: AddressCheck, urls: list[str]) -> None:
    """Fetch each URL with the system's name lookup."""
    real = Fetcher(is_allowed=is_allowed, timeout_s=5.0)
    for url in urls:
        await error_of(real.fetch(url))


def direct_urls(port: int) -> list[str]:
    """Return the URLs of loopback that need no gateway, so that a fetch without the check stays on this machine."""
    urls = [SHAPES[0].format(host=host, port=port) for host in SPELLINGS]
    return urls + [url.format(port=port) for url in WHOLE]


async def test_no_url_of_loopback_reaches_the_canary() -> None:
    async with listening_canary() as canary:
        await fetch_all(canary, is_public, loopback_urls(canary.port))
        assert await canary.count_visits() == 0


async def test_without_the_check_the_canary_is_reached() -> None:
    """Negative control of the test above."""
    async with listening_canary() as canary:
        await fetch_all(canary, allow_all, direct_urls(canary.port))
        assert await canary.count_visits() >= 10


@pytest.mark.parametrize(("is_allowed", "is_found"), [(is_outside, False), (allow_all, True)])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "inner.example", "//127.0.0.1"])
async def test_a_redirect_to_loopback_is_not_followed(
    is_allowed: AddressCheck,
    is_found: bool,  # noqa: FBT001 - what the negative control turns round
    status: int,
    host: str,
) -> None:
    async with listening_canary() as canary:

        async def redirect(_request: web.Request) -> web.Response:
            place = f"{host}:{canary.port}/" if host.startswith("//") else f"http://{host}:{canary.port}/"
            return web.Response(status=status, headers={"Location": place})

        names = Names(images_example=[[OUTSIDE]], inner_example=[["127.0.0.1"]])
        async with outside(redirect) as port:
            assert await error_of(fetcher(names, is_allowed).fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED
        assert (await canary.count_visits() > 0) is is_found


async def test_dns_rebinding_between_check_and_connection_has_no_effect() -> None:
    names = Names(images_example=[[OUTSIDE], ["127.0.0.1"]])
    async with listening_canary() as canary, outside(send_image, port=canary.port) as port:
        assert await fetcher(names).fetch(f"http://{NAME}:{port}/") == IMAGE
        assert names.asked == [NAME]
        assert await error_of(fetcher(names).fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED
        assert await canary.count_visits() == 0


@pytest.mark.parametrize(("is_allowed", "is_found"), [(is_outside, False), (allow_all, True)])
async def test_the_name_in_a_redirect_is_looked_up_and_checked_again(
    is_allowed: AddressCheck,
    is_found: bool,  # noqa: FBT001 - what the negative control turns round
) -> None:
    """The name is public at the first hop and loopback at the second."""

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": str(request.url.with_path("/next"))})

    names = Names(images_example=[[OUTSIDE], ["127.0.0.1"]])
    async with listening_canary() as canary, outside(redirect, port=canary.port) as port:
        assert await error_of(fetcher(names, is_allowed).fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED
        assert (await canary.count_visits() > 0) is is_found


@pytest.mark.parametrize(
    "addresses", [[OUTSIDE, "127.0.0.1"], ["::1", OUTSIDE], [OUTSIDE, "fe80::1%1"], [OUTSIDE, ""], []]
)
async def test_a_name_with_one_inner_address_is_blocked(addresses: list[str]) -> None:
    async with outside(send_image) as port:
        assert await error_of(fetcher(Names(images_example=[addresses])).fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED


async def test_redirects_are_followed_up_to_a_maximum() -> None:
    asked: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": f"{request.path}x"})

    async with outside(redirect) as port:
        assert await error_of(fetcher().fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED
    assert len(asked) == 1 + MAX_REDIRECTS


@pytest.mark.parametrize(
    "location", [None, "", "file:///etc/passwd", "http://[", "ftp://images.example/", "http://u:p@127.0.0.2/"]
)
async def test_a_redirect_without_a_usable_location_fails(location: str | None) -> None:
    async def redirect(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={} if location is None else {"Location": location})

    async with outside(redirect) as port:
        assert await error_of(fetcher().fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED


async def test_blocked_unreachable_and_failing_hosts_get_the_same_message() -> None:
    async def fail(request: web.Request) -> web.Response:
        return web.Response(status=int(request.path[1:]))

    async with outside(fail) as port:
        message = {
            await error_of(fetcher().fetch(f"http://{NAME}:{port}/{status}")) for status in (204, 304, 401, 404, 500)
        }
    message.add(await error_of(fetcher().fetch(f"http://{NAME}:{port}/")))  # no longer listening
    message.add(await error_of(fetcher().fetch("http://127.0.0.1:1/")))
    message.add(await error_of(fetcher().fetch("http://nowhere.example/")))
    message.add(await error_of(fetcher().fetch(f"http://{NAME}/{'x' * 9000}")))
    assert message == {NOT_FETCHED}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_body_beyond_the_limit_is_rejected_also_when_it_is_compressed(packed: bool, chunked: bool) -> None:  # noqa: FBT001
    async def send_much(_request: web.Request) -> web.Response:
        body = gzip.compress(bytes(50_000_000)) if packed else bytes(50_000_000)
        response = web.Response(body=body, headers={"Content-Encoding": "gzip"} if packed else None)
        if chunked:
            response.enable_chunked_encoding()
        return response

    async with outside(send_much) as port:
        assert await error_of(fetcher().fetch(f"http://{NAME}:{port}/")) == "image is larger than 10 MB"


async def test_a_host_that_does_not_respond_fails_at_the_timeout() -> None:
    async def wait(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with outside(wait) as port:
        assert await error_of(fetcher(timeout_s=0.2).fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED


@pytest.mark.parametrize("drips", [b"", b"x"], ids=["silent-after-its-headers", "a-byte-now-and-then"])
async def test_an_image_that_arrives_too_slowly_fails_long_before_the_timeout(drips: bytes) -> None:
    """A host that sends a byte at a time would hold a fetch for all of its time."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            if drips:
                await response.write(drips)
            await asyncio.sleep(0.01)

    async with outside(drip) as port, asyncio.timeout(20):
        slow = fetcher(timeout_s=600.0, slow_start_s=0.2)
        assert await error_of(slow.fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED


async def test_without_the_least_rate_a_slow_host_holds_a_fetch_until_the_timeout() -> None:
    """Negative control of the test above."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    async with outside(drip) as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await fetcher(timeout_s=600.0, slow_start_s=600.0).fetch(f"http://{NAME}:{port}/")


async def test_an_image_that_arrives_steadily_is_fetched_although_it_takes_longer_than_the_slow_start() -> None:
    async def send_steadily(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(30):
            await response.write(bytes(100_000))
            await asyncio.sleep(0.02)
        return response

    async with outside(send_steadily) as port:
        assert len(await fetcher(slow_start_s=0.3).fetch(f"http://{NAME}:{port}/")) == 3_000_000


@pytest.mark.parametrize("stage", ["name server", "headers"])
async def test_a_response_that_does_not_begin_in_time_fails_long_before_the_timeout(stage: str) -> None:
    async def wait(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def never(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    async with outside(wait) as port, asyncio.timeout(20):
        lookup = never if stage == "name server" else Names(images_example=[[OUTSIDE]])
        slow = Fetcher(is_allowed=is_outside, lookup=lookup, timeout_s=600.0, response_timeout_s=0.2)
        assert await error_of(slow.fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED


async def test_a_fetch_beyond_the_maximum_gets_429_until_another_one_ends() -> None:
    began, may_answer = asyncio.Semaphore(0), asyncio.Event()

    async def wait(_request: web.Request) -> web.Response:
        began.release()
        await may_answer.wait()
        return web.Response(body=IMAGE)

    busy = fetcher()
    async with outside(wait) as port:
        fetches = [asyncio.create_task(busy.fetch(f"http://{NAME}:{port}/")) for _ in range(MAX_FETCHES)]
        for _ in fetches:
            await began.acquire()
        with pytest.raises(RequestError) as caught:
            await busy.fetch(f"http://{NAME}:{port}/")
        assert (caught.value.status, caught.value.retry_after_s) == (429, 1)
        may_answer.set()
        assert await asyncio.gather(*fetches) == [IMAGE] * MAX_FETCHES
        assert await busy.fetch(f"http://{NAME}:{port}/") == IMAGE


async def test_tls_verifies_the_certificate_for_the_name_and_not_the_address(tmp_path: Path) -> None:
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key -out cert -subj"
    await anyio.run_process([*make.split(), f"/CN={NAME}"], cwd=tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with outside(send_image, tls=context) as port:
        assert await error_of(fetcher().fetch(f"https://{NAME}:{port}/")) == NOT_FETCHED
    assert asked == [NAME]


@given(st.text(max_size=60), st.text(max_size=30))
async def test_any_text_as_a_url_ends_in_the_same_message(host: str, rest: str) -> None:
    assert await error_of(fetcher(Names()).fetch(f"http://{host}/{rest}")) == NOT_FETCHED


async def test_by_default_the_server_fetches_no_urls() -> None:
    assert not ServeConfig().allow_urls
    with pytest.raises(RequestError, match="fetching URLs is not enabled on this server"):
        await fetch_image("http://images.example/", None)


def test_this_machine_s_own_addresses_are_blocked_also_when_they_are_public(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (is_own("127.0.0.1"), is_own("::1"), is_own("192.0.2.1")) == (True, True, False)
    monkeypatch.setattr("pipeline.server.http.fetch.is_public", lambda _: True)
    assert (may_connect_to("127.0.0.1"), may_connect_to("192.0.2.1")) == (False, True)

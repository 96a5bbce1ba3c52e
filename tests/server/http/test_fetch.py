"""Images behind URLs, and all that must not be behind them. What stands for a public host listens on 127.0.0.2."""

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
    FETCHES_AT_MOST,
    NOT_FETCHED,
    REDIRECTS_AT_MOST,
    Fetcher,
    is_own,
    may_dial,
    obtain_image,
)
from pipeline.server.http.requests import RequestError
from tests.server.canary import Canary, listening_canary
from tests.server.disguises import INSIDE, SHAPES, SPELLINGS, WHOLE, disguises

OUTSIDE = "127.0.0.2"
NAME = "images.example"
IMAGE = b"an image, or whatever the check takes it for"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_outside(address: str) -> bool:
    """Judge as the server does, but for the one address that stands for a public host."""
    return address == OUTSIDE or is_public(address)


def anything(_address: str) -> bool:
    """Judge nothing: the guarantee taken out."""
    return True


class Names:
    """A name server: each look-up of a name gets its next answer, and the last one for ever."""

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
    """Serve what stands for a public host; yield its port."""
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
    """Answer as a public image server does."""
    return web.Response(body=IMAGE)


def fetcher(names: Names | None = None, judge: AddressCheck = is_outside, **options: float) -> Fetcher:
    """Return a fetcher that knows the public host, and no name server but this."""
    lookup = names or Names(images_example=[[OUTSIDE]])
    return Fetcher(is_allowed=judge, lookup=lookup, **options)  # type: ignore[arg-type]


async def refusal(fetch: Awaitable[bytes]) -> str:
    """Return the text with which a fetch is refused."""
    with pytest.raises(RequestError) as caught:
        await fetch
    assert caught.value.status == 400
    return str(caught.value)


async def test_an_image_of_a_public_host_is_fetched() -> None:
    """By name and by address."""
    async with outside(send_image) as port:
        assert await fetcher().fetch(f"http://{NAME}:{port}/scan 1.png?size=full#top") == IMAGE
        assert await fetcher().fetch(f"http://{OUTSIDE}:{port}") == IMAGE


async def test_nothing_about_the_caller_leaves_the_server() -> None:
    """No cookie, even when one was set; no referrer, no credentials."""
    heard: list[web.BaseRequest] = []

    async def hand_on(request: web.Request) -> web.Response:
        heard.append(request)
        headers = {"Location": "/next", "Set-Cookie": "track=1"}
        return web.Response(status=302, headers=headers) if request.path == "/" else web.Response(body=IMAGE)

    async with outside(hand_on) as port:
        assert await fetcher().fetch(f"http://{NAME}:{port}/") == IMAGE
    assert [request.path for request in heard] == ["/", "/next"]
    for request in heard:
        assert set(request.headers) == {"Host", "Accept", "Accept-Encoding", "Connection", "User-Agent"}


@pytest.mark.parametrize("url", [*disguises(1), *INSIDE])
async def test_no_spelling_of_an_inner_host_is_fetched(url: str) -> None:
    """Each is refused with the one text that tells nothing; none of them asks a name server but for localhost."""
    names = Names(localhost=[["127.0.0.1", "::1"]])
    assert await refusal(fetcher(names).fetch(url)) == NOT_FETCHED
    assert {name.rstrip(".") for name in names.asked} <= {
        "localhost",
        "0x7f.0.0.1",
        "0x7f.1",
        "0x7f000001",
        "0x0",
        "\0",
    }


async def knock(canary: Canary, judge: AddressCheck, urls: list[str]) -> None:
    """Fetch each URL as the real server would."""
    real = Fetcher(is_allowed=judge, deadline_s=5.0)
    for url in urls:
        await refusal(real.fetch(url))


def plain_disguises(port: int) -> list[str]:
    """Return the disguises that stay on this machine whoever follows them."""
    urls = [SHAPES[0].format(host=host, port=port) for host in SPELLINGS]
    return urls + [url.format(port=port) for url in WHOLE]


async def test_no_disguise_of_loopback_reaches_the_canary() -> None:
    """With the system's own look-up: not one connection."""
    async with listening_canary() as canary:
        await knock(canary, is_public, disguises(canary.port))
        assert await canary.count_visits() == 0


async def test_without_judgement_the_canary_is_found() -> None:
    """The negative control: the same disguises, and the check sees them."""
    async with listening_canary() as canary:
        await knock(canary, anything, plain_disguises(canary.port))
        assert await canary.count_visits() >= 10


@pytest.mark.parametrize(("judge", "is_found"), [(is_outside, False), (anything, True)])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "inner.example", "//127.0.0.1"])
async def test_a_redirect_to_loopback_is_not_followed(
    judge: AddressCheck,
    is_found: bool,  # noqa: FBT001 - what the negative control turns round
    status: int,
    host: str,
) -> None:
    """Every hop is judged like the first; without judgement the canary is found."""
    async with listening_canary() as canary:

        async def redirect(_request: web.Request) -> web.Response:
            place = f"{host}:{canary.port}/" if host.startswith("//") else f"http://{host}:{canary.port}/"
            return web.Response(status=status, headers={"Location": place})

        names = Names(images_example=[[OUTSIDE]], inner_example=[["127.0.0.1"]])
        async with outside(redirect) as port:
            assert await refusal(fetcher(names, judge).fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED
        assert (await canary.count_visits() > 0) is is_found


async def test_a_name_that_changes_its_meaning_gains_nothing() -> None:
    """DNS rebinding: what was judged is dialled, and the name is not looked up again for that."""
    names = Names(images_example=[[OUTSIDE], ["127.0.0.1"]])
    async with listening_canary() as canary, outside(send_image, port=canary.port) as port:
        assert await fetcher(names).fetch(f"http://{NAME}:{port}/") == IMAGE
        assert names.asked == [NAME]
        assert await refusal(fetcher(names).fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED
        assert await canary.count_visits() == 0


@pytest.mark.parametrize(("judge", "is_found"), [(is_outside, False), (anything, True)])
async def test_a_redirect_looks_its_name_up_again_and_judges_again(
    judge: AddressCheck,
    is_found: bool,  # noqa: FBT001 - what the negative control turns round
) -> None:
    """A name that was public for the first hop and is loopback for the second."""

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": str(request.url.with_path("/next"))})

    names = Names(images_example=[[OUTSIDE], ["127.0.0.1"]])
    async with listening_canary() as canary, outside(redirect, port=canary.port) as port:
        assert await refusal(fetcher(names, judge).fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED
        assert (await canary.count_visits() > 0) is is_found


@pytest.mark.parametrize(
    "addresses", [[OUTSIDE, "127.0.0.1"], ["::1", OUTSIDE], [OUTSIDE, "fe80::1%1"], [OUTSIDE, ""], []]
)
async def test_one_inner_address_spoils_a_name(addresses: list[str]) -> None:
    """Though another of its addresses would do."""
    async with outside(send_image) as port:
        assert await refusal(fetcher(Names(images_example=[addresses])).fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED


async def test_redirects_end() -> None:
    """After so many hops it is a chase."""
    asked: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": f"{request.path}x"})

    async with outside(redirect) as port:
        assert await refusal(fetcher().fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED
    assert len(asked) == 1 + REDIRECTS_AT_MOST


@pytest.mark.parametrize(
    "location", [None, "", "file:///etc/passwd", "http://[", "ftp://images.example/", "http://u:p@127.0.0.2/"]
)
async def test_a_redirect_to_nowhere_is_refused(location: str | None) -> None:
    """With the text of everything else."""

    async def redirect(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={} if location is None else {"Location": location})

    async with outside(redirect) as port:
        assert await refusal(fetcher().fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED


async def test_refused_unreachable_and_broken_read_the_same() -> None:
    """Who asks cannot tell a closed port from a forbidden host, or a 404 from either."""

    async def fail(request: web.Request) -> web.Response:
        return web.Response(status=int(request.path[1:]))

    async with outside(fail) as port:
        message = {
            await refusal(fetcher().fetch(f"http://{NAME}:{port}/{status}")) for status in (204, 304, 401, 404, 500)
        }
    message.add(await refusal(fetcher().fetch(f"http://{NAME}:{port}/")))  # nobody listens there any more
    message.add(await refusal(fetcher().fetch("http://127.0.0.1:1/")))
    message.add(await refusal(fetcher().fetch("http://nowhere.example/")))
    message.add(await refusal(fetcher().fetch(f"http://{NAME}/{'x' * 9000}")))
    assert message == {NOT_FETCHED}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_body_is_cut_off_at_the_limit(packed: bool, chunked: bool) -> None:  # noqa: FBT001
    """Also one that is small until it is unpacked."""

    async def send_much(_request: web.Request) -> web.Response:
        body = gzip.compress(bytes(50_000_000)) if packed else bytes(50_000_000)
        response = web.Response(body=body, headers={"Content-Encoding": "gzip"} if packed else None)
        if chunked:
            response.enable_chunked_encoding()
        return response

    async with outside(send_much) as port:
        assert await refusal(fetcher().fetch(f"http://{NAME}:{port}/")) == "image is larger than 10 MB"


async def test_a_host_that_keeps_silent_is_given_up() -> None:
    """The deadline holds for the whole of it."""

    async def wait(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with outside(wait) as port:
        assert await refusal(fetcher(deadline_s=0.2).fetch(f"http://{NAME}:{port}/")) == NOT_FETCHED


async def test_so_many_fetches_run_at_a_time() -> None:
    """The one beyond is told to come back; a place that gets free is used."""
    began, may_answer = asyncio.Semaphore(0), asyncio.Event()

    async def wait(_request: web.Request) -> web.Response:
        began.release()
        await may_answer.wait()
        return web.Response(body=IMAGE)

    busy = fetcher()
    async with outside(wait) as port:
        fetches = [asyncio.create_task(busy.fetch(f"http://{NAME}:{port}/")) for _ in range(FETCHES_AT_MOST)]
        for _ in fetches:
            await began.acquire()
        with pytest.raises(RequestError) as caught:
            await busy.fetch(f"http://{NAME}:{port}/")
        assert (caught.value.status, caught.value.retry_after_s) == (429, 1)
        may_answer.set()
        assert await asyncio.gather(*fetches) == [IMAGE] * FETCHES_AT_MOST
        assert await busy.fetch(f"http://{NAME}:{port}/") == IMAGE


async def test_tls_asks_for_the_name_and_trusts_no_stranger(tmp_path: Path) -> None:
    """The address that is dialled was judged, and still the certificate must be the name's."""
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key -out cert -subj"
    await anyio.run_process([*make.split(), f"/CN={NAME}"], cwd=tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with outside(send_image, tls=context) as port:
        assert await refusal(fetcher().fetch(f"https://{NAME}:{port}/")) == NOT_FETCHED
    assert asked == [NAME]


@given(st.text(max_size=60), st.text(max_size=30))
async def test_no_url_is_more_than_refused(host: str, rest: str) -> None:
    """Whatever stands there."""
    assert await refusal(fetcher(Names()).fetch(f"http://{host}/{rest}")) == NOT_FETCHED


async def test_urls_are_refused_where_nothing_fetches() -> None:
    """The default of the server."""
    assert not ServeConfig().allow_urls
    with pytest.raises(RequestError, match="fetching URLs is not enabled on this server"):
        await obtain_image("http://images.example/", None)


def test_this_machine_s_own_addresses_are_not_dialled_though_they_be_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a firewall keeps from strangers stands behind them; other machines are no concern of that."""
    assert (is_own("127.0.0.1"), is_own("::1"), is_own("192.0.2.1")) == (True, True, False)
    monkeypatch.setattr("pipeline.server.http.fetch.is_public", lambda _: True)
    assert (may_dial("127.0.0.1"), may_dial("192.0.2.1")) == (False, True)

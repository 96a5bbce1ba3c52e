"""The site on loopback: who gets in, and what it serves."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from aiohttp import ClientResponse, ClientSession, CookieJar

from pipeline.errors import StorageError, UsageError
from pipeline.web.loopback import ServedPicture, Site, serving

HTML = b'<!doctype html><body data-served="no">'


class Saved:
    """What the site was given to save."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    async def save(self, line: bytes) -> Mapping[str, Any]:
        """Take a line."""
        if line == b"{}":
            raise ValueError("neither `text` nor `checked`")
        if line == b'{"a":13}':
            raise StorageError("waiting.jsonl: No space left on device")
        self.lines.append(line)
        return {"state": "saved"}

    async def find(self, after: int) -> bytes:
        """Return the number of lines after the first ones."""
        if after == 13:
            raise OSError("no disk")
        return b'{"more":%d}' % (len(self.lines) - after)


class Visitor:
    """A client, with the cookie that the printed URL gives."""

    def __init__(self, session: ClientSession, url: str, saved: Saved) -> None:
        self.session, self.url, self.saved = session, url, saved
        self.base = f"http://{urlsplit(url).netloc}"

    async def get(self, path: str, **headers: str) -> ClientResponse:
        """Return the answer to a GET."""
        return await self.session.get(f"{self.base}{path}", headers=headers, allow_redirects=False)

    async def post(self, body: bytes = b'{"a":1}', **headers: str) -> int:
        """Return the status of a POST as the page sends it, with other headers."""
        sent = {"Origin": self.base, "Content-Type": "application/json"} | headers
        return (await self.session.post(f"{self.base}/corrections", data=body, headers=sent)).status


async def find_picture(number: int) -> ServedPicture | None:
    return ServedPicture(b"picture", "image/png") if number == 3 else None


@pytest_asyncio.fixture
async def visitor(tmp_path: Path) -> AsyncIterator[Visitor]:
    (tmp_path / "index.html").write_bytes(HTML)
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "build-12ab").mkdir()
    (tmp_path / "build-12ab/report.js").write_text("script")
    (tmp_path / "build-12ab/link.js").symlink_to("/etc/passwd")
    saved = Saved()
    async with (
        serving(Site(tmp_path, "build-12ab", find_picture, saved.save, saved.find), 0) as url,
        ClientSession(cookie_jar=CookieJar(unsafe=True)) as session,
    ):
        yield Visitor(session, url, saved)


@pytest_asyncio.fixture
async def owner(visitor: Visitor) -> Visitor:
    """A client that has opened the printed URL."""
    response = await visitor.session.get(visitor.url, allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (303, "/")
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    return visitor


async def test_the_page_knows_that_it_is_served_and_loads_nothing_else(owner: Visitor) -> None:
    response = await owner.get("/")
    assert await response.read() == HTML.replace(b"no", b"yes")
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert await (await owner.get("/build-12ab/report.js")).text() == "script"
    picture = await owner.get("/pictures/3?build=build-12ab")
    assert (await picture.read(), picture.content_type) == (b"picture", "image/png")
    assert (await owner.get("/pictures/4?build=build-12ab")).status == 404


async def test_a_page_of_another_build_gets_no_picture(owner: Visitor) -> None:
    """Its numbers may be other pages'."""
    assert [(await owner.get(f"/pictures/3{query}")).status for query in ("", "?build=build-34cd")] == [410, 410]


@pytest.mark.parametrize(
    "path", ["/", "/build-12ab/report.js", "/pictures/3", "/corrections?after=0", "/?token=", "/?token=guess"]
)
async def test_without_the_token_nothing_is_served(visitor: Visitor, path: str) -> None:
    response = await visitor.get(path)
    assert response.status == 403
    assert "Content-Security-Policy" in response.headers
    assert await visitor.post() == 403
    assert visitor.saved.lines == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "[::1]:80"])
async def test_a_name_that_leads_here_is_refused(owner: Visitor, host: str) -> None:
    """DNS rebinding: the browser sends the name of the page that rebound it."""
    assert (await owner.get("/", Host=host)).status == 421
    assert (await owner.get("/corrections?after=0", Host=host)).status == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1", "http://localhost:1", ""])
async def test_what_another_page_sends_is_refused(owner: Visitor, origin: str) -> None:
    assert await owner.post(Origin=origin) == 403
    assert owner.saved.lines == []


async def test_what_the_page_sends_is_saved(owner: Visitor) -> None:
    assert await owner.post() == 200
    assert owner.saved.lines == [b'{"a":1}']
    assert await owner.post(b"{}") == 400
    assert await owner.post(b'{"a":13}') == 503
    assert await owner.post(b"{}", **{"Content-Type": "text/plain"}) == 415


async def test_a_page_learns_what_was_saved(owner: Visitor) -> None:
    assert await owner.post() == 200
    response = await owner.get("/corrections?after=0")
    assert (await response.json(), response.headers["Cache-Control"]) == ({"more": 1}, "no-store")
    statuses = [
        (await owner.get(f"/corrections{query}")).status for query in ("", "?after=x", "?after=-1", "?after=13")
    ]
    assert statuses == [400, 400, 400, 503]


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt",
        "/build-12ab/../secret.txt",
        "/build-12ab/%2e%2e/secret.txt",
        "/build-12ab%2f..%2fsecret.txt",
        "//etc/passwd",
        "/build-12ab/",
        "/build-12ab/report.js%00",
        "/build-12ab/link.js",
        "/pictures/-1",
    ],
)
async def test_no_other_file_is_served(owner: Visitor, path: str) -> None:
    assert (await owner.get(path)).status == 404


async def test_a_port_in_use_is_a_usage_error(visitor: Visitor, tmp_path: Path) -> None:
    port = urlsplit(visitor.base).port
    assert port
    with pytest.raises(UsageError, match="--port 0 takes a free one"):
        async with serving(Site(tmp_path, "build-12ab", find_picture, visitor.saved.save, visitor.saved.find), port):
            pass

"""The files of the page, as a client gets them."""

import re

import pytest
from aiohttp import ClientSession

from pipeline.server.api.playground import CONTENT_SECURITY_POLICY, INDEX, load_page
from tests.server.page_server import serving_page

FILES = ["/", *sorted(f"/page/{name}" for name in load_page() if name != INDEX)]


def test_the_policy_allows_no_inline_script_and_no_other_origin() -> None:
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY
    assert re.findall(r"unsafe|http|\*", CONTENT_SECURITY_POLICY) == []


@pytest.mark.parametrize("name", sorted(load_page()))
def test_no_file_names_another_server(name: str) -> None:
    """Except the namespaces of XML, which are not fetched."""
    text = load_page()[name].body.decode()
    assert re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)\w[\w.-]*\.\w+", text) == []


async def test_every_file_has_the_policy_and_the_other_headers() -> None:
    async with serving_page() as origin, ClientSession(origin) as session:
        for path in FILES:
            async with session.get(path) as response:
                assert response.status == 200
                assert response.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Referrer-Policy"] == "no-referrer"
                assert response.charset == "utf-8"


async def test_a_client_with_the_current_version_gets_304() -> None:
    async with serving_page() as origin, ClientSession(origin) as session:
        for path in FILES:
            async with session.get(path) as response:
                tag = response.headers["ETag"]
            async with session.get(path, headers={"If-None-Match": tag}) as response:
                assert (response.status, await response.read()) == (304, b"")
                assert response.headers["ETag"] == tag
            async with session.get(path, headers={"If-None-Match": '"older"'}) as response:
                assert response.status == 200


async def test_no_other_path_is_a_file() -> None:
    async with serving_page() as origin, ClientSession(origin) as session:
        for path in ("/page/", "/page/index.html", "/page/..%2fpages.py", "/page/%2e%2e/pages.py"):
            async with session.get(path) as response:
                assert response.status == 404

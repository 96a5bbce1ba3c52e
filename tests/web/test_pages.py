"""Templates: texts are escaped, a missing value is an error, and a page loads nothing."""

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from pipeline.web.names import shown
from pipeline.web.pages import render, style

HOSTILE = "<img src=x onerror=alert(1)>\0\ud800\u202e"


def test_texts_are_escaped_and_can_be_encoded() -> None:
    page = render("status.html", title=HOSTILE, lead=[HOSTILE], obstacles=[HOSTILE], overview=Markup("<p>shown</p>"))
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;\ufffd\ufffd") == 4
    assert "<p>shown</p>" in page
    page.encode()


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="obstacles"):
        render("status.html", title="t", lead=[], overview="")


def test_the_policy_forbids_scripts_and_requests() -> None:
    page = render("status.html", title="t", lead=[], obstacles=[], overview="")
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"" in page
    assert "url(" not in style().replace("url(#", "")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("a.png", "a.png", id="plain"),
        pytest.param("书/शब्द/שלום.png", "书/शब्द/שלום.png", id="scripts"),
        pytest.param("\u202egnp.exe", "\\u202egnp.exe", id="direction"),
        pytest.param("a\nb\0", "a\\nb\\x00", id="control"),
        pytest.param("caf\udce9", "caf\\xe9", id="not-utf-8"),
        pytest.param("a" * 100 + "b" * 100, "a" * 80 + "…" + "b" * 79, id="long"),
    ],
)
def test_names_are_one_short_line(name: str, text: str) -> None:
    assert shown(name) == text

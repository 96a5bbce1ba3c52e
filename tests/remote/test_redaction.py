"""Redaction: the key leaves no text and no bytes, in whatever spelling a service echoes it."""

import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.remote.redaction import Redaction

SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent": lambda key: quote(key, safe=""),
    "percent-in-lower-case": lambda key: "".join(c if c.isalnum() else quote(c, safe="").lower() for c in key),
    "percent-twice": lambda key: quote(quote(key, safe="")),
    "plus": quote_plus,
    "path": quote,
    "json": lambda key: json.dumps(key)[1:-1],
    "json-in-ascii": lambda key: json.dumps(key, ensure_ascii=True)[1:-1],
    "json-with-slashes": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "html": html.escape,
    "html-in-json": lambda key: json.dumps(html.escape(key))[1:-1],
}
KEYS = ["sk-0123456789abcdef", "a+b/c=d&e", "schlüssel-密钥", "100%", "K"]


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("key", KEYS)
def test_every_spelling_goes(spell: Callable[[str], str], key: str) -> None:
    redaction = Redaction(key)
    spelt = spell(key)
    assert redaction.redact(f"<{spelt}> and <{spelt}>") == "<***> and <***>"
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        body = f"<{spelt}> and <{spelt}>".encode(encoding)
        assert redaction.redact_bytes(body).decode(encoding) == "<***> and <***>"


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs")), min_size=4), st.data())
def test_a_key_that_is_cut_off_leaves_no_beginning(key: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(4, len(key.encode())))
    redacted = Redaction(key).redact_bytes(b'{"payload":"?' + key.encode()[:length])
    assert redacted.endswith(b"***")
    assert len(redacted) <= len(b'{"payload":"?***')


def test_what_is_no_key_stays() -> None:
    redaction = Redaction("sk-secret")
    assert redaction.redact("nothing here") == "nothing here"
    assert redaction.redact_bytes(b"\xff\xfe nothing here\0") == b"\xff\xfe nothing here\0"
    assert redaction.redact_bytes(b"") == b""


def test_without_a_key_nothing_changes() -> None:
    redaction = Redaction(None)
    assert (redaction.redact("text"), redaction.redact_bytes(b"text")) == ("text", b"text")


def test_its_repr_does_not_show_the_key() -> None:
    assert "secret" not in repr(Redaction("sk-secret"))

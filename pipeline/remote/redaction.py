"""Removes the API key from texts and bytes, in every spelling in which a service may echo it."""

import html
import json
import re
from typing import Final
from urllib.parse import quote, quote_plus

_MARK: Final = "***"
_MIN_CUT_BYTES: Final = 4
"""Shorter beginnings of a key tell nothing, and other words end like them."""

_ENCODINGS: Final = ("utf-8", "utf-16-le", "utf-16-be")
_HEX: Final = re.compile("%[0-9A-F]{2}")


class Redaction:
    """Removes one key.

    Args:
        key: The key; None for a service without one, whose replies hold no secret.
    """

    def __init__(self, key: str | None) -> None:
        longest_first = sorted(_spellings(key), key=len, reverse=True) if key else []
        self._text = re.compile("|".join(map(re.escape, longest_first))) if key else None
        self._spellings = [spelling.encode(encoding) for encoding in _ENCODINGS for spelling in longest_first]
        self._bytes = re.compile(b"|".join(map(re.escape, self._spellings))) if key else None

    def __repr__(self) -> str:
        return f"<Redaction of {len(self._spellings)} spellings>"

    def redact(self, text: str) -> str:
        """Return a text without the key."""
        return text if self._text is None else self._text.sub(_MARK, text)

    def redact_bytes(self, data: bytes) -> bytes:
        """Return bytes without the key; an end that begins like the key goes too, because they may be cut off there."""
        if self._bytes is None:
            return data
        data = self._bytes.sub(_mark_bytes, data)
        for length in range(min(max(map(len, self._spellings)), len(data)), _MIN_CUT_BYTES - 1, -1):
            end = data[-length:]
            if any(spelling.startswith(end) for spelling in self._spellings):
                return data[:-length] + _MARK.encode()
        return data


def _spellings(key: str) -> set[str]:
    """Return the key as it is, percent-encoded, and escaped for JSON and HTML, and combinations that services make."""
    quoted = {quote(key, safe=safe) for safe in ("", "/", "/?:@!$'()*,;")} | {
        quote_plus(key),
        quote(quote(key, safe="")),
    }
    plain = {key} | quoted | {_HEX.sub(lambda digits: digits[0].lower(), text) for text in quoted}
    in_html = {html.escape(text) for text in plain} | {html.escape(text).replace("&#x27;", "&#39;") for text in plain}
    in_json = {json.dumps(text, ensure_ascii=is_ascii)[1:-1] for text in plain | in_html for is_ascii in (True, False)}
    return plain | in_html | in_json | {text.replace("/", "\\/") for text in in_json}


def _mark_bytes(match: re.Match[bytes]) -> bytes:
    """Return the mark in the encoding of the bytes that it replaces, so that the others stay aligned."""
    if b"\0" not in match[0]:
        return _MARK.encode()
    return _MARK.encode("utf-16-be" if match[0].startswith(b"\0") else "utf-16-le")

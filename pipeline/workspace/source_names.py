"""Source names as bytes and as text: a file name that is not UTF-8 is stored exactly, beside a text to read."""

import pybase64

from pipeline.wire import replace_surrogates


def encode_name(name: str) -> bytes:
    """Return the bytes of a name; its surrogate escapes stand for bytes that are not UTF-8."""
    return name.encode("utf-8", "surrogateescape")


def decode_name(name: bytes) -> str:
    """Return a name with surrogate escapes for bytes that are not UTF-8."""
    return name.decode("utf-8", "surrogateescape")


def name_fields(field: str, name: str | None) -> dict[str, str | None]:
    """Return the JSON field of a name, and its `_b64` when the name's bytes are not UTF-8."""
    if name is None or name.isascii() or (text := replace_surrogates(name)) == name:
        return {field: name}
    return {field: text, f"{field}_b64": pybase64.b64encode(encode_name(name)).decode("ascii")}


def name_bytes(text: str, text_b64: str | None) -> bytes:
    """Return the bytes of a name from its JSON field and its `_b64`; ValueError when that is not base64."""
    return text.encode("utf-8") if text_b64 is None else pybase64.b64decode(text_b64, validate=True)

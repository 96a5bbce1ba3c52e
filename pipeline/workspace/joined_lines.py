"""Reads lines whose newline may be missing, before another line or at the end of the file."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.read_position import Span
from pipeline.workspace.reencoding import split_joined

_Parsed = TypeVar("_Parsed")


def parse_lines(
    lines: Iterable[tuple[Span, bytes]], parse: Callable[[bytes], _Parsed]
) -> Iterator[tuple[Span, _Parsed | DamagedLineError]]:
    """Yield the place and the content, or the damage, of each line; of lines that were joined, one after the other.

    Args:
        lines: Places and bytes, with or without the newlines.
        parse: Parses a line, or raises DamagedLineError.
    """
    for span, line in lines:
        first = _parse(line, parse)
        pieces = split_joined(line) if isinstance(first, DamagedLineError) else [line]
        if len(pieces) == 1:
            yield span, first
            continue
        start = span.start
        for number, piece in enumerate(pieces, 1):
            end = span.end if number == len(pieces) else start + len(piece)
            yield Span(start, end), _parse(piece, parse)
            start = end


def parse_first(line: bytes, parse: Callable[[bytes], _Parsed]) -> _Parsed:
    """Return the content of a line, or of the first one when several were joined.

    Raises:
        DamagedLineError: it is damaged.
    """
    try:
        return parse(line)
    except DamagedLineError:
        first, *others = split_joined(line)
        if not others:
            raise
        return parse(first)


def _parse(line: bytes, parse: Callable[[bytes], _Parsed]) -> _Parsed | DamagedLineError:
    try:
        return parse(line)
    except DamagedLineError as exc:
        return exc

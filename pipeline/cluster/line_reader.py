"""Reads single lines of the files of many workspaces by their places; keeps the files that were read last open."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

from pipeline.workspace.checksums import is_intact
from pipeline.workspace.joined_lines import parse_first
from pipeline.workspace.line_stream import LineStream, open_lines

if TYPE_CHECKING:
    from io import BufferedReader

_OPEN_FILES: Final = 32
_Parsed = TypeVar("_Parsed")


class LineReader:
    """The lines of several workspaces; a context manager.

    Args:
        workspaces: Their directories, by number.
    """

    def __init__(self, workspaces: Sequence[Path]) -> None:
        self._workspaces = workspaces
        self._files: OrderedDict[tuple[int, str], BufferedReader[LineStream]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<LineReader {len(self._files)} files open>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._files:
            self._files.popitem()[1].close()

    def parse(self, number: int, name: str, offset: int, parse: Callable[[bytes], _Parsed]) -> _Parsed:
        """Return the content of the line at an offset of a file.

        Raises:
            DamagedLineError: another program changed the file meanwhile.
            OSError: it cannot be read.
        """
        return parse_first(self._read(number, name, offset), parse)

    def copy(
        self, number: int, name: str, offset: int, parse: Callable[[bytes], _Parsed], encode: Callable[[_Parsed], bytes]
    ) -> bytes:
        """Return a line with its newline as pagemill writes it: as it is, or encoded anew."""
        line = self._read(number, name, offset)
        return line + b"\n" if is_intact(line) else encode(parse_first(line, parse))

    def _read(self, number: int, name: str, offset: int) -> bytes:
        key = (number, name)
        file = self._files.pop(key, None)
        if file is None:
            file = open_lines(self._workspaces[number] / name)
        self._files[key] = file
        if len(self._files) > _OPEN_FILES:
            with closing(self._files.popitem(last=False)[1]):
                pass
        file.seek(offset)
        return file.readline().removesuffix(b"\n")

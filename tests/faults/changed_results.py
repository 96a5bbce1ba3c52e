"""Ways in which people and tools change results.jsonl between two runs."""

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson

from pipeline.workspace.paths import INDEX, RESULTS

Change = Callable[[Path], object]


def _lines(out: Path) -> list[bytes]:
    return (out / RESULTS).read_bytes().splitlines(keepends=True)


def _write(out: Path, content: bytes) -> None:
    (out / RESULTS).write_bytes(content)


def _write_lines(out: Path, lines: list[bytes]) -> None:
    _write(out, b"".join(lines))


def _swap(out: Path, first: int, second: int) -> None:
    lines = _lines(out)
    lines[first], lines[second] = lines[second], lines[first]
    _write_lines(out, lines)


def _like_old_jq(value: object) -> object:
    """Return JSON as jq 1.6 prints it: 1.0 becomes 1."""
    if isinstance(value, dict):
        return {key: _like_old_jq(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _recode(out: Path, **options: object) -> None:
    lines = [json.dumps(orjson.loads(line), ensure_ascii=False, **options) for line in _lines(out)]  # type: ignore[arg-type]
    _write(out, "".join(line + "\n" for line in lines).encode())


def _recode_like_old_jq(out: Path) -> None:
    _write_lines(out, [orjson.dumps(_like_old_jq(orjson.loads(line))) + b"\n" for line in _lines(out)])


def _join(out: Path, at: int) -> None:
    lines = _lines(out)
    lines[at] = lines[at].removesuffix(b"\n")
    _write_lines(out, lines)


def _edit(out: Path, old: bytes, new: bytes) -> None:
    content = (out / RESULTS).read_bytes()
    assert old in content
    _write(out, content.replace(old, new, 1))


def _in_turn(*changes: Change) -> Change:
    def change(out: Path) -> None:
        for each in changes:
            each(out)

    return change


def _gzip(out: Path) -> None:
    _write(out, gzip.compress((out / RESULTS).read_bytes()))


READABLE: dict[str, Change] = {
    "untouched": lambda _: None,
    "touched": lambda out: os.utime(out / RESULTS),
    "jq-c": lambda out: _recode(out, separators=(",", ":")),
    "jq-c-of-release-1.6": _recode_like_old_jq,
    "jq-c-sorted": lambda out: _recode(out, separators=(",", ":"), sort_keys=True),
    "json-with-spaces": _recode,
    "json-in-ascii": lambda out: _write(
        out, "".join(json.dumps(orjson.loads(line)) + "\n" for line in _lines(out)).encode()
    ),
    "crlf": lambda out: _write(out, (out / RESULTS).read_bytes().replace(b"\n", b"\r\n")),
    "crlf-without-the-last": lambda out: _write(out, (out / RESULTS).read_bytes().replace(b"\n", b"\r\n")[:-1]),
    "byte-order-mark": lambda out: _write(out, b"\xef\xbb\xbf" + (out / RESULTS).read_bytes()),
    "last-newline-stripped": lambda out: _write(out, (out / RESULTS).read_bytes()[:-1]),
    "newline-in-the-middle-missing": lambda out: _join(out, 4),
    "two-newlines-missing": _in_turn(lambda out: _join(out, 4), lambda out: _join(out, 4)),
    "trailing-blank-lines": lambda out: _write(out, (out / RESULTS).read_bytes() + b"\n\n"),
    "lines-swapped": lambda out: _swap(out, 2, 3),
    "lines-duplicated": lambda out: _write_lines(out, [line for line in _lines(out) for _ in range(2)]),
    "sorted": lambda out: _write_lines(out, sorted(_lines(out), reverse=True)),
    "torn-line-appended": lambda out: _write(out, (out / RESULTS).read_bytes() + _lines(out)[0][:100]),
    "index-deleted": lambda out: (out / INDEX).unlink(),
}
"""All lines can be read: the next run makes no call and ends with 0."""

LOST: dict[str, tuple[Change, int]] = {
    "gzip": (_gzip, 10),
    "utf-16": (lambda out: _write(out, (out / RESULTS).read_text("utf-8").encode("utf-16")), 10),
    "utf-16-le": (lambda out: _write(out, (out / RESULTS).read_text("utf-8").encode("utf-16-le")), 10),
    "jq-pretty": (lambda out: _recode(out, indent=2), 10),
    "older-backup": (lambda out: _write_lines(out, _lines(out)[:6]), 4),
    "removed": (lambda out: (out / RESULTS).unlink(), 10),
    "emptied": (lambda out: _write(out, b""), 10),
    "emptied-and-index-deleted": (_in_turn(lambda out: _write(out, b""), lambda out: (out / INDEX).unlink()), 10),
    "middle-line-deleted": (lambda out: _write_lines(out, [*_lines(out)[:4], *_lines(out)[5:]]), 1),
    "first-line-deleted": (lambda out: _write_lines(out, _lines(out)[1:]), 1),
    "last-line-deleted": (lambda out: _write_lines(out, _lines(out)[:-1]), 1),
    "last-100-bytes-cut": (lambda out: _write(out, (out / RESULTS).read_bytes()[:-100]), 1),
    "block-of-zeros": (
        lambda out: _write(out, (out / RESULTS).read_bytes()[:600] + bytes(300) + (out / RESULTS).read_bytes()[900:]),
        1,
    ),
    "a-foreign-file": (lambda out: _write(out, b"hello\n"), 10),
}
"""Texts are missing: the next run makes no call, ends with 1 and says how many, until --pay-again."""

EDITED: dict[str, Change] = {
    "text-corrected": lambda out: _edit(out, b"text of", b"The text of"),
    "text-corrected-in-equal-length": lambda out: _edit(out, b"text of", b"TEXT of"),
    "checksum-removed": lambda out: _write(
        out, b"".join([line.partition(b',"crc32"')[0] + b"}\n" for line in _lines(out)[:1]] + _lines(out)[1:])
    ),
    "jq-with-a-change": lambda out: _write_lines(
        out, [orjson.dumps(orjson.loads(line) | {"text": "mine"}) + b"\n" for line in _lines(out)]
    ),
}
"""Lines whose JSON is right and whose checksum is not."""


def copy_elsewhere(out: Path) -> Path:
    """Copy a workspace, as `cp -r` does; return the copy."""
    return Path(shutil.copytree(out, out.with_name("copy"), copy_function=shutil.copyfile))


def move_elsewhere(out: Path) -> Path:
    """Move a workspace; return its new place."""
    return out.rename(out.with_name("moved"))

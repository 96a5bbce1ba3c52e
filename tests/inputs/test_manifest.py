"""Manifests: the same rows whatever the block size."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadManifestEntryError, UsageError
from pipeline.inputs.manifest import (
    LINE_MAX_BYTES,
    Line,
    LineSplitter,
    ManifestReader,
    manifest_reader,
    path_reader,
)
from pipeline.inputs.rows import ManifestEntry

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)
NAME = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=12).filter(
    lambda name: not name[:5].lower().startswith(("http:", "https", "s3://", "gs://", "az://"))
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | CELL,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELL, inner, max_size=3),
    max_leaves=5,
)
BLOCK = st.integers(1, 40)


def read(reader: ManifestReader, data: bytes, block_bytes: int = 1 << 16) -> list[ManifestEntry]:
    """Feed all bytes, block by block; return all entries."""
    entries = []
    for start in range(0, len(data), block_bytes):
        entries += reader.feed(data[start : start + block_bytes])
    return entries + reader.close()


def read_manifest(suffix: str, data: bytes, block_bytes: int = 1 << 16) -> list[ManifestEntry]:
    """Read a manifest with the label "m"."""
    return read(manifest_reader(suffix, "m"), data, block_bytes)


def pairs(entries: list[ManifestEntry]) -> list[tuple[str | None, Any]]:
    """Return target and fields of each entry."""
    return [(entry.target, entry.meta) for entry in entries]


def faults(entries: list[ManifestEntry]) -> list[tuple[str, str]]:
    """Return label and message of each broken row."""
    return [(entry.label, str(entry.problem)) for entry in entries if isinstance(entry.problem, BadManifestEntryError)]


@given(st.binary(max_size=200), BLOCK)
def test_lines_do_not_depend_on_blocks(data: bytes, block_bytes: int) -> None:
    splitter = LineSplitter()
    lines = [line for i in range(0, len(data), block_bytes) for line in splitter.feed(data[i : i + block_bytes])]
    lines += splitter.close()
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    if expected:
        expected[0] = expected[0].removeprefix(b"\xef\xbb\xbf")
    assert lines == [Line(number, line) for number, line in enumerate(expected, 1)]


def test_the_memory_for_an_endless_line_is_bounded() -> None:
    splitter = LineSplitter()
    for _ in range(100):
        assert splitter.feed(b"x" * 65536) == []
        assert len(splitter._rest) <= LINE_MAX_BYTES
    assert splitter.feed(b"x\nnext\n") == [Line(1, None), Line(2, b"next")]


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv"])
def test_a_line_above_1_mib_is_one_broken_row(suffix: str) -> None:
    """The lines around it are parsed."""
    good = b'{"path": "a.png"}\n' if suffix == ".jsonl" else b"a.png\n"
    head = b"path\n" if suffix == ".csv" else b""
    entries = read_manifest(suffix, head + good + b"x" * (LINE_MAX_BYTES + 1) + b"\n" + good)
    assert [entry.target for entry in entries] == ["a.png", None, "a.png"]
    assert faults(entries) == [(f"m:{3 if head else 2}", "line longer than 1 MiB")]


@given(st.lists(NAME, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans(), BLOCK)
def test_paths_of_a_text_manifest_are_kept(names: list[str], end: str, has_mark: bool, block_bytes: int) -> None:  # noqa: FBT001
    """With either line end, with and without a byte order mark."""
    data = ("\ufeff" if has_mark else "") + end.join(names)
    assert [entry.target for entry in read_manifest(".txt", data.encode(), block_bytes)] == names


def test_blank_lines_are_skipped_and_counted() -> None:
    """Labels have the line number that an editor shows; `#` begins a file name like any other character."""
    entries = read_manifest(".txt", b"\n  \n#a.png\r\n\r\n b.png \nhttps://e.org/1.png  \n")
    assert [(entry.label, entry.target) for entry in entries] == [
        ("m:3", "#a.png"),
        ("m:5", " b.png "),
        ("m:6", "https://e.org/1.png"),
    ]


def test_broken_lines_of_a_text_manifest_have_a_problem_and_their_number() -> None:
    entries = read_manifest(".txt", b"a.png\n\xff.png\na\0b\ns3://x/y\nhttp://\nb.png")
    assert [entry.target for entry in entries] == ["a.png", None, None, None, None, "b.png"]
    assert faults(entries) == [
        ("m:2", "not UTF-8"),
        ("m:3", "NUL in the path"),
        ("m:4", "s3:// is not supported yet"),
        ("m:5", "not a URL"),
    ]


@given(st.lists(st.binary(min_size=1, max_size=9).filter(lambda name: b"\0" not in name), max_size=6), BLOCK)
def test_null_separated_stdin_keeps_any_name(names: list[bytes], block_bytes: int) -> None:
    """Newlines, carriage returns and bytes that are not UTF-8 included."""
    names = [name for name in names if not name.strip().lower().startswith((b"http", b"s3:", b"gs:", b"az:"))]
    entries = read(path_reader("-", null_separated=True), b"".join(name + b"\0" for name in names), block_bytes)
    assert [(entry.target or "").encode("utf-8", "surrogateescape") for entry in entries] == names


def test_stdin_keeps_names_that_are_not_utf_8() -> None:
    """As surrogate escapes, like the names in a directory."""
    entries = read(path_reader("-", null_separated=False), b"\xff.png\r\n\nb.png\n")
    assert [entry.target for entry in entries] == ["\udcff.png", "b.png"]


@given(st.lists(st.tuples(NAME, CELL, CELL), max_size=6), st.sampled_from([".csv", ".tsv"]), BLOCK)
def test_rows_of_a_table_are_kept(rows: list[tuple[str, str, str]], suffix: str, block_bytes: int) -> None:
    """Fields may contain delimiters, quotes and newlines, wherever blocks end."""
    table = io.StringIO()
    writer = csv.writer(table, delimiter="," if suffix == ".csv" else "\t")
    writer.writerows([("title", "Path", "note"), *((title, name, note) for name, title, note in rows)])
    entries = read_manifest(suffix, table.getvalue().encode(), block_bytes)
    assert pairs(entries) == [(name, {"title": title, "note": note}) for name, title, note in rows]


@given(st.binary(max_size=300), BLOCK)
@settings(max_examples=300)
def test_any_bytes_after_a_header_are_parsed(data: bytes, block_bytes: int) -> None:
    """The entries are the same for every block size, and encodable as JSON."""
    data = b"path,note\n" + data.replace(b"\x01", b'"').replace(b"\x02", b"\n").replace(b"\x03", b",")
    entries = read_manifest(".csv", data)
    small = read_manifest(".csv", data, block_bytes)
    assert pairs(small) == pairs(entries)
    assert faults(small) == faults(entries)
    for entry in entries:
        json.dumps([entry.target, entry.meta], ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("url,file,path,image", "c"),
        ("url,image,FILE,x", "c"),
        (" Image ,url,b,x", "a"),
        ("x,y,z,URL", "d"),
    ],
)
def test_the_first_known_column_names_the_page(header: str, target: str) -> None:
    """In the order `path`, `file`, `image`, `url`, in any case; other columns are kept as fields."""
    (entry,) = read_manifest(".csv", f"\ufeff{header}\r\na,b,c,d\r\n".encode())
    assert entry.target == target
    assert entry.meta is not None
    assert len(entry.meta) == 3


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"name,title\na,b\n", b"path;title\na;b\n", b'"path\n', b"\xff\n", b"x" * 2_000_000]
)
def test_a_table_without_a_usable_header_is_a_usage_error(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"^m: "):
        read_manifest(".csv", data)


def test_broken_rows_of_a_table_have_a_problem() -> None:
    """Empty rows are skipped; missing fields and empty surplus fields are no fault."""
    rows = [
        b"path,note",
        b"a.png",
        b"",
        b",x",
        b"b.png,y,z",
        b"c.png,\xff",
        b"d.png,w,",
        b"e\0,v",
        b"f\rg",
        b"h.png,ok",
    ]
    entries = read_manifest(".csv", b"\n".join(rows))
    good = [(entry.target, entry.meta) for entry in entries if entry.problem is None]
    assert good == [("a.png", None), ("d.png", {"note": "w"}), ("h.png", {"note": "ok"})]
    assert [label for label, _ in faults(entries)] == ["m:4", "m:5", "m:6", "m:8", "m:9"]


@pytest.mark.parametrize("rows", [10, 10_000, 100_000], ids=["small", "above-the-field-limit", "above-1-mib"])
def test_a_quote_that_is_never_closed_costs_one_row(rows: int) -> None:
    """The rows after it are not part of the quoted field, and memory stays bounded."""
    data = b'path,note\na.png,"oops\n' + b"".join(b"page-%06d.png,x\n" % i for i in range(rows))
    entries = read_manifest(".csv", data)
    assert [label for label, _ in faults(entries)] == ["m:2"]
    assert [entry.target for entry in entries[1:]] == [f"page-{i:06}.png" for i in range(rows)]


@given(st.lists(st.tuples(NAME, st.dictionaries(CELL, JSON, max_size=3)), max_size=5), st.booleans(), BLOCK)
def test_objects_of_json_lines_are_kept(
    rows: list[tuple[str, dict[str, Any]]],
    ascii_only: bool,  # noqa: FBT001
    block_bytes: int,
) -> None:
    rows = [(name, {key + "_": value for key, value in meta.items()}) for name, meta in rows]
    lines = [json.dumps({"path": name, **meta}, ensure_ascii=ascii_only) for name, meta in rows]
    entries = read_manifest(".jsonl", "\r\n".join(lines).encode(), block_bytes)
    assert pairs(entries) == [(name, meta or None) for name, meta in rows]


def test_a_null_field_does_not_name_the_page() -> None:
    (entry,) = read_manifest(".jsonl", b'{"path": null, "Url": "https://e.org/1.png", "n": 1}')
    assert (entry.target, entry.meta) == ("https://e.org/1.png", {"path": None, "n": 1})


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"{", id="not-json"),
        pytest.param(b"[1]", id="not-an-object"),
        pytest.param(b'{"name": "a"}', id="no-field"),
        pytest.param(b'{"path": 1}', id="not-a-string"),
        pytest.param(b'{"path": ""}', id="empty"),
        pytest.param(b'{"path": "a\\u0000b"}', id="nul"),
        pytest.param(b'{"path": "\xff"}', id="not-utf-8"),
        pytest.param(b'{"path": "\\ud800"}', id="lone-surrogate"),
        pytest.param(b'{"path": "a", "x": ' + b"[" * 400 + b"]" * 400 + b"}", id="too-deep-to-write"),
        pytest.param(b'{"path": "a", "x": ' + b"[" * 9000 + b"]" * 9000 + b"}", id="too-deep-to-read"),
    ],
)
def test_a_broken_json_line_has_a_problem(line: bytes) -> None:
    """The lines around it are parsed."""
    entries = read_manifest(".jsonl", b'{"file": "a"}\n' + line + b'\n\n{"image": "b"}\n')
    assert [(entry.label, entry.target) for entry in entries] == [("m:1", "a"), ("m:2", None), ("m:4", "b")]
    assert [label for label, _ in faults(entries)] == ["m:2"]

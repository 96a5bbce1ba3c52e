"""Manifests: the same rows whatever the block size."""

import csv
import io
import json
import os
from typing import Any

import orjson
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


@pytest.mark.parametrize(
    ("line", "meta"),
    [
        pytest.param(b'{"path":"a.png","x":NaN}', {"x": None}, id="nan"),
        pytest.param(b'{"path":"a.png","x":[Infinity,{"y":-Infinity}]}', {"x": [None, {"y": None}]}, id="infinity"),
        pytest.param(b'{"path":"a.png","x":"a\\ud800b","\\udfff":1}', {"x": "a\ufffdb", "\ufffd": 1}, id="surrogates"),
        pytest.param(b'{"path":"a.png","x":"\\ud83d\\ude00"}', {"x": "\U0001f600"}, id="pair-of-surrogates"),
        pytest.param(b'{"path":"a.png","x":NaN,"n":12345678901234567890123}', {"x": None, "n": 1.2345678901234568e22},
                     id="integer-beyond-64-bits"),
        pytest.param(b'{"path":"a.png","x":NaN,"n":1' + b"0" * 400 + b"}", {"x": None, "n": None}, id="huge-integer"),
    ],
)  # fmt: skip
def test_fields_that_python_writes_and_json_lacks_are_kept_as_far_as_json_can(
    line: bytes, meta: dict[str, Any]
) -> None:
    """`json.dumps` writes NaN, infinity and lone surrogates."""
    (entry,) = read_manifest(".jsonl", line)
    assert (entry.target, entry.meta, entry.problem) == ("a.png", meta, None)
    assert orjson.loads(orjson.dumps(entry.meta)) == meta


def test_an_infinite_number_is_written_as_null() -> None:
    """Python reads 1e999 as infinity."""
    (entry,) = read_manifest(".jsonl", b'{"path":"a.png","x":1e999}')
    assert orjson.dumps(entry.meta) == b'{"x":null}'


def test_surrogates_in_a_path_stand_for_its_bytes() -> None:
    """As Python's `json.dumps` writes a name that is not UTF-8."""
    (entry,) = read_manifest(".jsonl", json.dumps({"path": os.fsdecode(b"\xff\xe9.png")}).encode())
    assert os.fsencode(entry.target or "") == b"\xff\xe9.png"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_field_may_fill_the_line(suffix: str) -> None:
    """Up to the 1 MiB that a line may have."""
    text = "x" * (LINE_MAX_BYTES - 40)
    lines = {
        ".csv": f'path,ocr\na.png,"{text}"\n',
        ".tsv": f"path\tocr\na.png\t{text}\n",
        ".jsonl": f'{{"path":"a.png","ocr":"{text}"}}\n',
    }
    assert pairs(read_manifest(suffix, lines[suffix].encode())) == [("a.png", {"ocr": text})]


@pytest.mark.parametrize("blank", ["", "   ", "\t", ",", " , ", '""', '" ",""'], ids=repr)
def test_a_blank_row_of_a_table_is_skipped(blank: str) -> None:
    """Spreadsheets write rows of empty cells."""
    data = f"path,note\r\na.png,1\r\n{blank}\r\nb.png,2\r\n{blank}".encode()
    assert pairs(read_manifest(".csv", data)) == [("a.png", {"note": "1"}), ("b.png", {"note": "2"})]


def test_spaces_after_the_delimiters_of_a_header_belong_to_no_field() -> None:
    data = b'id, path, note\n1, a.png, "x, y"\n2, b.png,  z\n'
    assert pairs(read_manifest(".csv", data)) == [
        ("a.png", {"id": "1", "note": "x, y"}),
        ("b.png", {"id": "2", "note": "z"}),
    ]


def test_a_header_without_spaces_keeps_those_of_the_fields() -> None:
    """The walk strips the name of a file that does not exist."""
    assert pairs(read_manifest(".csv", b"path,note\n a.png, x\n")) == [(" a.png", {"note": " x"})]


@pytest.mark.parametrize(
    ("header", "target"),
    [
        pytest.param("file_name,text", "a", id="hugging-face"),
        pytest.param("text,FileName", "b", id="filename"),
        pytest.param("image_path,url", "a", id="image_path-before-url"),
        pytest.param("image,file_name", "b", id="file_name-before-image"),
    ],
)
def test_common_names_of_the_column_are_known(header: str, target: str) -> None:
    """`file_name` is that of Hugging Face's image folders, and of COCO."""
    assert [entry.target for entry in read_manifest(".csv", f"{header}\na,b\n".encode())] == [target]
    first, second = header.split(",")
    line = json.dumps({first: "a", second: "b"}).encode()
    assert [entry.target for entry in read_manifest(".jsonl", line)] == [target]


@pytest.mark.parametrize(
    ("suffix", "data"),
    [(".csv", b"path, Scan \nx,a.png\n"), (".jsonl", b'{"path":"x","Scan":"a.png"}\n')],
)
def test_a_given_column_names_the_page(suffix: str, data: bytes) -> None:
    """In any case; a column that would name it otherwise is a further field."""
    entries = read(manifest_reader(suffix, "m", "scan"), data)
    assert [entry.target for entry in entries] == ["a.png"]
    assert [entry.meta for entry in entries] == [{"path": "x"}]


def test_a_row_without_the_given_column_is_broken() -> None:
    entries = read(manifest_reader(".jsonl", "m", "scan"), b'{"path":"x"}\n')
    assert faults(entries) == [("m:1", "no field scan")]
    with pytest.raises(UsageError, match="m: no column scan in the header 'path'"):
        read(manifest_reader(".csv", "m", "scan"), b"path\nx\n")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        pytest.param("file:///scans/a%20b.png", "/scans/a b.png", id="percent"),
        pytest.param("FILE://LOCALHOST/a.png", "/a.png", id="localhost"),
        pytest.param("file:/a.png", "/a.png", id="one-slash"),
        pytest.param("file:///%E6%96%B0.png", "/新.png", id="utf-8"),
        pytest.param("file:///新.png", "/新.png", id="not-encoded"),
        pytest.param("file:///%FF.png", "/\udcff.png", id="not-utf-8"),
        pytest.param("file:a.png", "file:a.png", id="a-name-with-a-colon"),
    ],
)
def test_a_file_url_is_a_path(url: str, target: str) -> None:
    for suffix, data in ((".txt", url), (".csv", f"url\n{url}"), (".jsonl", json.dumps({"url": url}))):
        assert [entry.target for entry in read_manifest(suffix, data.encode())] == [target]


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("file://server/share/a.png", "file://server: a file of another host"),
        ("file:///", "a file URL without a path"),
        ("file:///a%00.png", "NUL in the path"),
    ],
)
def test_a_file_url_of_no_file_of_this_machine_is_a_broken_row(url: str, fault: str) -> None:
    assert faults(read_manifest(".txt", url.encode())) == [("m:1", fault)]


def test_a_line_that_begins_with_a_number_sign_may_be_a_comment() -> None:
    """Only the filesystem knows."""
    entries = read_manifest(".txt", b"# May\n #x\n#a.png\na#b.png\n")
    assert [entry.may_be_comment for entry in entries] == [True, True, True, False]
    assert not any(entry.may_be_comment for entry in read_manifest(".csv", b"path\n#a.png\n"))
    assert not any(entry.may_be_comment for entry in read(path_reader("-", null_separated=True), b"#a.png\0"))

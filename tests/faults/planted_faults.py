"""Faults to plant in a workspace or its ledger, each with the message by which `verify` must report it."""

import re
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from pipeline.workspace.checksums import append_checksum
from pipeline.workspace.paths import FAILURES, INDEX, RESULTS
from tests.faults.tampering import TamperedWorkspace, resealed

A, B, COPY, LATIN = "scans/page-0001.png", "scans/page-0002.png", "scans/z-copy.png", "scans/z-cafe.png"
ORIGINAL, CHANGED, URL = "scans/page-0003.png", "scans/page-0005.png", "https://example.org/scan.png"
EMPTY, TEXT, FLAKY = "scans/empty.png", "scans/text.jpg", "scans/flaky.png"
NOBODY = f"sha256:{'0' * 64}#1"

Tamper = Callable[[TamperedWorkspace], object]


def _flip(line: bytes, at: int) -> bytes:
    return line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]


def _delete(tampered: TamperedWorkspace, at: int, name: str = RESULTS) -> None:
    lines = tampered.lines(name)
    del lines[at]
    tampered.rewrite(lines, name)


def _swap(tampered: TamperedWorkspace, first: int, second: int) -> None:
    lines = tampered.lines()
    lines[first], lines[second] = lines[second], lines[first]
    tampered.rewrite(lines)


def _join(tampered: TamperedWorkspace, at: int, kept: int) -> None:
    """Keep only the first bytes of a line, so that the next line follows on the same one."""
    tampered.edit(at, lambda line: line[:-1][:kept])


def _zero(line: bytes) -> bytes:
    return line[:100] + bytes(200) + line[300:]


def _pay_again(tampered: TamperedWorkspace) -> None:
    line = tampered.lines()[tampered.find(A)]
    tampered.append(resealed(line, source="again.png", attempts=["another-000001"]))


def _use_call_again(tampered: TamperedWorkspace) -> None:
    tampered.reseal(tampered.find(B), attempts=[tampered.attempt(A)])


def _fail_later(tampered: TamperedWorkspace) -> None:
    text, line = tampered.lines()[tampered.find(A)], tampered.lines(FAILURES)[tampered.find(FLAKY, FAILURES)]
    tampered.append(
        resealed(line, source=A, id=orjson.loads(text)["id"], added="2999-01-01T00:00:00.000000Z"), FAILURES
    )


def _break_text(tampered: TamperedWorkspace) -> None:
    at = tampered.find(A)
    body = tampered.lines()[at].partition(b',"crc32":')[0].replace(b"text of", b"text \xff\xfe") + b"}"
    tampered.edit(at, lambda _: append_checksum(body))


def _exceed_64_bits(tampered: TamperedWorkspace) -> None:
    """Write a number that does not fit into 64 bits."""
    at = tampered.find(A)
    body = re.sub(rb',"crc32":\d+\}\n', b"}", tampered.lines()[at])
    tampered.edit(at, lambda _: append_checksum(re.sub(rb'"elapsed_ms":\d+', b'"elapsed_ms":-' + b"9" * 30, body)))


def _rescue(tampered: TamperedWorkspace) -> None:
    size = (tampered.workspace / RESULTS).stat().st_size
    (tampered.workspace / f"{RESULTS}.rescued-{size}-20260101T000000000000").write_bytes(tampered.lines()[0])


def _overwrite(path: Path, at: int, noise: bytes) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:at] + noise + content[at + len(noise) :])


def _set_state(tampered: TamperedWorkspace, state: str) -> None:
    tampered.change_ledger("UPDATE attempt SET state = ? WHERE id = ?", state, tampered.attempt(A))


DAMAGED_LINES = [
    pytest.param(lambda p: p.edit(p.find(A), lambda line: _flip(line, 90)), "its checksum does not match", id="bit"),
    pytest.param(
        lambda p: p.edit(p.find(A), lambda line: _flip(line, -3)), "its checksum does not match", id="bit-in-the-crc"
    ),
    pytest.param(
        lambda p: p.edit(p.find(A), lambda line: line[:-4] + line[-2:]), "checksum", id="digit-of-the-crc-missing"
    ),
    pytest.param(
        lambda p: p.edit(p.find(A), lambda line: line.partition(b',"crc32"')[0] + b"}\n"),
        "no checksum at its end",
        id="without-checksum",
    ),
    pytest.param(lambda p: p.edit(p.find(A), _zero), "200 zero bytes", id="block-of-zeros"),
    pytest.param(lambda p: p.edit(p.find(A), lambda line: line[:-1] + b"\r\n"), "its end is CR LF", id="crlf"),
    pytest.param(lambda p: _join(p, p.find(A), 9999), "a whole line and more", id="newline-lost"),
    pytest.param(lambda p: _join(p, p.find(A), 120), "a torn line followed by a whole one", id="torn-in-the-middle"),
    pytest.param(lambda p: p.edit(p.find(A), lambda line: b"\n" + line), "an empty line", id="empty-line"),
    pytest.param(
        lambda p: p.edit(p.find(A), lambda _: append_checksum(b'{"hello":1}')),
        "missing required field `source`",
        id="foreign-line",
    ),
    pytest.param(_break_text, "utf-?8", id="text-that-is-not-utf-8"),
    pytest.param(lambda p: p.reseal(p.find(A), page=0), "Expected `int` >= 1 - at `$.page`", id="page-0"),
    pytest.param(lambda p: p.reseal(p.find(A), page=2), f"{A}: its id sha256:.* does not fit", id="another-page"),
    pytest.param(
        lambda p: p.reseal(p.find(A), sha256="0" * 64), f"{A}: its id sha256:.* does not fit", id="another-file"
    ),
    pytest.param(
        lambda p: p.reseal(p.find(A), id="page 1"), f"{A}: its id 'page 1' is not the id of a page", id="no-id"
    ),
    pytest.param(
        lambda p: p.reseal(p.find(URL), source=URL + "?"), "its id url:.* is that of another URL", id="another-url"
    ),
    pytest.param(
        lambda p: p.reseal(p.find(A), added="yesterday"), f"{A}: added is not a time: 'yesterday'", id="no-time"
    ),
    pytest.param(_exceed_64_bits, f"{A}: elapsed_ms is -999", id="negative-time"),
    pytest.param(lambda p: p.reseal(p.find(A), attempts=[]), f"{A}: it has no attempt", id="no-call"),
]

OTHER_FAULTS = [
    pytest.param(
        lambda p: _delete(p, p.find(A)), "was accepted, and no readable line has its text", id="accepted-without-a-line"
    ),
    pytest.param(
        lambda p: _set_state(p, "charged"),
        "as one without a text",
        id="charged-with-a-text",
    ),
    pytest.param(
        lambda p: p.change_ledger("UPDATE month SET settled = settled + 1"), "its rows are", id="month-miscounted"
    ),
    pytest.param(
        lambda p: p.change_ledger("UPDATE workspace SET accepted = accepted + 1"),
        "settled calls of workspace",
        id="workspace-miscounted",
    ),
    pytest.param(lambda p: p.append(p.lines()[0][:-30]), "results.jsonl:24: it ends without a newline", id="torn-tail"),
    pytest.param(
        lambda p: _delete(p, 0), "scans/caf\\xe9.png page 1: counts as done and has no line", id="first-removed"
    ),
    pytest.param(lambda p: _delete(p, p.find(A)), f"{A} page 1: counts as done and has no line", id="middle-removed"),
    pytest.param(
        lambda p: _delete(p, -1), "scans/page-0006.png page 1: counts as done and has no line", id="last-removed"
    ),
    pytest.param(
        lambda p: p.rewrite(p.lines()[:-9]), "index.sqlite3: it has read another results.jsonl", id="older-results"
    ),
    pytest.param(
        lambda p: p.append(p.lines()[1]),
        "results.jsonl:24: scans/page-0000.png: line 2 has a text of the same call",
        id="line-twice",
    ),
    pytest.param(
        lambda p: _swap(p, 0, 1), "at byte 0 in the index; its first record begins at byte", id="lines-swapped"
    ),
    pytest.param(
        lambda p: _delete(p, p.find(ORIGINAL)),
        f"{COPY}: a duplicate of '{ORIGINAL}' without its record",
        id="original-removed",
    ),
    pytest.param(
        lambda p: _swap(p, p.find(ORIGINAL), p.find(COPY)),
        f"{COPY}: a duplicate of '{ORIGINAL}' before its record",
        id="duplicate-first",
    ),
    pytest.param(
        lambda p: p.reseal(p.find(COPY), duplicate_of="nobody.png"),
        f"{COPY}: a duplicate of 'nobody.png' without its record",
        id="duplicate-of-nobody",
    ),
    pytest.param(_pay_again, "again.png: line 3 has its content, so it was sent twice", id="paid-twice"),
    pytest.param(_use_call_again, f"{B}: line 3 has a text of the same call", id="call-of-two-texts"),
    pytest.param(_fail_later, f"{A}: it failed after its text was on disk (results.jsonl:3)", id="failed-when-done"),
    pytest.param(
        lambda p: p.edit(0, lambda line: _flip(line, 40), FAILURES),
        "failures.jsonl:1: its checksum does not match",
        id="bit-in-a-failure",
    ),
    pytest.param(
        lambda p: p.reseal(p.find(EMPTY, FAILURES), FAILURES, **{"class": "tired"}),
        f"failures.jsonl:1: {EMPTY}: the class 'tired' is unknown",
        id="unknown-class",
    ),
    pytest.param(
        lambda p: p.reseal(p.find(EMPTY, FAILURES), FAILURES, retryable=True),
        f"failures.jsonl:1: {EMPTY}: retryable is true, which the class empty never is",
        id="retryable-of-another-class",
    ),
    pytest.param(
        lambda p: p.reseal(p.find(FLAKY, FAILURES), FAILURES, id="sha256:0"),
        f"failures.jsonl:2: {FLAKY}: its id 'sha256:0' is not that of page 1",
        id="failure-without-id",
    ),
    pytest.param(
        lambda p: p.reseal(p.find(EMPTY, FAILURES), FAILURES, added="2026-13-01T00:00:00.000000Z"),
        f"failures.jsonl:1: {EMPTY}: added is not a time",
        id="failure-with-an-invalid-time",
    ),
    pytest.param(
        lambda p: (p.workspace / FAILURES).unlink(),
        f"{TEXT} page 1: counts as failed and has no line",
        id="failures-removed",
    ),
    pytest.param(_rescue, "holds lines saved from a failed disk; the next run merges them", id="rescued-lines"),
    pytest.param(
        lambda p: p.change_run_file(totals={"done": 17, "duplicate": 2, "failed": 3, "uncertain": 1, "pending": 1}),
        "run.json: 17 pages done, the files say 18",
        id="totals",
    ),
    pytest.param(
        lambda p: (p.workspace / "run.json").unlink(), "not a workspace (no run.json in it)", id="no-run-json"
    ),
    pytest.param(
        lambda p: _overwrite(p.workspace / "run.json", 2, b"\0" * 40),
        "run.json: JSON is malformed",
        id="run-json-overwritten",
    ),
    pytest.param(
        lambda p: p.change_index("DELETE FROM page WHERE source = ?", A.encode()),
        f"index.sqlite3: {A} page 1: missing in the index; by the lines done",
        id="index-lacks-a-page",
    ),
    pytest.param(
        lambda p: p.change_index(
            "INSERT INTO page (source, page, state, retryable, added, id) VALUES (X'78', 1, 'done', 0, '', ?)", NOBODY
        ),
        "x page 1: counts as done and has no line that can be read",
        id="index-invents-a-page",
    ),
    pytest.param(
        lambda p: p.change_index("UPDATE page SET state = 'failed' WHERE source = ?", A.encode()),
        f"{A} page 1: counts as failed and has no line that can be read",
        id="index-says-another-state",
    ),
    pytest.param(
        lambda p: p.change_index(
            "UPDATE page SET retryable = 0 WHERE source = 'missing.png' OR source = ?", b"missing.png"
        ),
        "index.sqlite3: missing.png page 1: failed, ",
        id="index-other-retryable",
    ),
    pytest.param(
        lambda p: p.change_index("UPDATE page SET in_doubt = 1 WHERE source = ?", A.encode()),
        f"index.sqlite3: {A} page 1: done, ",
        id="index-doubts-a-page",
    ),
    pytest.param(
        lambda p: p.change_index("UPDATE content SET offset = offset + 1 WHERE offset = 0"),
        "at byte 1 in the index; its first record begins at byte 0",
        id="index-wrong-offset",
    ),
    pytest.param(
        lambda p: p.change_index("UPDATE content SET id = ? WHERE offset = 0", NOBODY),
        f"index.sqlite3: content {NOBODY}: at byte 0 in the index; no line has it",
        id="index-invents-a-content",
    ),
    pytest.param(
        lambda p: p.change_index("DELETE FROM content WHERE offset = 0"),
        "missing in the index; its first record begins at byte",
        id="index-lacks-a-content",
    ),
    pytest.param(
        lambda p: p.change_index("UPDATE progress SET read_bytes = 4000 WHERE name = 'results.jsonl'"),
        "index.sqlite3: it has read another results.jsonl",
        id="index-of-other-lines",
    ),
    pytest.param(
        lambda p: _overwrite(p.workspace / INDEX, 4096, b"\xff" * 4096),
        "index.sqlite3: damaged: ",
        id="index-overwritten",
    ),
    pytest.param(
        lambda p: _overwrite(p.workspace / INDEX, 60, b"\0\0\0\x63"),
        "index.sqlite3: damaged: format 99",
        id="index-of-another-format",
    ),
    pytest.param(
        lambda p: p.ledger.unlink(), "it is gone; the calls that it counted cannot be checked", id="no-ledger"
    ),
    pytest.param(
        lambda p: _overwrite(p.ledger, 4096, b"\xff" * 4096),
        ".sqlite3: *** in database main *** Page 2",
        id="ledger-overwritten",
    ),
    pytest.param(
        lambda p: p.change_ledger("DELETE FROM attempt WHERE id = ?", p.attempt(A)),
        f"results.jsonl:3: {A}: no ledger counts its call",
        id="call-uncounted",
    ),
    pytest.param(lambda p: _set_state(p, "void"), f"{A}: the ledger counts its call", id="call-never-made"),
    pytest.param(lambda p: _set_state(p, "pending"), "as under way", id="call-under-way"),
    pytest.param(lambda p: _set_state(p, "unknown"), "as lost", id="call-lost"),
    pytest.param(
        lambda p: p.change_ledger("UPDATE attempt SET page = ? WHERE id = ?", NOBODY, p.attempt(A)),
        f"as one for another content ({A})",
        id="call-of-another-page",
    ),
]

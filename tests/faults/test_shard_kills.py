"""`kill -9` of shards and of a merge: each page once in the merged workspace, and no claim that stays for ever."""

import random
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from pipeline.ledger.sqlite.claims import SqliteClaims
from tests.cluster import test_claims
from tests.cluster.test_claims import flags, write_copies
from tests.cluster.test_merge import merge, run_shards, verify
from tests.fakes import FakeOcr, serve_fake
from tests.faults.tracing import trace
from tests.ledgers import read_attempt_states
from tests.pages import write_pages
from tests.runs import COMMAND, result_lines, results, run_command

CALLS = ("write", "fdatasync", "pwrite64", "rename", "sendto", "sendmsg")
CONTENTS = 8


async def run_shard(scans: Path, parts: Path, fake: FakeOcr, number: int, prefix: Sequence[str] = ()) -> int:
    arguments = ("run", scans, *flags(parts, number, fake.url), "-q", "-j", "3")
    return (await run_command(*arguments, command=[*prefix, *COMMAND])).returncode


@pytest.mark.parametrize(
    "seed", [1, 2, pytest.param(3, marks=pytest.mark.deep), pytest.param(4, marks=pytest.mark.deep)]
)
async def test_killed_shards_are_merged_with_each_page_once(scans: Path, tmp_path: Path, seed: int) -> None:
    """The same commands again finish the job; calls that were in flight may repeat, and count."""
    write_copies(scans, CONTENTS)
    parts, chance = tmp_path / "parts", random.Random(seed)
    async with serve_fake() as fake:
        kills = 0
        for _ in range(3):
            for number in (1, 2):
                name = chance.choice(CALLS)
                prefix = trace(tmp_path / "log", [name], kill_at=(name, chance.randrange(1, 30)))
                kills += await run_shard(scans, parts, fake, number, prefix) in {-9, 137}
        for number in (1, 2, 1, 2):
            assert await run_shard(scans, parts, fake, number) == 0
        await fake.wait_until_quiet()
        assert kills > 0
        billed = sum(fake.billed.values())
        assert len(fake.billed) == CONTENTS
        assert billed <= CONTENTS + 3 * kills
    whole = tmp_path / "whole"
    await merge([parts / "1", parts / "2"], whole)
    assert await verify(whole) == ""
    names = [line["source"] for line in results(whole)]
    assert (len(names), sorted(names)) == (2 * CONTENTS, sorted({path.name for path in scans.iterdir()}))
    (ledger,) = (tmp_path / "ledger").glob("*.sqlite3")
    counted = [
        state
        for number in (1, 2)
        for state in read_attempt_states(ledger, _id_of(parts / str(number))).values()
        if state != "void"
    ]
    assert len(counted) >= billed


def _id_of(out: Path) -> str:
    return str(orjson.loads((out / "run.json").read_bytes())["workspace"])


async def test_without_claims_a_content_is_paid_in_each_shard(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    monkeypatch.setattr(SqliteClaims, "execute", lambda _, operations: [None] * len(operations))
    with pytest.raises(AssertionError):
        await test_claims.test_a_content_of_two_shards_is_paid_once(scans, tmp_path)


async def test_without_a_release_a_page_would_wait_for_ever(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""

    def register_alone(claims: SqliteClaims) -> None:
        scope = claims._scope
        values = (scope.job, scope.shard, scope.workspace_id, scope.place)
        with claims._file.transaction() as db:
            db.execute("INSERT OR REPLACE INTO shard VALUES (?, ?, ?, ?)", values)

    monkeypatch.setattr(SqliteClaims, "register", register_alone)
    with pytest.raises(AssertionError):
        await test_claims.test_the_claims_of_a_killed_run_are_its_own_until_it_runs_again(scans, tmp_path)


@pytest.mark.parametrize(
    ("call", "nth"),
    [*(("rename", nth) for nth in range(1, 7)), ("fsync", 2), ("unlink", 1)],
)
async def test_a_killed_merge_is_repeated(scans: Path, tmp_path: Path, call: str, nth: int) -> None:
    """No run begins before, and nothing that the merged workspace had is lost; each rename of a merge is met."""
    write_pages(scans, 9)
    whole, expected = tmp_path / "whole", tmp_path / "expected"
    async with serve_fake() as fake:
        outs = await run_shards(scans, tmp_path / "parts", fake.url, 3)
        await merge(outs, expected)
        compressed = {"PAGEMILL_OUTPUT_COMPRESSION": "zstd"}
        assert (await run_command("merge", outs[0], "-o", whole, **compressed)).returncode == 0
        (segment,) = whole.glob("*.zst")
        before = set(result_lines(whole))
        merged = (whole / f".{name}.jsonl.merged" for name in ("results", "failures", "parts", "deferred"))
        written = [whole / ".run.json.new", *merged, segment]
        prefix = trace(tmp_path / "log", [call], kill_at=(call, nth), files=written)
        killed = await run_command("merge", *outs, "-o", whole, command=[*prefix, *COMMAND])
        assert killed.returncode in {-9, 137}
        assert before <= set(result_lines(whole))
        if (call, nth) != ("rename", 1):
            refused = await run_command("run", scans, *_arguments(whole, tmp_path, fake.url))
            assert (refused.returncode, b"repeat `pagemill merge`" in refused.stderr) == (2, True)
            assert "was interrupted" in await verify(whole)
        await merge(outs, whole)
        assert result_lines(whole) == result_lines(expected)
        assert await verify(whole) == ""
        calls = len(fake.calls)
        assert (await run_command("run", scans, *_arguments(whole, tmp_path, fake.url))).returncode == 0
        assert len(fake.calls) == calls


def _arguments(out: Path, directory: Path, url: str) -> Sequence[str | Path]:
    return ("-o", out, "--ledger", directory / "ledger", "--api-url", url)

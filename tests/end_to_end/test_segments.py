"""All commands on a workspace whose records are plain, closed and compressed."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import orjson
import pytest

from pipeline import read_records
from pipeline.errors import StorageError, UsageError
from pipeline.verify.audit import audit
from pipeline.workspace.index import Index
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.run_file import require_workspace
from tests.corrections import write_corrections
from tests.end_to_end.test_plan import fingerprint
from tests.fakes import FakeOcr, serve_fake
from tests.pages import write_pages
from tests.runs import results, run_arguments, run_command, run_here
from tests.workspace.segments import compress, names

FIRST, SECOND = "results-000001.jsonl.zst", "results-000002.jsonl.zst"
ZSTD = {"compression": "zstd", "rotate_bytes": 1500}
PLAIN = {"rotate_bytes": 1500}


async def fill(scans: Path, out: Path, fake: FakeOcr) -> None:
    """Recognise twenty pages in three nights: compressed, plain, and without rotation."""
    for pages, output in ((8, ZSTD), (16, PLAIN), (20, {})):
        write_pages(scans, pages)
        assert (await run_here(scans, out, fake.url, run={"jobs": 1}, output=output)).exit_code == 0
    found = names(out)
    assert FIRST in found
    assert any(name.endswith(".jsonl") and name != RESULTS for name in found)
    assert (out / RESULTS).stat().st_size > 0


def faults(out: Path) -> list[str]:
    return list(audit(out, require_workspace(out)))


def edit(path: Path) -> None:
    """Change the texts of a file, as an editor does; of a compressed one, with zstd."""
    plain = path.with_name("plain")
    content = subprocess.run(["zstd", "-qdcf", path], check=True, capture_output=True).stdout
    plain.write_bytes(content.replace(b"text of", b"TEXT of"))
    if path.suffix == ".zst":
        subprocess.run(["zstd", "-qf", plain, "-o", path], check=True)
        plain.unlink()
    else:
        plain.replace(path)


async def test_every_command_reads_all_forms(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        assert (len(fake.calls), set(fake.billed.values())) == (20, {1})
    expected = [f"page-{number:04}.png" for number in range(20)]
    assert [record.source for record in read_records(out)] == expected
    assert faults(out) == []
    status = await run_command("status", out, "--json")
    assert orjson.loads(status.stdout)["done"] == 20
    exported = await run_command("export", out, "--to", "txt", tmp_path / "texts")
    assert exported.returncode == 0
    assert len(list((tmp_path / "texts").iterdir())) == 20 + 1
    (out / "index.sqlite3").unlink()
    assert faults(out) == []
    with Index.open(out) as index:
        assert sum(index.count_pages().totals.values()) == 20
        assert index.damaged == []


async def test_neither_closing_nor_compressing_makes_the_next_run_read_all_lines_again(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        monkeypatch.setattr("pipeline.workspace.tables.Tables.forget_lines", lambda _: pytest.fail("all lines again"))
        for output in (PLAIN, ZSTD, {"compression": "zstd"}, {}):
            assert (await run_here(scans, out, fake.url, output=output)).exit_code == 0
        assert len(fake.calls) == 20
    assert faults(out) == []


async def test_a_duplicate_finds_its_original_in_a_compressed_segment(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        shutil.copyfile(scans / "page-0001.png", scans / "z-copy.png")
        assert (await run_here(scans, out, fake.url)).exit_code == 0
        assert len(fake.calls) == 20
    assert results(out)[-1]["duplicate_of"] == "page-0001.png"


@pytest.mark.parametrize("output", [PLAIN, ZSTD], ids=["plain", "zstd"])
async def test_corrections_of_pages_in_all_forms_are_kept_and_cost_nothing(
    scans: Path, tmp_path: Path, output: dict[str, object]
) -> None:
    """One page in a compressed segment, one in a plain one, one in results.jsonl; later runs close the corrections."""
    out, pages = tmp_path / "out", (1, 10, 19)
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        shutil.copyfile(scans / "page-0001.png", scans / "z-copy.png")
        assert (await run_here(scans, out, fake.url)).exit_code == 0
        texts = {f"page-{number:04}.png": f"corrected {number}" for number in pages}
        lines = [{"source": name, "page": 1, "text": text} for name, text in texts.items()]
        file = write_corrections(tmp_path / "c.jsonl", *lines, {"source": "page-0002.png", "page": 1, "checked": True})
        done = await run_command("correct", out, file)
        assert b"3 corrected, 1 checked, 1 copies likewise" in done.stderr
        texts["z-copy.png"] = texts["page-0001.png"]
        for number in range(3):
            assert faults(out) == []
            found = {record.source: record.text for record in read_records(out)}
            assert {name: found[name] for name in texts} == texts
            exported = await run_command("export", out, "--to", "txt", tmp_path / f"texts {number}")
            assert (exported.returncode, exported.stdout) == (0, b"")
            assert (tmp_path / f"texts {number}/z-copy.png.txt").read_text() == "corrected 1\n"
            assert (await run_here(scans, out, fake.url, output=output)).exit_code == 0
            (out / "index.sqlite3").unlink()
        again = await run_command("correct", out, file, "--json")
        assert (orjson.loads(again.stdout)["unchanged"], len(fake.calls)) == (4, 20)
    status = orjson.loads((await run_command("status", out, "--json")).stdout)
    assert (status["corrected"], status["checked"], status["done"]) == (4, 1, 20)


class TestDamage:
    def damage(self, out: Path) -> None:
        content = bytearray((out / FIRST).read_bytes())
        content[len(content) // 3] ^= 0xFF
        (out / FIRST).write_bytes(content)

    async def test_a_damaged_frame_is_named_and_its_pages_are_not_paid_again(
        self, scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        out = tmp_path / "out"
        async with serve_fake() as fake:
            await fill(scans, out, fake)
            self.damage(out)
            damage = f"{FIRST}:1: a zstd frame of "
            assert any(fault.startswith(damage) for fault in faults(out))
            verified = await run_command("verify", out)
            assert (verified.returncode, damage in verified.stdout.decode()) == (1, True)
            exported = await run_command("export", out, "--to", "csv", tmp_path / "texts.csv")
            assert exported.returncode == 3
            with caplog.at_level(logging.WARNING):
                assert 10 < len(list(read_records(out))) < 20
            assert f"{FIRST}:1: skipped a damaged line: a zstd frame of" in caplog.text
            with pytest.raises(StorageError, match="texts that were paid for have no readable line"):
                await run_here(scans, out, fake.url)
            assert len(fake.calls) == 20
            assert (await run_here(scans, out, fake.url, pay_again=True)).exit_code == 0
            assert 20 < len(fake.calls) < 30
        assert len({record.source for record in read_records(out)}) == 20

    @pytest.mark.parametrize("harm", ["damaged", "edited", "edited-there"])
    async def test_a_plan_says_why_a_run_would_refuse_to_pay(self, scans: Path, tmp_path: Path, harm: str) -> None:
        """It changes nothing, also where the run accepts the ledger or pays again."""
        out = tmp_path / "out"
        async with serve_fake() as fake:
            await fill(scans, out, fake)
            if harm == "damaged":
                self.damage(out)
            else:
                edit(out / (FIRST if harm == "edited" else RESULTS))
            _, *arguments = run_arguments(scans, tmp_path, fake.url)
            before = fingerprint(out), fingerprint(tmp_path / "ledger")
            planned = await run_command("plan", *arguments)
            dry = await run_command("run", "-n", *arguments)
            paying = await run_command("run", "-n", "--pay-again", *arguments)
            assert (fingerprint(out), fingerprint(tmp_path / "ledger")) == before
            refused = await run_command("run", *arguments)
            assert len(fake.calls) == 20
        last = refused.stderr.decode().splitlines()[-1]
        assert f"nothing was sent; `pagemill {'verify' if harm == 'damaged' else 'correct'} {out}" in last
        assert [each.stderr.decode().splitlines()[-1] for each in (planned, dry)] == [last, last]
        assert [each.returncode for each in (planned, dry, paying)] == [refused.returncode, refused.returncode, 0]
        assert planned.stdout == b""

    @pytest.mark.parametrize("missing", [[FIRST], [SECOND], [FIRST, SECOND]], ids=["first", "second", "two"])
    async def test_a_missing_segment_stops_a_run_before_it_pays(
        self, scans: Path, tmp_path: Path, missing: list[str]
    ) -> None:
        out = tmp_path / "out"
        async with serve_fake() as fake:
            await fill(scans, out, fake)
            for name in missing:
                (out / name).rename(tmp_path / name)
            with pytest.raises(
                StorageError, match=r"no readable line in .*; results-00000\d.*\.jsonl is missing; nothing"
            ):
                await run_here(scans, out, fake.url)
            assert any("is missing, with all of its lines" in fault for fault in faults(out))
            for name in missing:
                (tmp_path / name).rename(out / name)
            assert (await run_here(scans, out, fake.url)).exit_code == 0
            assert len(fake.calls) == 20
        assert faults(out) == []

    @pytest.mark.parametrize("name", [FIRST, "results-000004.jsonl"])
    async def test_edited_lines_of_a_segment_stop_a_run_until_they_are_resealed(
        self, scans: Path, tmp_path: Path, name: str
    ) -> None:
        out = tmp_path / "out"
        async with serve_fake() as fake:
            await fill(scans, out, fake)
            edit(out / name)
            with pytest.raises(StorageError, match=rf"lines were edited: .*{name} at byte 0"):
                await run_here(scans, out, fake.url)
            corrected = await run_command("correct", out, "--reseal")
            assert corrected.returncode == 0, corrected.stderr
            assert len(list(out.glob(f"{name}.edited-*"))) == 1
            assert (await run_here(scans, out, fake.url)).exit_code == 0
            assert len(fake.calls) == 20
        assert faults(out) == []
        assert {record.text.startswith("TEXT") for record in read_records(out)} == {True, False}

    async def test_a_damaged_segment_is_not_resealed(self, scans: Path, tmp_path: Path) -> None:
        """It would lose what can perhaps be repaired."""
        out = tmp_path / "out"
        async with serve_fake() as fake:
            await fill(scans, out, fake)
        edit(out / FIRST)
        os.truncate(out / FIRST, (out / FIRST).stat().st_size - 3)
        before = (out / FIRST).read_bytes()
        corrected = await run_command("correct", out, "--reseal")
        assert corrected.returncode == 1
        assert f"{FIRST}:" in corrected.stdout.decode()
        assert (out / FIRST).read_bytes() == before
        assert list(out.glob("*.edited-*")) == []

    @pytest.mark.parametrize("change", ["restored", "edited"])
    async def test_a_plain_file_beside_a_compressed_one_that_differs_is_kept(
        self, scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: str
    ) -> None:
        """Someone has restored it beside a damaged one, or decompressed it to edit it."""
        out = tmp_path / "out"
        async with serve_fake() as fake:
            await fill(scans, out, fake)
        await anyio.run_process(["zstd", "-qd", out / FIRST])
        plain = out / FIRST.removesuffix(".zst")
        if change == "restored":
            self.damage(out)
        else:
            plain.write_bytes(plain.read_bytes().replace(b"text", b"TEXT"))
        compress(out)
        assert plain.exists()
        assert f"{plain.name}: not removed: {FIRST} is read in its place, and differs" in caplog.text
        with caplog.at_level(logging.INFO):
            faults(out)
        assert f"{plain.name}: not read, another file holds its lines" in caplog.text


@pytest.mark.parametrize("hide", [lambda out: (out / RESULTS).unlink(), lambda out: (out / RESULTS).write_bytes(b"")])
async def test_results_jsonl_that_is_deleted_or_emptied_stops_a_run(
    scans: Path, tmp_path: Path, hide: Callable[[Path], object]
) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        hide(out)
        with pytest.raises(StorageError, match="texts that were paid for have no readable line"):
            await run_here(scans, out, fake.url)
        assert len(fake.calls) == 20


async def test_without_the_package_no_run_begins(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pages(scans, 1)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    async with serve_fake() as fake:
        with pytest.raises(UsageError, match=r"\[output\] compression: needs the extra zstd"):
            await run_here(scans, tmp_path / "out", fake.url, output=ZSTD)
        assert fake.calls == []
    assert not (tmp_path / "out").exists()

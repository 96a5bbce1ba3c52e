"""Pages that one call cannot read: each tile is a call of its own, and one record has the text of all."""

import asyncio
import json
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from PIL import Image

from pipeline.batch.retry import RetrySelection
from pipeline.batch.summary import Summary
from pipeline.errors import InterruptedRunError, StorageError
from pipeline.records import State
from pipeline.shutdown import Shutdown
from tests.archives import write_tar, write_zip
from tests.end_to_end.test_plan import plan_here
from tests.fakes import Call, FakeOcr, Script, accept, accept_when, answer_error, serve_fake
from tests.pages import write_page
from tests.runs import failures, read_lines, results, run_command, run_here
from tests.tall_pages import SMALL, TILES, write_tall_page

ONE_JOB = {"jobs": 1}


def number_calls(call: Call) -> web.Response:
    """Answer with the number of the call as its text."""
    return web.json_response({"id": f"doc-{call.number}", "content": f"text {call.number}", "timestamp": 1})


def fail_from(number: int, script: Script, *, until: int = 10**6) -> Script:
    """Return a script that answers the calls from this number on, up to another one, as another script does."""
    return lambda call: script(call) if number <= call.number <= until else number_calls(call)


@pytest.fixture
def tall(scans: Path) -> Path:
    return write_tall_page(scans / "tall.png")


def parts(out: Path) -> list[dict[str, Any]]:
    """Return the lines of parts.jsonl."""
    return read_lines(out / "parts.jsonl")


async def run_tiles(scans: Path, out: Path, fake: FakeOcr, **sections: Any) -> Summary:
    """Run with small limits and one job."""
    return await run_here(scans, out, fake.url, **{"prepare": SMALL, "run": ONE_JOB} | sections)


@pytest.mark.usefixtures("tall")
async def test_a_tall_page_is_one_record_with_the_texts_and_attempts_of_all_its_tiles(
    scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_page(scans / "usual.png", 1)
    async with serve_fake(number_calls) as fake:
        summary = await run_tiles(scans, out, fake)
        assert (summary.exit_code, summary.totals[State.DONE], summary.calls) == (0, 2, TILES + 1)
        (record,) = [line for line in results(out) if line["source"] == "tall.png"]
        lines = parts(out)
        assert [line["tile"]["number"] for line in lines] == [1, 2, 3, 4]
        assert record["attempts"] == [line["attempt"] for line in lines]
        assert record["text"] == "\n".join(line["text"] for line in lines)
        boxes = [tile["box"] for tile in record["prep"]["tiles"]]
        assert (boxes[0][:2], boxes[-1][2:]) == ([0, 0], [120, 1700])
        assert all(above[3] >= below[1] for above, below in pairwise(boxes))
        assert (record["prep"]["width_px"], record["prep"]["height_px"]) == (120, 1700)
        assert "tiles" not in next(line for line in results(out) if line["source"] == "usual.png")["prep"]
        again = await run_tiles(scans, out, fake)
        assert (again.exit_code, again.calls, len(fake.calls)) == (0, 0, TILES + 1)
    ran = await run_command("verify", out)
    assert ran.returncode == 0, ran.stderr


def answer_quota(call: Call) -> web.Response:
    """Answer that the month's calls are used up."""
    response = answer_error(402, "quota exceeded")(call)
    assert isinstance(response, web.Response)
    return response


def reject(call: Call) -> web.Response:
    """Answer that the page is wrong."""
    response = answer_error(400, "bad image")(call)
    assert isinstance(response, web.Response)
    return response


@pytest.mark.usefixtures("tall")
@pytest.mark.parametrize(
    ("script", "run", "expected"),
    [
        pytest.param(fail_from(3, answer_quota, until=3), ONE_JOB, (8, State.PENDING, 3), id="quota"),
        pytest.param(number_calls, ONE_JOB | {"max_calls": 2}, (10, State.PENDING, 2), id="max-calls"),
        pytest.param(fail_from(3, reject, until=3), ONE_JOB, (3, State.FAILED, 3), id="a-tile-is-rejected"),
    ],
)
async def test_a_page_that_ends_between_its_tiles_goes_on_with_those_that_are_missing(
    scans: Path, tmp_path: Path, script: Script, run: dict[str, int], expected: tuple[int, State, int]
) -> None:
    """The expected exit code, state of the page and number of calls are those of the first run."""
    out, (exit_code, state, sent) = tmp_path / "out", expected
    async with serve_fake(script) as fake:
        summary = await run_tiles(scans, out, fake, run=run)
        assert (summary.exit_code, summary.totals[state], len(fake.calls)) == (exit_code, 1, sent)
        assert (len(parts(out)), results(out)) == (2, [])
        retry = RetrySelection() if state is State.FAILED else None
        inputs: Any = () if retry else scans
        ended = await run_here(inputs, out, fake.url, retry=retry, prepare=SMALL, run=ONE_JOB)
        assert (ended.exit_code, ended.totals[State.DONE], ended.calls) == (0, 1, 2)
        assert len(fake.calls) == sent + 2
    (record,) = results(out)
    assert record["attempts"] == [line["attempt"] for line in parts(out)]
    assert (await run_command("verify", out)).returncode == 0


@pytest.mark.usefixtures("tall")
async def test_a_failed_tile_is_named(scans: Path, tmp_path: Path) -> None:
    async with serve_fake(fail_from(3, reject)) as fake:
        await run_tiles(scans, tmp_path / "out", fake)
    (failure,) = failures(tmp_path / "out")
    assert failure["message"].startswith("tile 3 of 4: ")
    assert (failure["class"], failure["id"].endswith("#1")) == ("rejected", True)


@pytest.mark.usefixtures("tall")
async def test_ctrl_c_between_two_tiles_keeps_what_was_paid(scans: Path, tmp_path: Path) -> None:
    out, shutdown = tmp_path / "out", Shutdown()

    def interrupt(call: Call) -> web.Response:
        if call.number == 2:
            shutdown.request(InterruptedRunError("Ctrl-C", exit_code=130))
        return number_calls(call)

    async with serve_fake(interrupt) as fake:
        summary = await run_tiles(scans, out, fake, shutdown=shutdown)
        assert (summary.exit_code, len(fake.calls), len(parts(out))) == (130, 2, 2)
        assert (await run_tiles(scans, out, fake)).calls == 2
    assert len(results(out)) == 1


@pytest.mark.usefixtures("tall")
async def test_again_sends_all_tiles_again(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake(number_calls) as fake:
        await run_tiles(scans, out, fake)
        again = await run_tiles(scans, out, fake, again="*")
        assert (again.exit_code, again.calls) == (0, TILES)
        assert (await run_tiles(scans, out, fake)).calls == 0
    first, second = results(out)
    assert second["text"].split() == ["text", "5", "text", "6", "text", "7", "text", "8"]
    assert (set(first["attempts"]) & set(second["attempts"]), second["again"]) == (set(), True)
    assert (await run_command("verify", out)).returncode == 0


async def test_a_copy_of_a_tall_page_costs_nothing(scans: Path, tmp_path: Path, tall: Path) -> None:
    out = tmp_path / "out"
    (scans / "z-copy.png").write_bytes(tall.read_bytes())
    async with serve_fake(number_calls) as fake:
        summary = await run_tiles(scans, out, fake, run={"jobs": 4})
        assert (summary.calls, summary.totals[State.DUPLICATE]) == (TILES, 1)
    one, other = results(out)
    assert (one["text"], one["attempts"], one["prep"]) == (other["text"], other["attempts"], other["prep"])
    assert (await run_command("verify", out)).returncode == 0


@pytest.mark.usefixtures("tall")
async def test_tiles_go_side_by_side_where_slots_are_idle(scans: Path, tmp_path: Path) -> None:
    """The first call of a run goes alone; the others are answered only when all of them have been sent."""
    released = asyncio.Event()
    async with serve_fake(accept_when(released, from_call=2)) as fake, asyncio.TaskGroup() as tasks:
        run = tasks.create_task(run_here(scans, tmp_path / "out", fake.url, prepare=SMALL, run={"jobs": 4}))
        await fake.wait_for_calls(TILES)
        released.set()
        assert (await run).calls == TILES
    assert len({call.digest for call in fake.calls}) == TILES


@pytest.mark.usefixtures("tall")
async def test_a_lost_index_is_rebuilt_from_the_tiles_too(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake(number_calls) as fake:
        await run_tiles(scans, out, fake, run=ONE_JOB | {"max_calls": 3})
        (out / "index.sqlite3").unlink()
        assert (await run_tiles(scans, out, fake)).calls == 1


@pytest.mark.usefixtures("tall")
async def test_tiles_that_were_paid_for_and_are_lost_stop_the_run_before_it_pays_again(
    scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    async with serve_fake(number_calls) as fake:
        await run_tiles(scans, out, fake, run=ONE_JOB | {"max_calls": 3})
        (out / "parts.jsonl").write_bytes(b"")
        with pytest.raises(StorageError, match=r"3 texts that were paid for have no readable line in .*parts\.jsonl"):
            await run_tiles(scans, out, fake)
        assert len(fake.calls) == 3
        assert (await run_tiles(scans, out, fake, pay_again=True)).calls == TILES


@pytest.mark.usefixtures("tall")
async def test_other_limits_make_other_tiles(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake(number_calls) as fake:
        await run_tiles(scans, out, fake, run=ONE_JOB | {"max_calls": 3})
        wider = await run_tiles(scans, out, fake, prepare=SMALL | {"max_edge_px": 600})
        assert (wider.exit_code, wider.calls) == (0, 3)


def break_line(line: dict[str, Any]) -> None:
    line["tile"]["number"] = 9


@pytest.mark.usefixtures("tall")
@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        pytest.param(lambda line: line.update(attempt="nobody-000001"), "no ledger counts its call", id="call"),
        pytest.param(lambda line: line.update(id="x"), "is not that of page 1", id="page"),
        pytest.param(break_line, "its tile is none of its page", id="tile"),
    ],
)
async def test_verify_compares_the_tiles_with_the_ledger(
    scans: Path, tmp_path: Path, tamper: Callable[[dict[str, Any]], None], fault: str
) -> None:
    from pipeline.workspace.checksums import append_checksum  # noqa: PLC0415

    out = tmp_path / "out"
    async with serve_fake(number_calls) as fake:
        await run_tiles(scans, out, fake, run=ONE_JOB | {"max_calls": 3})
    assert (await run_command("verify", out)).returncode == 0
    first, *others = (out / "parts.jsonl").read_bytes().splitlines(keepends=True)
    fields = json.loads(first)
    del fields["crc32"]
    tamper(fields)
    (out / "parts.jsonl").write_bytes(append_checksum(orjson.dumps(fields)) + b"".join(others))
    ran = await run_command("verify", out)
    assert (ran.returncode, fault in ran.stdout.decode()) == (1, True), ran.stdout


@pytest.mark.usefixtures("tall")
async def test_at_most_once_forbids_the_tile_whose_call_is_lost_and_no_other(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    once = ONE_JOB | {"at_most_once": True}
    async with serve_fake(fail_from(3, answer_error(500, "no"), until=3)) as fake:
        summary = await run_tiles(scans, out, fake, run=once)
        assert (summary.exit_code, summary.totals[State.UNCERTAIN], len(fake.calls)) == (3, 1, 3)
        assert (await run_tiles(scans, out, fake, run=once)).calls == 0
        assert (await run_tiles(scans, out, fake)).calls == 2
    assert results(out)[0]["text"] == "text 1\ntext 2\ntext 4\ntext 5"


async def plan(scans: Path, out: Path, *options: str) -> dict[str, Any]:
    """Return the plan that the command prints."""
    ledger = ("--ledger", out.parent / "ledger", "--api-url", "http://127.0.0.1:9")
    config = out.parent / "small.toml"
    config.write_text("[prepare]\nmax_edge_px = 400\nmin_edge_px = 50\n")
    ran = await run_command("plan", scans, "-o", out, *ledger, "-c", config, "--json", *options)
    assert ran.returncode == 0, ran.stderr
    planned: dict[str, Any] = orjson.loads(ran.stdout)
    return planned


@pytest.mark.usefixtures("tall")
async def test_a_plan_counts_the_calls_for_the_tiles_that_are_missing(scans: Path, tmp_path: Path) -> None:
    """By default as well as exactly: headers give the sizes, and sizes the number of tiles."""
    out = tmp_path / "out"
    write_page(scans / "usual.png", 1)
    for options in ((), ("--exact",)):
        planned = await plan(scans, out, *options)
        assert (planned["pages"]["total"], planned["calls"]) == (2, TILES + 1), options
    async with serve_fake(number_calls) as fake:
        await run_tiles(scans, out, fake, run=ONE_JOB | {"max_calls": 2})
        for options in ((), ("--exact",)):
            assert (await plan(scans, out, *options))["calls"] == TILES + 1 - 2, options
        assert (await run_tiles(scans, out, fake)).calls == TILES + 1 - 2
        assert (await plan(scans, out))["calls"] == 0


async def test_a_wide_page_is_cut_too(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tall = write_tall_page(tmp_path / "tall.png")
    Image.open(tall).transpose(Image.Transpose.ROTATE_90).save(scans / "wide.png")
    async with serve_fake(number_calls) as fake:
        summary = await run_tiles(scans, out, fake)
    assert (summary.exit_code, summary.calls) == (0, len(parts(out)))
    boxes = [line["tile"]["box"] for line in parts(out)]
    assert [box[1::2] for box in boxes] == [[0, 120]] * len(boxes)


async def test_a_page_turned_by_its_exif_block_is_cut_upright(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    image = Image.open(write_tall_page(tmp_path / "tall.png")).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(scans / "turned.jpg", exif=exif, quality=95)
    async with serve_fake(accept) as fake:
        await run_tiles(scans, out, fake)
    lines = parts(out)
    assert {line["tile"]["box"][2] for line in lines} == {120}
    assert {line["prep"]["rotation_deg"] for line in lines} == {90}


@pytest.mark.parametrize("jobs", [1, 8])
async def test_tall_pages_are_cut_wherever_they_are(scans: Path, tmp_path: Path, jobs: int) -> None:
    """The plan says so without decoding: also of a PDF whose scan has more pixels than the page when it is rendered."""
    images = [write_tall_page(tmp_path / f"{seed}.png", seed=seed) for seed in range(6)]
    images.append(write_page(tmp_path / "usual.png", 1))
    *tall, usual = [Image.open(BytesIO(path.read_bytes())) for path in images]
    tall[0].save(scans / "last.tif", save_all=True, append_images=[usual, tall[1]])
    tall[2].save(scans / "scan.pdf", resolution=1200)
    write_zip(scans / "box.zip", {"a.png": (tmp_path / "3.png").read_bytes()})
    write_tar(scans / "box.tar.gz", {name: (tmp_path / name).read_bytes() for name in ("4.png", "5.png")}, "w:gz")
    out = tmp_path / "out"
    async with serve_fake() as fake:
        plans = [await plan_here(scans, out, exact=exact, prepare=SMALL) for exact in (False, True)]
        summary = await run_tiles(scans, out, fake, run={"jobs": jobs})
        expected = 6 * TILES + 1
        assert [plan.counts.calls for plan in plans] == [expected, expected]
        assert (summary.exit_code, summary.totals[State.DONE], len(fake.calls)) == (0, 7, expected)
    verified = await run_command("verify", out)
    assert verified.returncode == 0, verified.stdout

"""`pagemill failures` and `pagemill retry`: what failed, and the way back for each kind."""

import os
import shutil
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from PIL import Image

from pipeline.batch.retry import RetrySelection
from pipeline.records import State
from tests.fakes import Call, Script, accept, answer_error, serve_fake
from tests.pages import write_page, write_pages
from tests.runs import failures, results, run_arguments, run_command, run_here
from tests.virtual_time import on_virtual_time

TOO_LARGE = web.HTTPRequestEntityTooLarge(max_size=1, actual_size=2)


def fail_pages(*names: str, status: int = 500) -> Script:
    """Return a script that answers these pages with an error of the API, and accepts the others."""
    error = answer_error(status, "no")
    return lambda call: error(call) if call.filename in names else accept(call)


async def list_failures(out: Path) -> list[dict[str, object]]:
    """Return the worklist that the command prints."""
    ran = await run_command("failures", out, "--json")
    assert ran.returncode == 0, ran.stderr
    listed: list[dict[str, object]] = orjson.loads(ran.stdout)
    return listed


@on_virtual_time
async def test_a_page_that_always_fails_costs_calls_in_three_runs_and_then_waits_for_retry(
    scans: Path, tmp_path: Path
) -> None:
    """It cost three calls every night, for ever."""
    write_pages(scans, 5)
    out = tmp_path / "out"
    async with serve_fake(fail_pages("page-0002.png")) as fake:
        spent = []
        for _ in range(5):
            before = len(fake.calls)
            summary = await run_here(scans, out, fake.url)
            assert (summary.exit_code, summary.totals[State.FAILED]) == (3, 1)
            spent.append(len(fake.calls) - before)
        assert spent == [4 + 3, 3, 3, 0, 0]
        again = await run_here((), out, fake.url, retry=RetrySelection())
        assert (again.exit_code, len(fake.calls)) == (3, sum(spent) + 3)
        assert (await run_here(scans, out, fake.url)).calls == 0
        fake.script = accept
        last = await run_here((), out, fake.url, retry=RetrySelection())
    assert (last.exit_code, last.totals[State.DONE], last.totals[State.FAILED]) == (0, 5, 0)
    lines = failures(out)
    assert [(line["runs"], line["retryable"]) for line in lines] == [(1, True), (2, True), (3, False), (4, False)]
    assert lines[2]["message"].endswith("it has failed in 3 runs and is left to: pagemill retry")


@pytest.mark.parametrize("prepare", [{"dedup": "content"}, {"dedup": "off"}], ids=["dedup", "no-dedup"])
@on_virtual_time
async def test_a_page_left_to_retry_is_known_by_its_content(
    scans: Path, tmp_path: Path, prepare: dict[str, object]
) -> None:
    """After a touch, under another name and as a copy it cost three calls again."""
    write_pages(scans, 3)
    bad, out = scans / "page-0002.png", tmp_path / "out"
    async with serve_fake(fail_pages(bad.name, "copy.png", "moved.png", status=413)) as fake:
        await run_here(scans, out, fake.url, prepare=prepare)
        assert len(fake.calls) == 3
        os.utime(bad, (1, 1))
        touched = await run_here(scans, out, fake.url, prepare=prepare)
        assert (touched.exit_code, touched.totals[State.FAILED]) == (3, 1)
        shutil.copy(bad, scans / "copy.png")
        bad.rename(scans / "moved.png")
        copied = await run_here(scans, out, fake.url, prepare=prepare)
        assert (copied.exit_code, copied.totals[State.FAILED]) == (3, 3)
        assert len(fake.calls) == 3
        assert [line["attempts"] for line in failures(out)] == [1, 0, 0]
        for name in ("copy.png", "moved.png"):
            os.utime(scans / name, (2, 2))
        await run_here(scans, out, fake.url, prepare=prepare)
        assert (len(fake.calls), len(failures(out))) == (3, 3)
        fake.script = accept
        last = await run_here((), out, fake.url, retry=RetrySelection())
        assert last.totals[State.DONE] + last.totals[State.DUPLICATE] == 4


@on_virtual_time
async def test_a_changed_page_is_sent_although_it_failed_before(scans: Path, tmp_path: Path) -> None:
    write_page(scans / "a.png", 1)
    async with serve_fake(fail_pages("a.png", status=413)) as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        fake.script = accept
        write_page(scans / "a.png", 2)
        assert (await run_here(scans, tmp_path / "out", fake.url)).totals[State.DONE] == 1


@on_virtual_time
async def test_two_pages_that_always_fail_are_left_to_retry_although_no_other_page_is_sent(
    scans: Path, tmp_path: Path
) -> None:
    """From the second night on nothing succeeds; they failed before, among good pages, so no outage is blamed."""
    write_pages(scans, 5)
    async with serve_fake(fail_pages("page-0001.png", "page-0004.png")) as fake:
        runs = [await run_here(scans, tmp_path / "out", fake.url) for _ in range(5)]
    assert [run.exit_code for run in runs] == [3] * 5
    assert [run.calls for run in runs] == [3 + 6, 3, 3, 0, 0]


@on_virtual_time
async def test_ten_pages_that_always_fail_among_good_ones_are_left_to_retry_after_a_few_runs(
    scans: Path, tmp_path: Path
) -> None:
    """Each run costs at most a dozen calls more than its texts, but the first."""
    write_pages(scans, 60)
    bad = [f"page-00{number}.png" for number in range(10, 60, 5)]
    async with serve_fake(fail_pages(*bad)) as fake:
        runs = [await run_here(scans, tmp_path / "out", fake.url) for _ in range(7)]
    assert runs[0].totals[State.DONE] == 50
    assert (runs[0].exit_code, runs[0].calls) == (3, 50 + 30)
    assert all(run.calls <= 12 for run in runs[1:])
    assert (runs[-1].exit_code, runs[-1].calls, runs[-1].totals[State.FAILED]) == (3, 0, 10)


@pytest.mark.parametrize("bad", [2, 5, *(pytest.param(bad, marks=pytest.mark.deep) for bad in (8, 12))])
@on_virtual_time
async def test_pages_at_the_end_that_always_fail_are_left_to_retry(scans: Path, tmp_path: Path, bad: int) -> None:
    """Nothing succeeds after them, so nothing tells them from an outage; but each night would call for them again."""
    write_pages(scans, 20)
    names = [f"page-{number:04}.png" for number in range(20 - bad, 20)]
    calls = []
    async with serve_fake(fail_pages(*names)) as fake:
        for _ in range(20):
            summary = await run_here(scans, tmp_path / "out", fake.url, run={"jobs": 4})
            calls.append(summary.calls)
        assert calls[-2:] == [0, 0], calls
        assert max(calls[1:]) <= 8, calls
    assert (summary.exit_code, summary.totals[State.FAILED], summary.totals[State.PENDING]) == (3, bad, 0)


@on_virtual_time
async def test_an_outage_does_not_count_against_a_page(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 3)
    async with serve_fake(answer_error(500)) as fake:
        codes = [(await run_here(scans, tmp_path / "out", fake.url)).exit_code for _ in range(4)]
        assert codes == [5] * 4
        assert failures(tmp_path / "out") == []
        fake.script = accept
        assert (await run_here(scans, tmp_path / "out", fake.url)).exit_code == 0


@on_virtual_time
async def test_a_page_alone_in_a_run_is_blamed_after_its_attempts(scans: Path, tmp_path: Path) -> None:
    """With no other page to tell from, three runs of three calls are the end."""
    write_page(scans / "a.png", 1)
    async with serve_fake(answer_error(500)) as fake:
        runs = [await run_here(scans, tmp_path / "out", fake.url) for _ in range(4)]
    assert [(run.exit_code, run.calls) for run in runs] == [(3, 3), (3, 3), (3, 3), (3, 0)]


async def test_a_proxys_413_has_a_way_back(scans: Path, tmp_path: Path) -> None:
    """Its limit was raised later; other failures stay as they are."""
    write_pages(scans, 4)
    out = tmp_path / "out"

    def limit(call: Call) -> web.StreamResponse:
        match call.filename:
            case "page-0001.png":
                return web.Response(
                    status=413, text="<html>413 Request Entity Too Large</html>", content_type="text/html"
                )
            case "page-0002.png":
                return web.json_response({"statusText": "bad image"}, status=400)
            case _:
                return accept(call)

    async with serve_fake(limit) as fake:
        first = await run_command(*run_arguments(scans, tmp_path, fake.url))
        assert first.returncode == 3
        assert (await run_command(*run_arguments(scans, tmp_path, fake.url))).returncode == 3
        assert len(fake.calls) == 4
        fake.script = accept
        ran = await run_command(
            "retry",
            out,
            "--error",
            "rejected",
            "--older-than",
            "1d",
            "--ledger",
            tmp_path / "ledger",
            "--api-url",
            fake.url,
        )
        assert (ran.returncode, len(fake.calls)) == (0, 4)
        assert b"no failed page to retry" in ran.stderr
        ran = await run_command("retry", out, "--ledger", tmp_path / "ledger", "--api-url", fake.url, "--json")
        assert ran.returncode == 0, ran.stderr
    assert {call.filename for call in fake.calls[4:]} == {"page-0001.png", "page-0002.png"}
    assert orjson.loads(ran.stdout)["run"] == {"done": 2}
    assert await list_failures(out) == []


async def test_only_the_chosen_classes_are_retried(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 3)
    (scans / "broken.png").write_bytes(b"no image")
    async with serve_fake(fail_pages("page-0000.png", status=400)) as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        fake.script = accept
        summary = await run_here(
            (), tmp_path / "out", fake.url, retry=RetrySelection(errors=frozenset({"not-an-image"}))
        )
        assert len(fake.calls) == 3
    assert summary.totals[State.FAILED] == 2


async def test_only_the_failed_page_of_a_file_is_sent_again(scans: Path, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (120, 120), (40 * number, 0, 0)) for number in range(3)]
    frames[0].save(scans / "three.tif", save_all=True, append_images=frames[1:])
    async with serve_fake() as fake:
        fake.script = lambda call: answer_error(400, "no")(call) if call.number == 2 else accept(call)
        first = await run_here(scans, tmp_path / "out", fake.url)
        assert (first.exit_code, len(fake.calls)) == (3, 3)
        listed = await list_failures(tmp_path / "out")
        assert [(page["source"], page["page"]) for page in listed] == [("three.tif", 2)]
        fake.script = accept
        again = await run_here((), tmp_path / "out", fake.url, retry=RetrySelection())
        assert (again.exit_code, len(fake.calls)) == (0, 4)
        assert (await run_here(scans, tmp_path / "out", fake.url)).calls == 0
    assert sorted(line["page"] for line in results(tmp_path / "out")) == [1, 2, 3]


async def test_a_page_given_as_a_url_or_with_meta_is_retried(scans: Path, tmp_path: Path) -> None:
    """The fields of its manifest row are kept."""
    write_page(scans / "a.png", 1)
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"path,shelf\nhttps://example.org/b.png,7\n{scans / 'a.png'},8\n")
    async with serve_fake(answer_error(400)) as fake:
        await run_here(manifest, tmp_path / "out", fake.url)
        fake.script = accept
        manifest.unlink()
        again = await run_here((), tmp_path / "out", fake.url, retry=RetrySelection())
    assert again.exit_code == 0
    assert {line["source"].rpartition("/")[2]: line["meta"] for line in results(tmp_path / "out")} == {
        "a.png": {"shelf": "8"},
        "b.png": {"shelf": "7"},
    }


async def test_a_file_that_could_not_be_read_is_retried_whole(scans: Path, tmp_path: Path) -> None:
    (scans / "three.tif").write_bytes(b"II*\0")
    async with serve_fake() as fake:
        assert (await run_here(scans, tmp_path / "out", fake.url)).exit_code == 3
        frames = [Image.new("RGB", (120, 120), (40 * number, 0, 0)) for number in range(3)]
        frames[0].save(scans / "three.tif", save_all=True, append_images=frames[1:])
        again = await run_here((), tmp_path / "out", fake.url, retry=RetrySelection())
    assert (again.exit_code, again.totals[State.DONE]) == (0, 3)


async def test_an_uncertain_page_is_retried_only_by_its_class(scans: Path, tmp_path: Path) -> None:
    """Its call may have been billed."""
    write_page(scans / "a.png", 1)
    out = tmp_path / "out"
    async with serve_fake(answer_error(500)) as fake:
        await run_here(scans, out, fake.url, run={"at_most_once": True})
        fake.script = accept
        assert (await run_here((), out, fake.url, retry=RetrySelection())).calls == 0
        listed = await list_failures(out)
        assert [(page["class"], page["state"]) for page in listed] == [("uncertain", "uncertain")]
        again = await run_here((), out, fake.url, retry=RetrySelection(errors=frozenset({"uncertain"})))
    assert (again.exit_code, again.totals[State.DONE]) == (0, 1)


class TestWorklist:
    async def test_it_names_page_class_calls_reason_and_what_comes_next(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, 2)
        (scans / "leer.png").write_bytes(b"")
        async with serve_fake(fail_pages("page-0001.png")) as fake:
            ran = await run_command(*run_arguments(scans, tmp_path, fake.url))
            assert ran.returncode == 3
        ran = await run_command("failures", tmp_path / "out")
        lines = ran.stdout.decode().splitlines()
        assert lines[0].startswith("leer.png page 1: empty; no call; ")
        assert lines[0].endswith("; left to: pagemill retry")
        assert lines[1] == "    zero bytes"
        assert lines[2].startswith("page-0001.png page 1: attempts-exhausted; 3 attempts; ")
        assert lines[2].endswith("; the next run tries again")
        assert "HTTP 500: no" in lines[3]
        (_, page) = await list_failures(tmp_path / "out")
        assert {name: page[name] for name in ("source", "page", "class", "attempts", "runs", "next_run")} == {
            "source": "page-0001.png",
            "page": 1,
            "class": "attempts-exhausted",
            "attempts": 3,
            "runs": 1,
            "next_run": True,
        }

    async def test_it_is_empty_without_failures_and_changes_nothing(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, 1)
        async with serve_fake() as fake:
            await run_here(scans, tmp_path / "out", fake.url)
        before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        assert await list_failures(tmp_path / "out") == []
        assert (await run_command("failures", tmp_path / "out")).stdout == b""
        assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before

    async def test_it_works_while_a_run_goes_on(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, 3)
        listed: list[list[dict[str, object]]] = []

        async def list_meanwhile(call: Call) -> web.StreamResponse:
            if call.number == 1:
                return web.json_response({"statusText": "no"}, status=400)
            if not listed:
                listed.append([])
                listed[0] = await list_failures(tmp_path / "out")
            return accept(call)

        async with serve_fake(list_meanwhile) as fake:
            await run_here(scans, tmp_path / "out", fake.url, run={"jobs": 1})
        assert [page["class"] for page in listed[0]] == ["rejected"]


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            pytest.param(
                ["--error", "tired"], "--error tired: no class of failures; there are attempts-exhausted", id="class"
            ),
            pytest.param(["--older-than", "soon"], "--older-than soon: no duration", id="age"),
            pytest.param(["--proxy", "ftp://x"], "proxy: not the URL of an HTTP proxy", id="proxy"),
        ],
    )
    async def test_a_wrong_option_is_exit_2(
        self, scans: Path, tmp_path: Path, arguments: list[str], message: str
    ) -> None:
        write_pages(scans, 1)
        async with serve_fake() as fake:
            await run_here(scans, tmp_path / "out", fake.url)
        ran = await run_command("retry", tmp_path / "out", "--api-url", fake.url, *arguments)
        assert ran.returncode == 2
        assert message in ran.stderr.decode()

    @pytest.mark.parametrize("command", ["retry", "failures"])
    async def test_a_directory_that_is_no_workspace_is_exit_2(self, tmp_path: Path, command: str) -> None:
        ran = await run_command(command, tmp_path)
        assert ran.returncode == 2
        assert b"not a workspace" in ran.stderr

    async def test_an_input_root_that_is_gone_is_exit_2(self, scans: Path, tmp_path: Path) -> None:
        """An unmounted disk must not turn failed pages into missing ones."""
        write_pages(scans, 1)
        async with serve_fake(answer_error(400)) as fake:
            await run_here(scans, tmp_path / "out", fake.url)
            scans.rename(tmp_path / "elsewhere")
            ran = await run_command("retry", tmp_path / "out", "--ledger", tmp_path / "ledger", "--api-url", fake.url)
        assert ran.returncode == 2
        assert f"the input root of its pages, {scans}, is not there" in ran.stderr.decode()

    async def test_another_service_than_before_needs_the_flag(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, 1)
        async with serve_fake(answer_error(400)) as fake:
            await run_here(scans, tmp_path / "out", fake.url)
        ran = await run_command("retry", tmp_path / "out", "--api-url", "http://localhost:9")
        assert ran.returncode == 2
        assert b"--switch-service" in ran.stderr

"""`run --again` sends pages that are done once more; `--switch-service` says which pages go to the other service."""

from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web

from pipeline.records import State
from tests.fakes import Call, answer_error, serve_fake
from tests.faults.accounts import list_faults
from tests.pages import write_page, write_pages
from tests.runs import failures, results, run_arguments, run_command, run_here


def newer(call: Call) -> web.Response:
    """Answer with another text than `accept` does."""
    return web.json_response({"id": "doc", "content": f"newer text of {call.digest[:12]}", "timestamp": 1})


def last_texts(workspace: Path) -> dict[str, str]:
    """Return the text of the last record of each page's source."""
    return {line["source"]: line["text"] for line in results(workspace)}


async def test_all_pages_are_sent_again_and_their_former_records_stay(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 5)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
        former = results(out)
        fake.script = newer
        summary = await run_here(scans, out, fake.url, again="*")
        assert (summary.exit_code, summary.totals[State.DONE], summary.run, summary.calls) == (0, 5, {State.DONE: 5}, 5)
        assert results(out)[:5] == former
        assert all(text.startswith("newer") for text in last_texts(out).values())
        settled = await run_here(scans, out, fake.url)
        assert (settled.calls, settled.settled, len(fake.calls)) == (0, 5, 10)
    assert list_faults(out) == []


async def test_a_glob_chooses_the_pages(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 3)
    write_page(scans / "b" / "x.png", 7)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        fake.script = newer
        await run_here(scans, tmp_path / "out", fake.url, again="b/*")
    newer_ones = {name for name, text in last_texts(tmp_path / "out").items() if text.startswith("newer")}
    assert newer_ones == {"b/x.png"}


async def test_copies_of_a_page_are_sent_once_and_get_the_newer_text(scans: Path, tmp_path: Path) -> None:
    write_page(scans / "a.png", 1)
    (scans / "copy.png").write_bytes((scans / "a.png").read_bytes())
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        fake.script = newer
        summary = await run_here(scans, tmp_path / "out", fake.url, again="*")
        assert (summary.calls, len(fake.calls)) == (1, 2)
        (scans / "later.png").write_bytes((scans / "a.png").read_bytes())
        await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == 2
    texts = last_texts(tmp_path / "out")
    assert len(texts) == 3
    assert all(text.startswith("newer") for text in texts.values())


async def test_an_interrupted_one_goes_on_where_it_stopped(scans: Path, tmp_path: Path) -> None:
    """A month's quota after another; without this, each month would pay for the same pages."""
    write_pages(scans, 10)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        fake.calls.clear()
        fake.script = newer
        codes = []
        for _ in range(3):
            summary = await run_here(scans, tmp_path / "out", fake.url, again="*.png", run={"max_calls": 4})
            codes.append(summary.exit_code)
        assert codes == [10, 10, 0]
        assert Counter(call.digest for call in fake.calls).most_common(1)[0][1] == 1
        assert len(fake.calls) == 10
        await run_here(scans, tmp_path / "out", fake.url, again="*.png")  # the former one is done
        assert len(fake.calls) == 20


async def test_another_glob_begins_anew(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 4)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        await run_here(scans, tmp_path / "out", fake.url, again="*.png", run={"max_calls": 2})
        await run_here(scans, tmp_path / "out", fake.url, again="page-*")
        assert len(fake.calls) == 4 + 2 + 4


async def test_a_page_that_fails_then_keeps_its_text(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 2)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
        fake.script = answer_error(400, "bad image")
        summary = await run_here(scans, out, fake.url, again="*")
        assert (summary.exit_code, summary.totals[State.DONE], summary.totals[State.FAILED]) == (3, 2, 0)
        (out / "index.sqlite3").unlink()
        after = await run_here(scans, out, fake.url)
    assert (after.exit_code, after.totals[State.DONE], after.calls) == (0, 2, 0)
    assert len(failures(out)) == 2


@pytest.mark.parametrize("again", [False, True])
async def test_a_switch_of_the_service_says_which_pages_it_sends(scans: Path, tmp_path: Path, *, again: bool) -> None:
    write_pages(scans, 2)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_command(*run_arguments(scans, tmp_path, fake.url))
        other = fake.url.replace("127.0.0.1", "localhost")
        refused = await run_command(*run_arguments(scans, tmp_path, other))
        write_page(scans / "new.png", 9)
        flags = ("--again",) if again else ()
        switched = await run_command(*run_arguments(scans, tmp_path, other, "--switch-service", *flags))
    assert refused.returncode == 2
    assert b"--switch-service: new pages go to this service then, and with --again all that are done" in refused.stderr
    assert switched.returncode == 0, switched.stderr
    assert (b"are sent again" in switched.stderr, b"keep their texts" in switched.stderr) == (again, not again)
    hosts = Counter(line["reply"]["host"] for line in results(out))
    assert hosts == ({"127.0.0.1": 2, "localhost": 3} if again else {"127.0.0.1": 2, "localhost": 1})

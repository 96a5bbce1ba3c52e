"""The ledger's place: another one, another key or an older copy is named before a call, until it is confirmed once."""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.batch.ledger_check import find_problem
from pipeline.billing import Calendar
from pipeline.errors import UsageError
from pipeline.ledger.base import LedgerMark
from pipeline.ledger.places import ledger_path
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.workspace.run_file import MeteredRun, RunFile, last_metered_run, require_workspace
from tests.fakes import FakeOcr, serve_fake
from tests.pages import write_pages
from tests.runs import KEY, SABOTAGE, run_command, run_here

OTHER_KEY = "sk-other-0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Place:
    """A workspace of four pages, of which two are recognised; its ledger allows five calls."""

    directory: Path
    fake: FakeOcr

    @property
    def out(self) -> Path:
        return self.directory / "out"

    @property
    def ledger(self) -> Path:
        return ledger_path(self.directory / "ledger", KEY, "127.0.0.1")

    async def run(self, ledgers: str = "ledger", *, key: str = KEY, accept: bool = False) -> int:
        """Run with a directory of ledgers and a key; return the exit code."""
        budget = {"ledger": str(self.directory / ledgers), "quota": 5}
        scans = self.directory / "scans"
        summary = await run_here(scans, self.out, self.fake.url, budget=budget, key=key, accept_ledger=accept)
        return summary.exit_code


async def filled(directory: Path, fake: FakeOcr) -> Place:
    """Recognise two pages and add two."""
    place = Place(directory, fake)
    write_pages(directory / "scans", 2)
    assert await place.run() == 0
    write_pages(directory / "scans", 4)
    return place


def _replace(place: Place) -> None:
    place.ledger.unlink()
    shutil.copyfile(make_other_ledger(place), place.ledger)


def make_other_ledger(place: Place) -> Path:
    """Make a ledger of the same key with another id."""
    path = place.directory / "new.sqlite3"
    with closing(SqliteLedger(path, Calendar(), None)):
        return path


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        pytest.param(lambda _: None, {"ledgers": "elsewhere"}, ["/ledger/", "/elsewhere/", "HOME"], id="elsewhere"),
        pytest.param(lambda _: None, {"key": OTHER_KEY}, ["another API key", "6e0dbcd3e95c"], id="another-key"),
        pytest.param(lambda place: place.ledger.unlink(), {}, ["is gone", "--already-used"], id="deleted"),
        pytest.param(
            lambda place: shutil.rmtree(place.directory / "ledger"),
            {"ledgers": "elsewhere"},
            ["is gone", "/elsewhere/"],
            id="deleted-and-elsewhere",
        ),
        pytest.param(_replace, {}, ["is not the one of the last run"], id="replaced-by-a-new-one"),
        pytest.param(
            lambda place: shutil.copytree(place.directory / "ledger", place.directory / "elsewhere"),
            {"ledgers": "elsewhere"},
            ["another ledger"],
            id="copied",
        ),
    ],
)
async def test_another_ledger_or_key_needs_one_confirmation(
    tmp_path: Path, change: Callable[[Place], object], options: dict[str, str], words: list[str]
) -> None:
    async with serve_fake() as fake:
        place = await filled(tmp_path, fake)
        change(place)
        for _ in range(2):
            with pytest.raises(UsageError) as raised:
                await place.run(**options)  # type: ignore[arg-type]
            assert raised.value.exit_code == 2
            for word in (*words, "--accept-ledger", str(place.ledger)):
                assert word in str(raised.value)
        assert len(fake.calls) == 2
        assert await place.run(accept=True, **options) == 0
        assert await place.run(**options) == 0  # type: ignore[arg-type]
        assert len(fake.calls) == 4


async def test_an_older_copy_of_the_ledger_needs_a_confirmation(tmp_path: Path) -> None:
    """Its count went back."""
    async with serve_fake() as fake:
        place = await filled(tmp_path, fake)
        backup = place.ledger.read_bytes()
        assert await place.run() == 0
        place.ledger.write_bytes(backup)
        write_pages(tmp_path / "scans", 5)
        with pytest.raises(UsageError, match=r"knows of 2 calls, .* knew of 4 .* older copy"):
            await place.run()
        assert len(fake.calls) == 4
        assert await place.run(accept=True) == 0
        assert await place.run() == 0


async def test_a_moved_ledger_needs_no_confirmation(tmp_path: Path) -> None:
    async with serve_fake() as fake:
        place = await filled(tmp_path, fake)
        (tmp_path / "ledger").rename(tmp_path / "moved")
        assert await place.run("moved") == 0
        assert len(fake.calls) == 4
    metered = require_workspace(place.out).metered
    assert metered is not None
    assert metered.reserved == 4


async def test_another_home_does_not_spend_a_second_quota(tmp_path: Path) -> None:
    """Nor, as the negative control shows, is that so without the check."""
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_pages(scans, 6)
    homes = {name: {"HOME": str(tmp_path / name), "XDG_STATE_HOME": str(tmp_path / name)} for name in ("a", "b")}
    async with serve_fake() as fake:
        arguments = ("run", scans, "-o", out, "--api-url", fake.url, "--quota", "3")
        assert (await run_command(*arguments, **homes["a"])).returncode == 8
        other = await run_command(*arguments, **homes["b"])
        assert (other.returncode, len(fake.calls)) == (2, 3)
        said = other.stderr.decode()
        assert str(tmp_path / "a") in said
        assert str(tmp_path / "b") in said
        assert "--accept-ledger" in said
        await run_command(*arguments, command=(*SABOTAGE, "check-no-ledger"), **homes["b"])
        assert len(fake.calls) == 6


class TestDecision:
    LAST = MeteredRun(
        service="vendor", ledger="/a/0123456789abcdef.sqlite3", key="0123456789ab", ledger_id="x", reserved=9
    )

    @pytest.mark.parametrize(
        ("ledger", "mark", "is_elsewhere", "problem"),
        [
            pytest.param("/a/0123456789abcdef.sqlite3", LedgerMark("x", 9), False, None, id="same"),
            pytest.param("/b/0123456789abcdef.sqlite3", LedgerMark("x", 12), False, None, id="moved"),
            pytest.param("/a/0123456789abcdef.sqlite3", LedgerMark("x", 8), False, "older copy", id="went-back"),
            pytest.param("/a/0123456789abcdef.sqlite3", LedgerMark(None, 0), False, "not the one", id="older-format"),
            pytest.param("/a/0123456789abcdef.sqlite3", LedgerMark("y", 99), False, "not the one", id="other-id"),
            pytest.param("/b/0123456789abcdef.sqlite3", LedgerMark("x", 9), True, "another ledger", id="elsewhere"),
            pytest.param("/a/9999999999abcdef.sqlite3", LedgerMark("x", 9), False, "another API key", id="key"),
            pytest.param("/a/0123456789abcdef.sqlite3", None, False, "is gone", id="gone"),
        ],
    )
    def test_a_ledger_is_known_by_key_id_and_count(
        self, ledger: str, mark: LedgerMark | None, *, is_elsewhere: bool, problem: str | None
    ) -> None:
        found = find_problem(self.LAST, ledger, mark, is_elsewhere=is_elsewhere)
        assert (found is None) == (problem is None)
        assert problem is None or (found is not None and problem in found)

    def test_a_run_json_of_a_former_release_names_ledger_and_key(self) -> None:
        former = RunFile(workspace_id="w", version="0.2", service="vendor", ledger="/a/0123456789abcdef.sqlite3")
        assert last_metered_run(former) == MeteredRun(
            service="vendor", ledger="/a/0123456789abcdef.sqlite3", key="0123456789ab"
        )

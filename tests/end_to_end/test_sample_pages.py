"""The sample pages and a page of random text, recognised by the real engine behind the real server."""

import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.accuracy import character_error_rate
from tests.pages import write_page
from tests.runs import ROOT, results, run_command

pytestmark = pytest.mark.engine

SAMPLES = ROOT / "sample_data"
UPRIGHT_LIMIT, TURNED_LIMIT = 0.01, 0.02
FONT = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"
WORDS = "the ledger counts every page before it leaves and none is lost when the light goes out in winter".split()  # noqa: SIM905
CHARACTERS = "天地人和春夏秋冬山水田园书画琴棋东西南北风云雨雪江河湖海花草树木金银铜铁"


async def test_the_sample_pages_are_read_correctly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At most 1 % of the characters are wrong on upright pages, and 2 % on the page that lies on its side."""
    out = tmp_path / "out"
    done = await run_command("run", SAMPLES, "-o", out, key=None)
    assert done.returncode == 0, done.stderr.decode()
    assert "embedded engine" in done.stderr.decode().splitlines()[0]
    pages = {line["source"]: line for line in results(out)}
    truths = {str(path.relative_to(SAMPLES / "truth")).removesuffix(".txt"): path for path in _truth_files()}
    assert set(pages) == set(truths)
    rates = {name: character_error_rate(path.read_text("utf-8"), pages[name]["text"]) for name, path in truths.items()}
    with capsys.disabled():
        for name, rate in sorted(rates.items()):
            print(f"\n  {rate:7.2%}  {name}", end="")  # noqa: T201 - the figures are what the test is for
    assert {name: rate for name, rate in rates.items() if rate > _limit(name)} == {}
    assert Counter(line["duplicate_of"] is None for line in pages.values())[False] == 1
    assert (await run_command("verify", out)).returncode == 0


async def test_a_random_text_is_read_correctly_and_the_home_directory_stays_empty(tmp_path: Path) -> None:
    """Random, so that no model knows the text; OpenVINO's telemetry would leave files in the home directory."""
    home = tmp_path / "home"
    home.mkdir()
    dice = random.SystemRandom()
    lines = [" ".join(dice.choices(WORDS, k=6)), "".join(dice.choices(CHARACTERS, k=14)), str(dice.randrange(10**9))]
    page = Image.new("L", (1000, 500), 255)
    font = ImageFont.truetype(FONT, 40)
    for row, line in enumerate(lines):
        ImageDraw.Draw(page).text((60, 80 + 110 * row), line, fill=0, font=font)
    page.save(tmp_path / "page.png")
    done = await run_command("run", tmp_path / "page.png", "-o", tmp_path / "out", key=None, HOME=str(home))
    assert done.returncode == 0, done.stderr.decode()
    assert results(tmp_path / "out")[0]["text"].splitlines() == lines
    assert list(home.rglob("*")) == []


def _truth_files() -> list[Path]:
    return [path for path in (SAMPLES / "truth").rglob("*.txt") if path.is_file()]


def _limit(name: str) -> float:
    return TURNED_LIMIT if "sideways" in name else UPRIGHT_LIMIT


async def test_a_run_on_the_embedded_engine_replaces_a_damaged_index(tmp_path: Path) -> None:
    """The check whether the engine is needed reads the index first; it must not fail or repeat a page."""
    page = write_page(tmp_path / "page.png", 1, size_px=(300, 300))
    await run_command("run", page, "-o", tmp_path / "out", key=None)
    (tmp_path / "out" / "index.sqlite3").write_bytes(b"no database" * 1000)
    again = await run_command("run", page, "-o", tmp_path / "out", key=None)
    assert again.returncode == 0, again.stderr.decode()
    assert len(results(tmp_path / "out")) == 1

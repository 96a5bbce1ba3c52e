"""Pages that are not worth a call: blank ones and thumbnails, recorded with the reason and sent when that is gone."""

import shutil
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from PIL import Image

from pipeline.records import State
from tests.end_to_end.test_plan import plan_here
from tests.fakes import serve_fake
from tests.inputs.blank_pages import Sheet, add_noise
from tests.inputs.odd_pdfs import FULL, card, flate_image
from tests.inputs.pdfs import Pdf
from tests.pages import write_page
from tests.runs import results, run_command, run_here

SKIP: dict[str, Any] = {"skip_blank": True, "skip_smaller_px": 200}


def save_sheet(path: Path, seed: int, *, text: str = "") -> None:
    """Write the scan of a sheet that is empty or has a text."""
    sheet = Sheet(seed)
    if text:
        sheet.write(60, 80, text, sheet.shade(60))
    path.parent.mkdir(parents=True, exist_ok=True)
    add_noise(sheet.image, sheet.random, 1.0).save(path, quality=85)


def write_tree(scans: Path) -> None:
    """Write 4 pages that need a call, 3 blank pages, one copy of these, and 3 thumbnails."""
    for number in range(2):
        save_sheet(scans / f"text-{number}.jpg", 2 + 5 * number, text=f"letter {number}")
        save_sheet(scans / f"blank-{number}.jpg", 7 + 5 * number)
    shutil.copy(scans / "blank-0.jpg", scans / "z-copy.jpg")
    write_page(scans / "thumb.png", 5)
    Image.frombytes("L", (60, 199), Random(6).randbytes(60 * 199)).save(scans / "thumb.bmp")
    first, second = (Image.open(scans / name).convert("L") for name in ("text-0.jpg", "blank-1.jpg"))
    small = first.resize((90, 120))
    first.save(scans / "frames.tif", save_all=True, append_images=[second, small])
    save_sheet(scans / "number.png", 12, text="7")


async def verify(out: Path) -> None:
    done = await run_command("verify", out)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_each_is_recorded_with_its_reason_and_measure(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tree(scans)
    async with serve_fake() as fake:
        summary = await run_here(scans, out, fake.url, prepare=SKIP, run={"jobs": 1})
        assert (summary.exit_code, len(fake.calls)) == (0, 4)
        lines = {f"{line['source']} {line['page']}": line for line in results(out)}
        skipped = {name: line["skipped"] for name, line in lines.items() if "skipped" in line}
        assert {name: each["reason"] for name, each in skipped.items()} == {
            "blank-0.jpg 1": "blank",
            "blank-1.jpg 1": "blank",
            "z-copy.jpg 1": "blank",
            "thumb.png 1": "smaller",
            "thumb.bmp 1": "smaller",
            "frames.tif 2": "blank",
            "frames.tif 3": "smaller",
        }
        assert skipped["thumb.bmp 1"]["measure"] == 199
        assert 0 <= skipped["blank-0.jpg 1"]["measure"] < 1
        copy = lines["z-copy.jpg 1"]
        assert (copy["duplicate_of"], copy["text"], copy["attempts"], copy["prep"]) == ("blank-0.jpg", "", [], None)
        assert (summary.totals[State.SKIPPED], summary.totals[State.DONE], summary.pages) == (7, 4, 11)
        await verify(out)
        status = await run_command("status", out, "--json")
        assert orjson.loads(status.stdout)["skipped"] == 7


async def test_they_stay_skipped_unopened_while_the_settings_do(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a lost index, and by a rule that covers more."""
    out = tmp_path / "out"
    write_tree(scans)
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url, prepare=SKIP)
        (out / "index.sqlite3").unlink()
        await run_here(scans, out, fake.url, prepare=SKIP)
        with monkeypatch.context() as patched:
            patched.setattr("pipeline.inputs.image.read_content", None)
            again = await run_here(scans, out, fake.url, prepare=SKIP | {"skip_smaller_px": 300})
        assert (again.exit_code, again.settled, len(fake.calls), len(results(out))) == (0, 11, 4, 11)


@pytest.mark.parametrize(
    ("prepare", "calls"),
    [
        pytest.param({"skip_smaller_px": 200}, 3, id="blank-ones-are-sent"),
        pytest.param({"skip_blank": True, "skip_smaller_px": 150}, 1, id="a-lower-bound"),
        pytest.param({}, 6, id="all-are-sent"),
    ],
)
@pytest.mark.parametrize("is_lost", [False, True], ids=["index", "no-index"])
async def test_a_run_without_the_setting_sends_them(
    scans: Path, tmp_path: Path, prepare: dict[str, Any], calls: int, *, is_lost: bool
) -> None:
    """Each content once; then they are done, whatever the settings."""
    out = tmp_path / "out"
    write_tree(scans)
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url, prepare=SKIP)
        if is_lost:
            (out / "index.sqlite3").unlink()
        before = len(fake.calls)
        plan = await plan_here(scans, out, exact=True, prepare=prepare)
        await run_here(scans, out, fake.url, prepare=prepare)
        assert len(fake.calls) - before == calls == plan.counts.calls
        await verify(out)
        last = await run_here(scans, out, fake.url, prepare=SKIP)
        assert (len(fake.calls) - before, last.pages, last.exit_code) == (calls, 11, 0)


async def test_pages_of_a_pdf(scans: Path, tmp_path: Path) -> None:
    """Rendered or taken out, they are judged; those whose text layer is used are not, and none is too small."""
    pdf = Pdf()
    pdf.add_page(b"q 0 0 1 rg 20 20 60 60 re f Q")
    pdf.add_page(b"")
    pdf.add_page(FULL, images=[flate_image(Image.new("L", (200, 300), 250))])
    pdf.add_page(FULL, images=[flate_image(card("L"))])
    (scans / "book.pdf").write_bytes(pdf.to_bytes())
    async with serve_fake() as fake:
        plan = await plan_here(scans, tmp_path / "out", exact=True, prepare={"skip_blank": True})
        await run_here(scans, tmp_path / "out", fake.url, prepare={"skip_blank": True, "skip_smaller_px": 4000})
        assert len(fake.calls) == 2 == plan.counts.calls
    assert {line["page"] for line in results(tmp_path / "out") if "skipped" in line} == {2, 3}
    await verify(tmp_path / "out")


async def test_a_page_that_cannot_be_judged_is_sent(scans: Path, tmp_path: Path) -> None:
    """One that is damaged inside, and one with transparency, which may hide type of the paper's colour."""
    Image.new("RGBA", (300, 300), (255, 255, 255, 0)).save(scans / "clear.png")
    Image.new("L", (300, 300), 255).save(scans / "damaged.png")
    content = bytearray((scans / "damaged.png").read_bytes())
    content[60] ^= 0xFF
    (scans / "damaged.png").write_bytes(bytes(content))
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, prepare=SKIP)
        assert (summary.exit_code, len(fake.calls)) == (0, 2)


async def test_fields_of_a_manifest_that_come_later_are_recorded(scans: Path, tmp_path: Path) -> None:
    """Each row of a skipped page is a record, and it stays skipped."""
    save_sheet(scans / "a.jpg", 7)
    out = tmp_path / "out"
    table = scans / "list.csv"
    async with serve_fake() as fake:
        for rows in ("path,box\na.jpg,1\n", "path,box\na.jpg,1\na.jpg,2\n"):
            table.write_text(rows)
            summary = await run_here(table, out, fake.url, prepare=SKIP)
            assert (summary.exit_code, summary.totals[State.SKIPPED], summary.pages) == (0, 1, 1)
        assert not fake.calls
    assert [line["meta"]["box"] for line in results(out)] == ["1", "2"]
    await verify(out)


async def test_again_judges_again(scans: Path, tmp_path: Path) -> None:
    """A page that was skipped stays so; one that was sent, when it is blank, is skipped."""
    out = tmp_path / "out"
    write_tree(scans)
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
        calls = len(fake.calls)
        again = await run_here(scans, out, fake.url, prepare=SKIP, again="blank-*")
        assert (len(fake.calls), again.totals[State.SKIPPED]) == (calls, 2)
        await verify(out)
        await run_here(scans, out, fake.url, prepare=SKIP, again="blank-*")
        assert len(fake.calls) == calls


async def test_a_failure_after_a_skip_counts(scans: Path, tmp_path: Path) -> None:
    """A page that was skipped has no text that its later failure would leave standing."""
    out = tmp_path / "out"
    write_page(scans / "tiny.png", 1, size_px=(4, 4))
    async with serve_fake() as fake:
        first = await run_here(scans, out, fake.url, prepare=SKIP)
        assert (first.exit_code, first.totals[State.SKIPPED]) == (0, 1)
        for _ in range(2):
            second = await run_here(scans, out, fake.url)
            assert (second.exit_code, second.totals[State.FAILED]) == (3, 1)
            (out / "index.sqlite3").unlink()
        await verify(out)


@pytest.mark.parametrize("done", [0, 2, 3])
@pytest.mark.parametrize("prepare", [{}, SKIP, {"skip_smaller_px": 200}], ids=["off", "both", "smaller"])
async def test_an_exact_plan_equals_the_run(scans: Path, tmp_path: Path, prepare: dict[str, Any], done: int) -> None:
    """With a part done; by headers the plan is exact where only sizes decide, else an upper bound."""
    out = tmp_path / "out"
    write_tree(scans)
    async with serve_fake() as fake:
        if done:
            await run_here(scans, out, fake.url, run={"max_calls": done, "jobs": 1}, prepare=prepare)
        before = len(fake.calls)
        exact = await plan_here(scans, out, exact=True, prepare=prepare)
        by_headers = await plan_here(scans, out, prepare=prepare)
        summary = await run_here(scans, out, fake.url, prepare=prepare)
        made = len(fake.calls) - before
    assert exact.counts.calls == made
    assert exact.counts.pages[State.SKIPPED] == summary.totals[State.SKIPPED] == exact.counts.skipped.total()
    assert by_headers.counts.calls >= made
    assert by_headers.counts.skipped["smaller"] == exact.counts.skipped["smaller"] == (3 if prepare else 0)
    if "skip_blank" not in prepare:
        assert by_headers.counts.calls - made == summary.run.get(State.DUPLICATE, 0)

"""The real engine behind the real server."""

import os
import random
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

from tests.accuracy import character_error_rate
from tests.engine_server import EngineServer, start_engine_server, stop_engine_server
from tests.evaluation.layouts import make_page
from tests.rendering import encode, font, random_line, render, turned
from tests.server.processes import children, is_running, wait_until

pytestmark = pytest.mark.engine


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Return a random rng; its seed, which differs from run to run, is printed when the test fails."""
    seed = random.SystemRandom().randrange(10**9)
    request.node.user_properties.append(("seed", seed))
    print(f"seed {seed}")  # noqa: T201 - pytest shows it for a failure
    return random.Random(seed)


def is_read(text: str, *lines: str) -> bool:
    """Return whether the lines were read in their order.

    The careful model takes one random character of 1,000 for a similar one. A wrong order or an upside-down line is
    wrong in most characters.
    """
    return text.count("\n") == len(lines) - 1 and character_error_rate("\n".join(lines), text) < 0.1


def test_random_english_and_chinese_lines_are_read(engine_server: EngineServer, rng: random.Random) -> None:
    lines = [
        random_line(rng),
        random_line(rng, chinese=True),
        str(rng.randrange(10**8, 10**9)),
    ]
    assert is_read(engine_server.read(encode(render(*lines))), *lines)


@pytest.mark.parametrize("image_format", ["JPEG", "GIF", "WEBP"])
def test_every_format_is_read(engine_server: EngineServer, rng: random.Random, image_format: str) -> None:
    """All other tests send PNG."""
    line = random_line(rng, length=4)
    assert is_read(engine_server.read(encode(render(line, size_px=(900, 300)), image_format)), line)


def test_a_page_is_read_in_all_four_orientations(engine_server: EngineServer, rng: random.Random) -> None:
    lines = [random_line(rng, chinese=bool(i % 2), length=5) for i in range(5)]
    for turn_deg in (0, 90, 180, 270):
        assert is_read(engine_server.read(encode(turned(render(*lines), turn_deg))), *lines)


@pytest.mark.parametrize("turn_deg", [90, 270])
def test_a_number_that_runs_up_or_down_the_margin_is_read(
    engine_server: EngineServer, rng: random.Random, turn_deg: int
) -> None:
    lines = [random_line(rng) for _ in range(12)]
    stamp = f"Form {rng.randrange(1000, 9999)}-{rng.choice('ABCDEFGH')} (Rev. {rng.randrange(10, 13)}-2025)"
    page, strip = render(*lines), render(stamp, size_px=(480, 40), type_px=24)
    page.paste(turned(strip, turn_deg), (20, 300))
    read = engine_server.read(encode(page)).splitlines()
    assert [line for line in read if character_error_rate(stamp, line) < 0.1]
    assert is_read("\n".join(line for line in read if line != stamp), *lines)


@pytest.mark.parametrize("word", ["1961", "Hello", "图书馆", "Page 3", "第三章 总则"])
def test_a_word_alone_on_a_page_is_found_and_not_turned(engine_server: EngineServer, word: str) -> None:
    """The detector misses such words at full scale."""
    page = render(word, size_px=(1240, 1754), type_px=48)
    assert engine_server.read(encode(page)) == word


@pytest.mark.parametrize("size_px", [(500, 100), (100, 4000), (4000, 100), (1240, 1754)])
def test_a_blank_page_has_no_text_and_takes_below_5_s(engine_server: EngineServer, size_px: tuple[int, int]) -> None:
    """Strips once took 26 s and 8 GiB."""
    began_s = time.monotonic()
    assert engine_server.read(encode(Image.new("RGB", size_px, "white"))) == ""
    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize(
    ("size_px", "rows"),
    [pytest.param((2480, 3508), 20, id="half-a-sheet-of-A4-at-300-dpi"), pytest.param((4000, 4000), 15, id="largest")],
)
def test_small_type_on_a_large_scan_is_read(
    engine_server: EngineServer, rng: random.Random, size_px: tuple[int, int], rows: int
) -> None:
    """Type of 24 px has an x-height of 12 px; on the largest page the first detection pass finds none of it."""
    lines = [random_line(rng, length=10) for _ in range(rows)]
    text = engine_server.read(encode(render(*lines, size_px=size_px, type_px=24)))
    assert character_error_rate("\n".join(lines), text) < 0.01


def test_a_long_strip_of_small_chinese_type_is_read(engine_server: EngineServer, rng: random.Random) -> None:
    """Seen at the scale of the first detection pass, its paragraphs look like single lines of large type."""
    strip = make_page("strip", "zh", str(rng.random()))
    text = engine_server.read(encode(strip.draw()))
    assert character_error_rate(strip.truth, text) < 0.01


def test_a_faint_page_is_read(engine_server: EngineServer, rng: random.Random) -> None:
    """Its paper and its ink differ by 24 of 255 levels, and by noise; the detector sees nothing but a few headings."""
    lines = [random_line(rng, length=8) for _ in range(25)]
    page = np.asarray(render(*lines, size_px=(1240, 1754), type_px=24).convert("L"), np.float32)
    noise = np.random.default_rng(rng.randrange(10**9)).normal(0, 4, page.shape)
    faint = np.clip(214 + page * 24 / 255 + noise, 0, 255).astype(np.uint8)
    assert character_error_rate("\n".join(lines), engine_server.read(encode(Image.fromarray(faint)))) < 0.05


def test_white_on_black_is_read(engine_server: EngineServer, rng: random.Random) -> None:
    line = random_line(rng, length=5)
    page = render(line, size_px=(900, 400)).point(lambda value: 255 - value)
    assert is_read(engine_server.read(encode(page)), line)


def test_a_truncated_image_is_answered_with_400(engine_server: EngineServer) -> None:
    """Only the worker can find that out, because the header is good."""
    image = encode(render("half a page"))
    response = engine_server.post(image[: len(image) // 2])
    assert (response.status_code, response.json()) == (400, {"statusText": "the image is truncated or damaged"})


def test_a_worker_killed_in_the_middle_of_a_page_costs_one_500(engine_server: EngineServer, rng: random.Random) -> None:
    (worker,) = children(engine_server.process.pid)
    dense = encode(render(*(random_line(rng, length=20) for _ in range(60)), size_px=(3000, 3900), type_px=32))
    statuses: list[int] = []
    request = threading.Thread(target=lambda: statuses.append(engine_server.post(dense).status_code))
    request.start()
    time.sleep(0.7)
    os.kill(worker, signal.SIGKILL)
    request.join()
    assert statuses == [500]
    line = random_line(rng)
    assert is_read(engine_server.read(encode(render(line))), line)
    assert children(engine_server.process.pid) != [worker]


def test_no_worker_outlives_a_server_that_is_killed() -> None:
    """The workers exit when their stdin closes."""
    server = start_engine_server("the-key-of-the-engine-test", "--workers", "2")
    workers = children(server.process.pid)
    assert len(workers) == 2
    server.process.kill()
    stop_engine_server(server)
    wait_until(lambda: not any(map(is_running, workers)))


def test_onnxruntime_reads_a_turned_page() -> None:
    server = start_engine_server("the-key-of-the-engine-test", "--workers", "1", "--backend", "onnxruntime")
    page = render("The same text", "同样的文字")
    assert server.read(encode(turned(page, 180))) == "The same text\n同样的文字"
    assert stop_engine_server(server) == 0


def test_the_fast_engine_reads_a_turned_page_in_both_scripts(rng: random.Random) -> None:
    server = start_engine_server("the-key-of-the-engine-test", "--workers", "1", "--engine", "fast")
    lines = [random_line(rng), "同样的文字", str(rng.randrange(10**8, 10**9))]
    assert is_read(server.read(encode(turned(render(*lines), 180))), *lines)
    assert stop_engine_server(server) == 0


def test_the_rendering_font_has_both_scripts() -> None:
    """Without it the other tests would render boxes and prove nothing."""
    assert font(32).getmask("字").getbbox() != font(32).getmask("A").getbbox()

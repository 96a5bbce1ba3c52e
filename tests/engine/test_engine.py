"""The real engine behind the real server."""

import os
import random
import signal
import threading
import time

import pytest
from PIL import Image

from tests.accuracy import character_error_rate
from tests.rendering import encode, font, random_line, render, turned
from tests.server.conftest import EngineServer, start_engine_server, stop_engine_server
from tests.server.processes import children, is_running, wait_until

pytestmark = pytest.mark.engine


@pytest.fixture
def source(request: pytest.FixtureRequest) -> random.Random:
    """Return randomness that differs from run to run; its seed is printed when the test fails."""
    seed = random.SystemRandom().randrange(10**9)
    request.node.user_properties.append(("seed", seed))
    print(f"seed {seed}")  # noqa: T201 - pytest shows it for a failure
    return random.Random(seed)


def is_right(text: str, *lines: str) -> bool:
    """Return whether the lines were read, in their order.

    The best model takes one random character in a thousand for its lookalike; a wrong order or a line turned over
    is wrong in most characters.
    """
    return text.count("\n") == len(lines) - 1 and character_error_rate("\n".join(lines), text) < 0.1


def test_a_line_nobody_wrote_before_comes_back(engine_server: EngineServer, source: random.Random) -> None:
    """English words and Chinese characters drawn at test time."""
    lines = [random_line(source), random_line(source, chinese=True), str(source.randrange(10**8, 10**9))]
    assert is_right(engine_server.read(encode(render(*lines))), *lines)


@pytest.mark.parametrize("image_format", ["JPEG", "GIF", "WEBP"])
def test_every_format_is_read(engine_server: EngineServer, source: random.Random, image_format: str) -> None:
    """PNG is what the other tests send."""
    line = random_line(source, length=4)
    assert is_right(engine_server.read(encode(render(line, size_px=(900, 300)), image_format)), line)


def test_a_page_is_read_whichever_way_it_lies(engine_server: EngineServer, source: random.Random) -> None:
    """Four turns of one page give the same lines in the same order."""
    lines = [random_line(source, chinese=bool(i % 2), length=5) for i in range(5)]
    for turn_deg in (0, 90, 180, 270):
        assert is_right(engine_server.read(encode(turned(render(*lines), turn_deg))), *lines)


@pytest.mark.parametrize("word", ["1961", "Hello", "图书馆", "Page 3", "第三章 总则"])
def test_a_word_alone_on_a_page_is_found_and_not_turned(engine_server: EngineServer, word: str) -> None:
    """What the detector overlooks at full scale."""
    page = render(word, size_px=(1240, 1754), type_px=48)
    assert engine_server.read(encode(page)) == word


@pytest.mark.parametrize("size_px", [(500, 100), (100, 4000), (4000, 100), (1240, 1754)])
def test_a_blank_page_is_empty_and_quick(engine_server: EngineServer, size_px: tuple[int, int]) -> None:
    """Strips once took 26 seconds and 8 GiB."""
    began_s = time.monotonic()
    assert engine_server.read(encode(Image.new("RGB", size_px, "white"))) == ""
    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize(
    ("size_px", "rows"),
    [pytest.param((2480, 3508), 20, id="half-a-sheet-of-A4-at-300-dpi"), pytest.param((4000, 4000), 15, id="largest")],
)
def test_small_type_on_a_large_scan_survives(
    engine_server: EngineServer, source: random.Random, size_px: tuple[int, int], rows: int
) -> None:
    """Type of 24 px has an x-height of 12 px; on the largest page the first look finds none of it."""
    lines = [random_line(source, length=10) for _ in range(rows)]
    text = engine_server.read(encode(render(*lines, size_px=size_px, type_px=24)))
    assert character_error_rate("\n".join(lines), text) < 0.01


def test_white_on_black_is_read(engine_server: EngineServer, source: random.Random) -> None:
    """Screens are dark these days."""
    line = random_line(source, length=5)
    page = render(line, size_px=(900, 400)).point(lambda value: 255 - value)
    assert is_right(engine_server.read(encode(page)), line)


def test_an_image_cut_in_half_is_the_caller_s_fault(engine_server: EngineServer) -> None:
    """Its header is good, so the worker finds it out: 400, and the worker lives."""
    image = encode(render("half a page"))
    response = engine_server.post(image[: len(image) // 2])
    assert (response.status_code, response.json()) == (400, {"statusText": "the image is truncated or damaged"})


def test_a_worker_killed_in_the_middle_of_a_page_costs_one_500(
    engine_server: EngineServer, source: random.Random
) -> None:
    """The next request waits for the new worker and works."""
    (worker,) = children(engine_server.process.pid)
    dense = encode(render(*(random_line(source, length=20) for _ in range(60)), size_px=(3000, 3900), type_px=32))
    statuses: list[int] = []
    request = threading.Thread(target=lambda: statuses.append(engine_server.post(dense).status_code))
    request.start()
    time.sleep(0.7)
    os.kill(worker, signal.SIGKILL)
    request.join()
    assert statuses == [500]
    line = random_line(source)
    assert is_right(engine_server.read(encode(render(line))), line)
    assert children(engine_server.process.pid) != [worker]


def test_no_worker_outlives_a_server_that_is_killed() -> None:
    """Kill -9 of the server ends its stdin, and with it the workers."""
    server = start_engine_server("k", "--workers", "2")
    workers = children(server.process.pid)
    assert len(workers) == 2
    server.process.kill()
    stop_engine_server(server)
    wait_until(lambda: not any(map(is_running, workers)))


def test_onnxruntime_reads_the_same() -> None:
    """For machines without OpenVINO; turned pages included."""
    server = start_engine_server("k", "--workers", "1", "--backend", "onnxruntime")
    page = render("The same text", "同样的文字")
    assert server.read(encode(turned(page, 180))) == "The same text\n同样的文字"
    assert stop_engine_server(server) == 0


def test_the_fast_engine_reads_a_page(source: random.Random) -> None:
    """Both scripts, upside down; its models come with another package and a list of characters."""
    server = start_engine_server("k", "--workers", "1", "--engine", "fast")
    lines = [random_line(source), "同样的文字", str(source.randrange(10**8, 10**9))]
    assert is_right(server.read(encode(turned(render(*lines), 180))), *lines)
    assert stop_engine_server(server) == 0


def test_the_rendering_font_has_both_scripts() -> None:
    """Otherwise the tests above would draw boxes and prove nothing."""
    assert font(32).getmask("字").getbbox() != font(32).getmask("A").getbbox()

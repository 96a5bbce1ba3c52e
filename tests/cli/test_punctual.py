"""Timers of a run fire when they are due, not at the next whole millisecond."""

import os
import select
import selectors
from typing import Any

import anyio
import pytest

from pipeline.batch.job import Job
from pipeline.batch.runner import run
from pipeline.cli import running
from pipeline.cli.punctual import PunctualSelector, punctual_loop


@pytest.fixture
def waits_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time-outs that `select` is given."""
    given: list[float] = []

    original = select.select

    def record(*arguments: Any) -> object:
        given.append(arguments[-1])
        return original(*arguments)

    monkeypatch.setattr(select, "select", record)
    return given


def test_a_fraction_of_a_millisecond_is_waited_for_as_it_is(waits_s: list[float]) -> None:
    with PunctualSelector() as selector:
        assert selector.select(0.0003) == []
    assert waits_s == [0.0003]


@pytest.mark.parametrize("timeout", [0.0003, 60.0, 0, None])
def test_what_is_ready_ends_the_wait(timeout: float | None) -> None:
    reading, writing = os.pipe()
    try:
        with PunctualSelector() as selector:
            selector.register(reading, selectors.EVENT_READ)
            os.write(writing, b"x")
            assert [key.fd for key, _ in selector.select(timeout)] == [reading]
    finally:
        os.close(reading)
        os.close(writing)


def test_a_high_descriptor_is_left_to_epoll(waits_s: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    with PunctualSelector() as selector:
        monkeypatch.setattr("pipeline.cli.punctual._FIRST_NOT_SELECTED", selector.fileno())
        assert selector.select(0.001) == []
    assert waits_s == []


def test_timers_of_the_loop_are_not_rounded(waits_s: list[float]) -> None:
    loop = punctual_loop()
    try:
        loop.call_later(0.0004, loop.stop)
        loop.run_forever()
    finally:
        loop.close()
    assert any(0 < wait_s <= 0.0004 for wait_s in waits_s)


def test_runs_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[object] = []
    monkeypatch.setattr(running, "find_spec", lambda _: None)  # uvloop's timers are whole milliseconds
    monkeypatch.setattr(anyio, "run", lambda *_, backend_options: options.append(backend_options))
    running._run(Job((), "out"), run)
    assert options == [{"loop_factory": punctual_loop}]

"""Notebooks, executed by a real Jupyter kernel, whose event loop runs while a cell does."""

import asyncio
import re
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from aiohttp import web
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.fakes import Call, accept, accept_when, serve_fake
from tests.faults.accounts import list_faults
from tests.generated import DOCS
from tests.pages import write_pages
from tests.runs import KEY, ROOT, environment, results

IMPORTS = "from pipeline import Job, run, run_sync, stream, events, Record\njob = Job('scans', 'out')"

WAIT = """\
import threading
for thread in threading.enumerate():
    if thread.name == "pagemill run":
        thread.join()
"""
"""Waits until the run of a loop that was left has ended."""


class Kernel:
    """A kernel that executes cells, with the service's address in its environment."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client
        self._number = 0

    async def execute(self, source: str) -> Any:
        """Return the cell with its outputs.

        Raises:
            CellExecutionError: the cell raised an exception.
        """
        cell = nbformat.v4.new_code_cell(source)
        self._client.nb.cells.append(cell)
        self._number += 1
        return await self._client.async_execute_cell(cell, self._number - 1)

    async def interrupt(self) -> None:
        """Interrupt the cell, as the button does."""
        await self._client.km.interrupt_kernel()


@asynccontextmanager
async def start_kernel(directory: Path, url: str) -> AsyncGenerator[Kernel]:
    """Start a kernel that works in a directory."""
    environ = environment(
        KEY,
        PAGEMILL_API_URL=url,
        PAGEMILL_JOBS="4",
        PAGEMILL_STATE_DIR=str(directory / "state"),
        PYTHONPATH=str(ROOT),
        HOME=str(directory),
    )
    notebook = nbformat.v4.new_notebook()
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(directory)}})
    async with client.async_setup_kernel(env=environ):
        kernel = Kernel(client)
        await kernel.execute(IMPORTS)
        yield kernel


def printed(cell: Any, name: str) -> str:
    """Return what a cell has written to stdout or stderr."""
    return "".join(output["text"] for output in cell["outputs"] if output.get("name") == name)


async def test_each_call_works_in_a_notebook(tmp_path: Path) -> None:
    write_pages(scans := tmp_path / "scans", 3)
    async with serve_fake() as fake, start_kernel(tmp_path, fake.url) as kernel:
        cell = await kernel.execute("print(run_sync(job).totals['done'])")
        assert printed(cell, "stdout") == "3\n"
        cell = await kernel.execute("summary = await run(job)\nprint(summary.exit_code)")
        assert printed(cell, "stdout") == "0\n"
        write_pages(scans, 2, first_seed=10)
        cell = await kernel.execute("async for record in stream(job):\n    print(record.source)")
        assert sorted(printed(cell, "stdout").split()) == ["page-0010.png", "page-0011.png"]
        write_pages(scans, 1, first_seed=20)
        cell = await kernel.execute("print([type(event).__name__ async for event in events(job)])")
        assert printed(cell, "stdout") == "['Start', 'Record', 'Summary']\n"


async def test_the_progress_bar_is_text_that_a_notebook_shows_in_one_line(tmp_path: Path) -> None:
    write_pages(tmp_path / "scans", 3)
    async with serve_fake() as fake, start_kernel(tmp_path, fake.url) as kernel:
        cell = await kernel.execute("summary = run_sync(Job('scans', 'out', bar=True))")
    bar = printed(cell, "stderr")
    assert "3/3" in bar
    assert bar.count("\n") == 1
    assert "Warning" not in bar


async def test_a_cell_that_leaves_a_loop_ends_the_run_in_order(tmp_path: Path) -> None:
    write_pages(tmp_path / "scans", 20)
    async with serve_fake() as fake, start_kernel(tmp_path, fake.url) as kernel:
        await kernel.execute("async for record in stream(job):\n    break")
        await kernel.execute(WAIT)
        cell = await kernel.execute(
            "async with stream(job) as records:\n"
            "    async for record in records:\n"
            "        break\n"
            "print(records.summary.reason)"
        )
        assert printed(cell, "stdout") == "ended by the program\n"
        await kernel.execute("run_sync(job)")
    assert len(results(tmp_path / "out")) == 20
    assert set(fake.billed.values()) == {1}


async def test_an_interrupt_of_the_kernel_ends_run_sync_in_order(tmp_path: Path) -> None:
    write_pages(tmp_path / "scans", 20)
    released = asyncio.Event()
    async with serve_fake(accept_when(released, from_call=2)) as fake, start_kernel(tmp_path, fake.url) as kernel:
        await kernel.execute("import logging\nlogging.basicConfig(filename='log')")
        cell = asyncio.create_task(kernel.execute("run_sync(job)"))
        await fake.wait_for_calls(5)
        await kernel.interrupt()
        await wait_until(lambda: b"interrupted: finishing" in (tmp_path / "log").read_bytes())
        released.set()
        with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
            await cell
        assert len(fake.calls) == 5
    assert len(results(tmp_path / "out")) == 5
    assert list_faults(tmp_path / "out") == []


async def test_an_interrupt_of_the_kernel_ends_a_stream_in_order(tmp_path: Path) -> None:
    """The kernel keeps the traceback of the interrupt. It acts on it when its loop wakes, at the next record."""
    write_pages(tmp_path / "scans", 40)

    async def slowly(call: Call) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return accept(call)

    async with serve_fake(slowly) as fake, start_kernel(tmp_path, fake.url) as kernel:
        cell = asyncio.create_task(kernel.execute("async for record in stream(job):\n    pass"))
        await fake.wait_for_calls(5)
        await kernel.interrupt()
        with pytest.raises(CellExecutionError, match=r"KeyboardInterrupt|CancelledError"):
            await cell
        await kernel.execute(WAIT)
        assert sum(fake.billed.values()) == len(results(tmp_path / "out")) < 40
    assert list_faults(tmp_path / "out") == []


async def wait_until(is_true: Callable[[], bool]) -> None:
    """Return once a fact of another process holds."""
    while not is_true():  # noqa: ASYNC110 - no event of this loop tells
        await asyncio.sleep(0.01)


async def test_the_cells_of_the_documentation_work_when_copied(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "sample_data", tmp_path / "sample_data")
    text = (DOCS / "python.md").read_text("utf-8")
    blocks = re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", text)
    assert {language for language, _ in blocks} == {"python", "ipython"}  # the former are run as scripts
    async with serve_fake() as fake, start_kernel(tmp_path, fake.url) as kernel:
        cells = [await kernel.execute(block) for language, block in blocks if language == "ipython"]
    assert len(cells) == 2
    assert "accounts/zh-receipt.png" in printed(cells[-1], "stdout")

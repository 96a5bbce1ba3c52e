"""How many workers a machine gets, and the memory limit of each."""

import pytest

from pipeline.convert.resources import Machine
from pipeline.server.workers.resources import MEMORY_LIMIT_BYTES, RECYCLE_BYTES, Sizing, choose_sizing

GIB = 1024**3


@pytest.mark.parametrize(
    ("configured", "machine", "sizing"),
    [
        pytest.param(0, Machine(2), Sizing(2, 1), id="a-worker-a-core"),
        pytest.param(0, Machine(8, 6 * GIB), Sizing(2, 4), id="memory-bounds-the-workers"),
        pytest.param(0, Machine(4, GIB // 2), Sizing(1, 4), id="one-worker-at-least"),
        pytest.param(1, Machine(2), Sizing(1, 2), id="the-setting-wins"),
        pytest.param(5, Machine(2), Sizing(5, 1), id="one-thread-at-least"),
    ],
)
def test_workers_share_the_cores_as_far_as_memory_allows(configured: int, machine: Machine, sizing: Sizing) -> None:
    assert choose_sizing(configured, machine) == sizing


@pytest.mark.parametrize(("configured", "sizing"), [(0, Sizing(1, 8)), (3, Sizing(3, 2))])
def test_a_gpu_has_one_worker_unless_the_setting_says_more(configured: int, sizing: Sizing) -> None:
    assert choose_sizing(configured, Machine(8), on_gpu=True) == sizing


def test_a_worker_is_replaced_long_before_its_allocations_fail() -> None:
    assert MEMORY_LIMIT_BYTES >= 2 * RECYCLE_BYTES

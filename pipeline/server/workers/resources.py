"""How many engine workers a machine gets, with how many threads, and the memory limit of each."""

from dataclasses import dataclass
from typing import Final

from pipeline.convert.resources import Machine

WORKER_MEMORY_BYTES: Final = 5 * 1024**3 // 2
"""Memory planned per worker. Measured: 0.9 GiB after common pages, 2.3 GiB after pages of the smallest type, 2.5 GiB at
the peak."""

RECYCLE_BYTES: Final = 3 * 1024**3
"""Resident memory beyond which a worker is replaced. Measured: at most 2.3 GiB, without growth."""

MEMORY_LIMIT_BYTES: Final = 2 * RECYCLE_BYTES
"""RLIMIT_DATA of a worker; the kernel counts about 1.5 times the resident memory as data."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """Number of worker processes, and of threads in each."""

    workers: int
    threads: int


def choose_sizing(configured_workers: int, machine: Machine, *, on_gpu: bool = False) -> Sizing:
    """Return the workers to start.

    Args:
        configured_workers: The setting; 0 means one worker per core, as far as memory allows. On two busy cores,
            two workers with one thread each finish nearly twice the pages of one worker with two threads.
        machine: Available cores and memory.
        on_gpu: Whether the models run on a GPU, whose memory is unknown: 0 then means one worker.
    """
    cores = max(1, machine.cores)
    workers = configured_workers
    if workers == 0:
        fitting = cores if machine.memory_bytes is None else machine.memory_bytes // WORKER_MEMORY_BYTES
        workers = 1 if on_gpu else max(1, min(cores, fitting))
    return Sizing(workers, max(1, cores // workers))

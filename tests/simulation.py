"""Simulates calls against a limited account: no I/O, no real waiting, the same result for the same seed.

A pacer (anything with the methods of `pipeline.remote.pace.Pace`) decides when the next call is sent. A limit
(`tests.benchmarks.limits`) admits or refuses it half a round trip later. A refusal comes back at once, an answer after
the latency. The first call of each process goes alone until it is answered, as in `pipeline.remote.gate`.
"""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.benchmarks.limits import Limit


class Pacer(Protocol):
    """The methods of a pace that the simulation calls; tokens are opaque."""

    def ready_at(self, now_s: float) -> float: ...
    def report_sent(self, now_s: float) -> Any: ...
    def report_accepted(self, now_s: float, token: Any) -> None: ...
    def report_refused(self, now_s: float, token: Any, wait_s: float | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Load:
    """The calls of a simulation, and the latencies of service and network.

    Attributes:
        pages: Pages in all, shared by all processes.
        jobs: Most calls in flight per process.
        latency_s: Mean time to an answer.
        jitter: Of the latency; 0 is constant, below 1 uniform within this share of the mean, 1 exponential.
        round_trip_s: Time to a refusal.
        retry_after_s: The Retry-After of a refusal; None sends none.
        processes: Number of processes that share the key.
        noise_s: Largest delay of a timer or an arrival.
        checks_late: The service checks its limit when the work is done, so a refusal takes as long as an answer.
    """

    pages: int
    jobs: int = 32
    latency_s: float = 0.1
    jitter: float = 0.0
    round_trip_s: float = 0.002
    retry_after_s: float | None = None
    processes: int = 1
    noise_s: float = 0.0
    checks_late: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a simulation.

    Attributes:
        elapsed_s: Time to the last answer.
        ideal_s: Least time that the limit and the number of jobs allow.
        answered: Pages answered.
        refusals: Calls refused.
        inside_pause: Calls sent inside a Retry-After that the process had received.
        admitted_s: When each admitted call arrived at the service.
        refused_s: When each refused call arrived at the service.
    """

    elapsed_s: float
    ideal_s: float
    answered: int
    refusals: int
    inside_pause: int
    admitted_s: tuple[float, ...]
    refused_s: tuple[float, ...]

    @property
    def efficiency(self) -> float:
        """The ideal time divided by the elapsed time."""
        return self.ideal_s / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def refused_share(self) -> float:
        """Refused calls divided by all calls."""
        return self.refusals / max(1, self.answered + self.refusals)


@dataclass(slots=True)
class _Process:
    pace: Pacer
    in_flight: int = 0
    answered: bool = False
    paused_until_s: float = -math.inf
    wakes_s: float = -math.inf


@dataclass(slots=True)
class _Simulation:
    load: Load
    limit: Limit
    dice: random.Random
    processes: list[_Process]
    unsent_pages: int
    now_s: float = 0.0
    in_service: int = 0
    inside_pause: int = 0
    answered_s: list[float] = field(default_factory=list)
    admitted_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    scheduled: int = 0

    def run(self, give_up_s: float) -> None:
        for process in self.processes:
            self._send(process)
        while self.events and self.now_s < give_up_s and len(self.answered_s) < self.load.pages:
            self.now_s, _, action = heapq.heappop(self.events)
            action()

    def _after(self, wait_s: float, action: Callable[[], None]) -> None:
        self.scheduled += 1
        heapq.heappush(self.events, (self.now_s + wait_s, self.scheduled, action))

    def _send(self, process: _Process) -> None:
        while self.unsent_pages and process.in_flight < (self.load.jobs if process.answered else 1):
            ready_s = process.pace.ready_at(self.now_s)
            if ready_s > self.now_s + 1e-12:
                if ready_s < math.inf and (process.wakes_s <= self.now_s or ready_s < process.wakes_s):
                    process.wakes_s = ready_s
                    self._after(ready_s - self.now_s + self._noise_s(), lambda: self._send(process))
                return
            self.inside_pause += self.now_s < process.paused_until_s - 1e-9
            self.unsent_pages -= 1
            process.in_flight += 1
            token = process.pace.report_sent(self.now_s)
            delay_s = self.load.round_trip_s / 2 + self._noise_s()
            if self.load.checks_late:
                delay_s += self._latency_s()
            self._after(delay_s, lambda token=token: self._arrive(process, token))  # type: ignore[misc]

    def _arrive(self, process: _Process, token: Any) -> None:
        if self.limit.admit(self.now_s, self.in_service):
            self.in_service += 1
            self.admitted_s.append(self.now_s)
            service_s = 0.0 if self.load.checks_late else self._latency_s()
            self._after(service_s, lambda: self._leave(process, token))
        else:
            self.refused_s.append(self.now_s)
            wait_s = self.limit.retry_after_s(self.now_s)
            wait_s = self.load.retry_after_s if wait_s is None else wait_s
            self._after(self.load.round_trip_s / 2, lambda: self._refused(process, token, wait_s))

    def _noise_s(self) -> float:
        return self.dice.uniform(0, self.load.noise_s) if self.load.noise_s else 0.0

    def _latency_s(self) -> float:
        if self.load.jitter >= 1:
            return self.dice.expovariate(1 / self.load.latency_s)
        return self.load.latency_s * (1 + self.load.jitter * self.dice.uniform(-1, 1))

    def _leave(self, process: _Process, token: Any) -> None:
        self.in_service -= 1
        self._after(self.load.round_trip_s / 2, lambda: self._answered(process, token))

    def _answered(self, process: _Process, token: Any) -> None:
        self.answered_s.append(self.now_s)
        process.in_flight -= 1
        process.answered = True
        process.pace.report_accepted(self.now_s, token)
        self._send(process)

    def _refused(self, process: _Process, token: Any, wait_s: float | None) -> None:
        self.unsent_pages += 1
        process.in_flight -= 1
        if wait_s is not None:
            process.paused_until_s = max(process.paused_until_s, self.now_s + wait_s)
        process.pace.report_refused(self.now_s, token, wait_s)
        self._send(process)


def simulate(
    pacer: Callable[[], Pacer], limit: Limit, load: Load, *, seed: int = 1, give_up_s: float = 5000.0
) -> Result:
    """Send all pages and return the result.

    Args:
        pacer: Makes the pace of each process.
        limit: The service's limiter; its state changes.
        load: The calls and latencies.
        seed: Of the latencies and the noise.
        give_up_s: Virtual time after which the simulation ends, finished or not.
    """
    ideal_s = max(limit.ideal_s(load.pages), load.pages * load.latency_s / load.jobs / load.processes)
    processes = [_Process(pacer()) for _ in range(load.processes)]
    simulation = _Simulation(load, limit, random.Random(seed), processes, load.pages)
    simulation.run(give_up_s)
    return Result(
        elapsed_s=simulation.answered_s[-1] if simulation.answered_s else simulation.now_s,
        ideal_s=ideal_s,
        answered=len(simulation.answered_s),
        refusals=len(simulation.refused_s),
        inside_pause=simulation.inside_pause,
        admitted_s=tuple(simulation.admitted_s),
        refused_s=tuple(simulation.refused_s),
    )

"""Attempts on the nodes of a Ray cluster: one task per shard, tried again by Ray for as long as nodes are lost.

The one module that knows Ray. The driver, and each node, must notice a lost peer within seconds: `EXPECTED` are the
settings with which a dead node is known after 5 s; Ray's own defaults take half a minute and more.
"""

import logging
import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import anyio

from pipeline.cluster.attempt import ShardOrder, ShardOutcome, attempt_shard
from pipeline.config import ClusterConfig
from pipeline.errors import StopError, TemporaryError, UsageError
from pipeline.workspace.paths import RUN

EXPECTED: Final[Mapping[str, str]] = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_grpc_client_keepalive_time_ms": "5000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment variables of each node and of the driver."""
_RESOURCE: Final = "ocr"
_FORWARDED: Final = ("PGPASSWORD",)
_ANSWER_S: Final = 60.0
_CONNECT_S: Final = 5.0

logger = logging.getLogger("pagemill")


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says of itself.

    Attributes:
        host: Its name.
        version: Of pagemill.
        settings: Those of Ray that it was started with.
        sees_out: True when the job's workspace is there.
    """

    host: str
    version: str
    settings: Mapping[str, str]
    sees_out: bool


def inspect_node(out: Path) -> NodeFacts:
    """Return what a node says of itself; runs on the node."""
    settings = {name: os.environ[name] for name in EXPECTED if name in os.environ}
    return NodeFacts(socket.gethostname(), version("pagemill"), settings, (out / RUN).exists())


def attempt_on_node(order: ShardOrder, environ: Mapping[str, str]) -> ShardOutcome:
    """Make an attempt; runs on the node. What the run logs goes to Ray's log of the worker process."""
    for name, value in environ.items():
        os.environ.setdefault(name, value)
    outcome: ShardOutcome = anyio.run(attempt_shard, order)
    return replace(outcome, node=socket.gethostname())


def find_faults(facts: NodeFacts, here: str) -> list[str]:
    """Return what a node lacks that does not keep it from working, one sentence each.

    Args:
        facts: What the node says.
        here: The version of pagemill on the driver.
    """
    faults = []
    if facts.version != here:
        faults.append(f"pagemill {facts.version}, the driver has {here}")
    if wrong := [f"{name}={value}" for name, value in EXPECTED.items() if facts.settings.get(name) != value]:
        faults.append(f"started without {' '.join(wrong)}: the loss of a node may be noticed late")
    return faults


def load_ray() -> ModuleType:
    """Return Ray, with the settings of the driver.

    Raises:
        UsageError: it is not installed.
    """
    for name, value in EXPECTED.items():
        os.environ.setdefault(name, value)
    try:
        import ray  # noqa: PLC0415 - an optional package, and slow to load
    except ImportError as exc:
        raise UsageError("--cluster needs Ray: pip install 'pagemill[cluster]'") from exc
    module: ModuleType = ray
    return module


class RayEngine:
    """A Ray cluster; it implements `Engine`.

    Args:
        config: Its address, and what a shard takes of a node.
    """

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self._ray = load_ray()
        self._task: Any = None
        self._need: dict[str, float] = {}
        self.machines = 0

    def __repr__(self) -> str:
        return f"<RayEngine {self._config.address}, {self.machines} machines>"

    def open(self, out: Path) -> None:
        """Connect, and check the nodes.

        Raises:
            UsageError: there is no such cluster, no node fits a shard, or a node does not see the workspace.
        """
        address = self._config.address
        try:
            _require_listener(address or "")
            self._ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (OSError, RuntimeError, ValueError) as exc:
            raise UsageError(f"--cluster {address}: {' '.join(str(exc).split())[:300]}") from exc
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        self.machines = len({node["NodeManagerHostname"] for node in nodes})
        self._need = self._choose_need()
        if not any(_fits(self._need, node["Resources"]) for node in nodes):
            raise UsageError(f"--cluster {address}: no node has what a shard takes: {self._need}")
        self._check(nodes, out)
        options: dict[str, Any] = {"num_cpus": self._need.get("CPU", 0), "num_gpus": self._need.get("GPU", 0)}
        if _RESOURCE in self._need:
            options["resources"] = {_RESOURCE: self._need[_RESOURCE]}
        self._task = self._ray.remote(attempt_on_node).options(
            max_retries=-1, retry_exceptions=False, scheduling_strategy="SPREAD", name="pagemill-shard", **options
        )

    def close(self) -> None:
        """Disconnect; Ray ends the tasks of this driver."""
        self._ray.shutdown()

    def capacity(self) -> int:
        """Return how many attempts fit on the nodes that are alive."""
        fits = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                shares = [node["Resources"].get(name, 0.0) / need for name, need in self._need.items() if need > 0]
                fits += math.floor(min(shares, default=1.0))
        return fits

    async def attempt(self, order: ShardOrder) -> ShardOutcome:
        """Return the outcome of an attempt, made anew by Ray when its node is lost."""
        exceptions = self._ray.exceptions
        environ = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
        try:
            outcome: ShardOutcome = await self._task.remote(order, environ)
        except exceptions.RayTaskError as exc:
            raise StopError(f"shard {order.shard}: unexpected error on a node: {exc.cause!r}") from exc
        except exceptions.RayError as exc:
            raise TemporaryError(f"--cluster {self._config.address}: {' '.join(str(exc).split())[:300]}") from exc
        return outcome

    def _choose_need(self) -> dict[str, float]:
        """Return what a shard takes of a node, by Ray's names."""
        has_resource = self._ray.cluster_resources().get(_RESOURCE, 0.0) > 0
        ocr = self._config.ocr if self._config.ocr is not None else float(has_resource)
        need = {_RESOURCE: ocr} if ocr else {"CPU": self._config.cpus}
        return need | ({"GPU": self._config.gpus} if self._config.gpus else {})

    def _check(self, nodes: list[dict[str, Any]], out: Path) -> None:
        """Ask each node; warn of what it lacks.

        Raises:
            UsageError: one does not see the workspace.
        """
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        ask = self._ray.remote(inspect_node)
        asked = {
            ask.options(num_cpus=0, scheduling_strategy=strategy(node["NodeID"], soft=False)).remote(out): node
            for node in nodes
        }
        for answer, node in asked.items():
            name = f"node {node['NodeManagerAddress']}"
            try:
                facts: NodeFacts = self._ray.get(answer, timeout=_ANSWER_S)
            except self._ray.exceptions.RayError as exc:
                logger.warning("%s: does not answer: %s", name, " ".join(str(exc).split())[:300])
                continue
            if not facts.sees_out:
                raise UsageError(f"{name}: {out / RUN} is not there; all nodes must share OUT under the same path")
            for fault in find_faults(facts, version("pagemill")):
                logger.warning("%s: %s", name, fault)


def _require_listener(address: str) -> None:
    """Return when something listens at an address with a port; Ray itself would try for a minute.

    Raises:
        OSError: nothing does.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


def _fits(need: Mapping[str, float], resources: Mapping[str, float]) -> bool:
    return all(resources.get(name, 0.0) >= number for name, number in need.items())

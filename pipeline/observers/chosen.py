"""Makes the observers that the settings ask for."""

import os
from collections.abc import Mapping

from pipeline.batch.observers import Observer
from pipeline.config import Config
from pipeline.observers.metrics import MetricsFile, MetricsPort, RunMetrics
from pipeline.observers.notice import Notice
from pipeline.observers.pings import Pings
from pipeline.remote.ping import check_ping_url
from pipeline.remote.proxies import choose_proxy


def choose_observers(config: Config, environ: Mapping[str, str] = os.environ) -> list[Observer]:
    """Return the observers of `[operate]`; none by default.

    Pings come first, so that they report when another observer lacks what it needs.

    Args:
        config: All settings.
        environ: The environment, for the proxy.

    Raises:
        UsageError: a setting is wrong.
    """
    operate = config.operate
    observers: list[Observer] = []
    if operate.ping_url is not None:
        url = check_ping_url(operate.ping_url)
        observers.append(Pings(url, choose_proxy(url, config.api.proxy, environ)))
    if operate.notify_command is not None:
        observers.append(Notice(operate.notify_command))
    metrics = RunMetrics()
    if operate.metrics_file is not None:
        observers.append(MetricsFile(operate.metrics_file, metrics))
    if operate.metrics_port is not None:
        observers.append(MetricsPort(operate.metrics_host, operate.metrics_port, metrics))
    return observers

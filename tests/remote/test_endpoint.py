"""The deadlines of a call, by the service that is called."""

import pytest

from pipeline.config import ApiConfig, Config
from pipeline.remote.endpoint import fit_to_engine
from pipeline.remote.timeouts import Timeouts, choose_timeouts
from pipeline.service import Service

VENDOR = Service("https://llmocr.com", "k", "vendor")
OWN = Service("http://127.0.0.1:8000", "k", "127.0.0.1")


@pytest.mark.parametrize(
    ("service", "api", "read_s"),
    [
        pytest.param(VENDOR, ApiConfig(), 60.0, id="vendor"),
        pytest.param(VENDOR, ApiConfig(timeout_s=30.0), 30.0, id="vendor-with-a-short-deadline"),
        pytest.param(OWN, ApiConfig(), 120.0, id="own-server"),
        pytest.param(OWN, ApiConfig(timeout_s=600.0), 600.0, id="own-server-with-a-long-deadline"),
        pytest.param(OWN, ApiConfig(read_timeout_s=5.0), 5.0, id="own-server-as-set"),
        pytest.param(VENDOR, ApiConfig(read_timeout_s=90.0), 90.0, id="vendor-as-set"),
    ],
)
def test_a_server_that_queues_calls_may_be_silent_until_their_deadline(
    service: Service, api: ApiConfig, read_s: float
) -> None:
    assert choose_timeouts(api, service) == Timeouts(api.timeout_s, api.connect_timeout_s, read_s)


def test_the_embedded_engine_has_no_read_timeout_below_the_deadline_of_the_call() -> None:
    """The deadline is longer than the server's own: 120 s in its queue and 120 s in a worker."""
    api = fit_to_engine(Config(api=ApiConfig(timeout_s=30.0, read_timeout_s=5.0))).api
    timeouts = choose_timeouts(api, Service("http://127.0.0.1:1", "k", "embedded"))
    assert timeouts.read_s == timeouts.total_s > 240.0

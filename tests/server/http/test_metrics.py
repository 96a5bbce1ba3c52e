"""What Prometheus reads."""

from prometheus_client.parser import text_string_to_metric_families

from pipeline.engine.recognition import EngineState
from pipeline.server.http.load import LoadStatistics
from pipeline.server.http.metrics import Metrics


def read(metrics: Metrics) -> dict[str, float]:
    """Return all samples by name and labels."""
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.expose().decode())
        for sample in family.samples
    }


def test_answers_are_counted_by_route_and_status() -> None:
    """Two servers in one process do not share their figures."""
    metrics, other = Metrics(), Metrics()
    metrics.request_answered("/healthz", 200)
    metrics.request_answered("/healthz", 200)
    metrics.request_answered("other", 404)
    figures = read(metrics)
    assert figures["pagemill_requests_total /healthz 200"] == 2
    assert figures["pagemill_requests_total other 404"] == 1
    assert "pagemill_requests_total other 404" not in read(other)


def test_seconds_of_recognition_are_a_histogram() -> None:
    """In buckets around what pages take."""
    metrics = Metrics()
    for elapsed_s in (0.3, 1.5, 300.0):
        metrics.page_took(elapsed_s)
    figures = read(metrics)
    assert figures["pagemill_recognition_seconds_count"] == 3
    assert figures["pagemill_recognition_seconds_sum"] == 301.8
    assert figures["pagemill_recognition_seconds_bucket 2.0"] == 2


def test_what_others_keep_is_read_when_it_is_asked_for() -> None:
    """Queue, workers and refusals are the engine's and the load's own figures."""
    metrics = Metrics()
    state = EngineState(2, 0, 0)
    metrics.watch(lambda: state, lambda: LoadStatistics(places=3, body_bytes=1000, shed=5))
    assert read(metrics)["pagemill_queue_length"] == 0
    state = EngineState(workers=1, waiting=7, restarts=4)
    figures = read(metrics)
    assert figures["pagemill_workers"] == 1
    assert figures["pagemill_queue_length"] == 7
    assert figures["pagemill_worker_restarts_total"] == 4
    assert figures["pagemill_calls_shed_total"] == 5
    assert figures["pagemill_body_bytes"] == 1000

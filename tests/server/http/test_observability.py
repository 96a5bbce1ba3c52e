"""The metrics, as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from pipeline.engine.recognition import EngineState
from pipeline.server.http.admission import AdmissionStatistics
from pipeline.server.http.observability import Metrics


def read(metrics: Metrics) -> dict[str, float]:
    """Return all samples by name and labels."""
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_responses_are_counted_by_route_and_status() -> None:
    """Two servers in one process have metrics of their own."""
    metrics, other = Metrics(), Metrics()
    metrics.count_response("/healthz", 200)
    metrics.count_response("/healthz", 200)
    metrics.count_response("other", 404)
    figures = read(metrics)
    assert figures["pagemill_requests_total /healthz 200"] == 2
    assert figures["pagemill_requests_total other 404"] == 1
    assert "pagemill_requests_total other 404" not in read(other)


def test_the_time_per_page_is_a_histogram() -> None:
    metrics = Metrics()
    for elapsed_s in (0.3, 1.5, 300.0):
        metrics.record_page(elapsed_s)
    figures = read(metrics)
    assert figures["pagemill_recognition_seconds_count"] == 3
    assert figures["pagemill_recognition_seconds_sum"] == 301.8
    assert figures["pagemill_recognition_seconds_bucket 2.0"] == 2


def test_engine_and_admission_are_read_at_each_scrape() -> None:
    metrics = Metrics()
    state = EngineState(2, 0, 0)
    metrics.add_collectors(lambda: state, lambda: AdmissionStatistics(slots_taken=3, body_bytes=1000, shed_requests=5))
    assert read(metrics)["pagemill_queue_length"] == 0
    state = EngineState(workers=1, waiting=7, restarts=4)
    figures = read(metrics)
    assert figures["pagemill_workers"] == 1
    assert figures["pagemill_queue_length"] == 7
    assert figures["pagemill_worker_restarts_total"] == 4
    assert figures["pagemill_calls_shed_total"] == 5
    assert figures["pagemill_body_bytes"] == 1000

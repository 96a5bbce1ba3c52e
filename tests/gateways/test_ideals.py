"""The benchmark's ideals, worked out by hand: 100 ms per call, 16 calls at once."""

import pytest

from tests.benchmarks.gateways.ideals import Ideal, bucket, concurrency, counter, slower_of, windows


@pytest.mark.parametrize(
    ("ideal", "accepted", "seconds"),
    [
        pytest.param(windows(), 33, 0.2, id="calls-in-flight-alone"),
        pytest.param(windows((60, 60)), 60, 0.3, id="first-window-in-four-rounds"),
        pytest.param(windows((60, 60)), 61, 60, id="second-window"),
        pytest.param(windows((60, 60)), 200, 180.1, id="fourth-window-in-two-rounds"),
        pytest.param(windows((5, 1)), 200, 39, id="short-window"),
        pytest.param(windows((5, 1), (100, 60)), 100, 19, id="stacked-within-the-minute"),
        pytest.param(windows((5, 1), (100, 60)), 300, 139, id="stacked-third-minute-takes-19-s-more"),
        pytest.param(concurrency(4), 9, 0.2, id="three-rounds"),
        pytest.param(concurrency(32), 33, 0.2, id="client-is-narrower"),
        pytest.param(bucket(5, 11), 11, 0, id="burst"),
        pytest.param(bucket(5, 11), 21, 2, id="refill"),
        pytest.param(counter(20, 10), 20, 0, id="counter-first-window"),
        pytest.param(counter(20, 10), 21, 10.5, id="counter-fades-by-one-call"),
        pytest.param(counter(20, 10), 30, 15, id="counter-fades-by-half"),
        pytest.param(slower_of(bucket(20, 11), concurrency(3)), 31, 1.0, id="conn-beside-bucket"),
    ],
)
def test_the_ideal_is_the_time_of_a_client_that_knows_the_limit(ideal: Ideal, accepted: int, seconds: float) -> None:
    assert ideal(accepted, 0.1, 16) == pytest.approx(seconds)

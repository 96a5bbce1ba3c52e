"""Which further look at a page is kept."""

from pipeline.engine.looks import MIN_GAIN, shows_more


def test_a_look_is_kept_only_for_ink_that_the_best_one_lost() -> None:
    """More contrast makes type coarser, so that a look that shows the same lines reads them worse."""
    assert shows_more(0.1, 0.9)
    assert not shows_more(0.594, 0.596)
    assert not shows_more(0.6, 0.6)
    assert not shows_more(0.9, 0.9 - MIN_GAIN)

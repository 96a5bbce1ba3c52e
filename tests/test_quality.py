"""The quality in a reply, whatever a service sends."""

from dataclasses import replace
from typing import Any

import msgspec
import orjson
from hypothesis import given
from hypothesis import strategies as st

from pipeline.quality import parse_quality, round_quality
from tests.factories import DOUBT, QUALITY

SENT: dict[str, Any] = msgspec.to_builtins(QUALITY)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SENT, "mean", "minimum"]), inner),
    max_leaves=8,
)


@given(st.fixed_dictionaries(dict.fromkeys(SENT, VALUES)) | VALUES)
def test_no_value_is_an_error_and_what_is_kept_can_be_written_and_read(value: object) -> None:
    quality = parse_quality(value)
    assert quality is None or parse_quality(orjson.loads(orjson.dumps(quality))) == quality


def test_figures_have_four_decimals() -> None:
    """Programs that encode a record anew write these alike; smaller ones may get an exponent, and 0 a sign."""
    assert round_quality(replace(QUALITY, score=0.123456789, unread_ink=0.00001)) == replace(
        QUALITY, score=0.1235, unread_ink=0.0
    )
    assert orjson.dumps(parse_quality(SENT | {"score": -0.0})).startswith(b'{"score":0.0,')


def test_a_page_without_text_has_no_confidence() -> None:
    assert parse_quality(SENT | {"confidence": None}) == replace(QUALITY, confidence=None)


def test_a_page_is_in_doubt_below_the_threshold() -> None:
    assert DOUBT.is_in_doubt
    assert not QUALITY.is_in_doubt
    assert not replace(QUALITY, score=QUALITY.threshold).is_in_doubt

"""Strategies for the formats of images and keys, loaded by the schemathesis command (SCHEMATHESIS_HOOKS)."""

import base64
import os

import schemathesis
from hypothesis import strategies as st
from PIL import Image

from pipeline.server.api.schemas import IMAGE_FORMAT, KEY_FORMAT
from tests.rendering import encode
from tests.server.serving import KEY_VARIABLE

EDGES_PX = st.integers(100, 300)


@st.composite
def images(draw: st.DrawFn) -> str:
    """Return an image that the API accepts, as a data URL or as base64."""
    image_format = draw(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP"]))
    mode = draw(st.sampled_from(["L", "RGB"]))
    data = encode(Image.new(mode, (draw(EDGES_PX), draw(EDGES_PX)), "white"), image_format)
    prefix = draw(st.sampled_from([f"data:image/{image_format.lower()};base64,", ""]))
    return prefix + base64.b64encode(data).decode()


schemathesis.openapi.format(IMAGE_FORMAT, images())
if KEY_VARIABLE in os.environ:
    # An open server accepts any key, so no value would violate this format.
    schemathesis.openapi.format(KEY_FORMAT, st.just(os.environ[KEY_VARIABLE]))

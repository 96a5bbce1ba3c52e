"""When may the next call go out? The theory is in `pace`; `hypotheses` joins the other modules."""

from pipeline.remote.pace.calls import Token
from pipeline.remote.pace.pace import Pace

__all__ = ["Pace", "Token"]

"""The pace."""

from pipeline.remote.pace.calls import Token
from pipeline.remote.pace.pace import Pace

__all__ = ["Pace", "Token"]

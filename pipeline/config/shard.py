"""Which part of the INPUTs a run takes, as the user writes it: "2/7"."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

_SHARD: Final = re.compile(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of the same INPUTs.

    Attributes:
        number: 1-based.
        of: The number of shards.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard that a text such as "2/7" names.

        Raises:
            ValueError: it is something else, or there is no such shard.
        """
        match = _SHARD.fullmatch(text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(f"no shard: '{text}'")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def takes(self, name: bytes) -> bool:
        """Return whether a name is in this shard: by the first 64 bits of its SHA-256, so on every machine."""
        return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") % self.of == self.number - 1

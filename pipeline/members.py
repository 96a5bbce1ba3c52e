"""Where the bytes of an archive's member are: a frozen value that the walk makes and that a worker process reads by."""

import hashlib
from typing import Final

from msgspec import Struct

STORED: Final = 0
DEFLATED: Final = 8
BZIP2: Final = 12
LZMA: Final = 14
"""Methods of a ZIP. Source: PKWARE, APPNOTE.TXT, 4.4.5."""
TAR: Final = -1
"""A member of a plain TAR: its bytes are a part of the archive."""
COMPRESSED_TAR: Final = -2
"""A member of a compressed TAR: it can only be read by decompressing all that is before it."""

_SECOND_NS: Final = 1_000_000_000


class Member(Struct, frozen=True):
    """A file within an archive.

    Attributes:
        archive: Path of the archive, as bytes.
        archive_bytes: Size of the archive when it was listed.
        archive_mtime_ns: Its time when it was listed.
        offset: Of the local header in a ZIP, of the data in a TAR; in the decompressed stream of a compressed TAR.
        packed_bytes: Size within the archive.
        size_bytes: Size as the archive declares it.
        method: Of a ZIP, or `TAR`, or `COMPRESSED_TAR`.
        crc: CRC-32 of the content; 0 in a TAR, which has none.
        refusal: Why it is not read; empty when it is.
    """

    archive: bytes
    archive_bytes: int
    archive_mtime_ns: int
    offset: int
    packed_bytes: int
    size_bytes: int
    method: int
    crc: int = 0
    refusal: str = ""

    @property
    def mtime_ns(self) -> int:
        """The archive's time to the second, and below it a digest of all that shows a change of the member.

        So a member counts as unchanged by size and time, as a file does, while neither the archive's size and time nor
        the member's place and CRC-32 differ.
        """
        facts = (self.archive_bytes, self.archive_mtime_ns, self.offset, self.packed_bytes, self.method, self.crc)
        digest = hashlib.blake2b(repr(facts).encode(), digest_size=8).digest()
        return self.archive_mtime_ns - self.archive_mtime_ns % _SECOND_NS + int.from_bytes(digest, "big") % _SECOND_NS

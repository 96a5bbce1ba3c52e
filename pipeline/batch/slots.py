"""The slots of a run: they bound how many files, and how many bytes of them, are in flight."""

from typing import Final

import anyio

_BYTES_IN_MEMORY_PER_FILE_BYTE: Final = 3.0
"""The file, its base64 (4/3) and the request body that is being built."""


class Slots:
    """The slots of a run.

    Args:
        jobs: Files in flight at a time.
        max_bytes: Memory that they may hold together; a larger file goes alone.
    """

    def __init__(self, jobs: int, max_bytes: int) -> None:
        self._jobs = jobs
        self._max_bytes = max_bytes
        self._free = anyio.Semaphore(jobs, fast_acquire=True)
        self._held_bytes = 0
        self._changed = anyio.Event()

    def __repr__(self) -> str:
        return f"<Slots {self.taken} of {self._jobs} taken, {self._held_bytes} bytes>"

    @property
    def taken(self) -> int:
        """Number of slots that are taken."""
        return self._jobs - self._free.value

    async def take(self, file_bytes: int) -> "Slot":
        """Return a slot once one is free and the file fits into the memory that is left."""
        slot = Slot(self, min(int(file_bytes * _BYTES_IN_MEMORY_PER_FILE_BYTE), self._max_bytes))
        await slot.retake()
        return slot

    async def acquire(self, size: int) -> None:
        """Wait for a slot and for memory; only `Slot` calls this."""
        await self._free.acquire()
        try:
            while self._held_bytes + size > self._max_bytes:
                await self._changed.wait()
        except BaseException:
            self._free.release()
            raise
        self._held_bytes += size

    def release(self, size: int) -> None:
        """Free a slot; only `Slot` calls this."""
        self._held_bytes -= size
        self._free.release()
        self._changed.set()
        self._changed = anyio.Event()


class Slot:
    """The slot of one file; may be released early and taken again."""

    def __init__(self, slots: Slots, size: int) -> None:
        self._slots = slots
        self._size = size
        self._held = False

    def __repr__(self) -> str:
        return f"<Slot {self._size} bytes, {'held' if self._held else 'released'}>"

    async def retake(self) -> None:
        """Take the slot again; does nothing while it is held."""
        if not self._held:
            await self._slots.acquire(self._size)
            self._held = True

    def release(self) -> None:
        """Free the slot for another file; does nothing when it is free."""
        if self._held:
            self._held = False
            self._slots.release(self._size)

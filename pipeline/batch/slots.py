"""The slots of a run: they bound how many files, and how many bytes of them, are in flight."""

from typing import Final

import anyio

_BYTES_IN_MEMORY_PER_FILE_BYTE: Final = 3.0
"""The file, its base64 (4/3) and the request body that is being built."""


def bytes_in_memory(file_bytes: int, max_bytes: int) -> int:
    """Return the memory, of at most `max_bytes`, that a file in flight takes."""
    return min(int(file_bytes * _BYTES_IN_MEMORY_PER_FILE_BYTE), max_bytes)


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
        self._waiting_for_memory = 0
        self._changed = anyio.Event()

    def __repr__(self) -> str:
        return f"<Slots {self.taken} of {self._jobs} taken, {self._held_bytes} bytes>"

    @property
    def taken(self) -> int:
        """Number of slots that are taken."""
        return self._jobs - self._free.value

    async def take(self, file_bytes: int) -> "Slot":
        """Return a slot once one is free and the file fits into the memory that is left."""
        slot = Slot(self, bytes_in_memory(file_bytes, self._max_bytes))
        await slot.retake()
        return slot

    def has_idle(self, size: int) -> bool:
        """Return whether a slot with this much memory is free, and no file waits for either."""
        return self._free.value > 0 and not self._waiting_for_memory and self._held_bytes + size <= self._max_bytes

    def take_idle(self, size: int) -> "Slot":
        """Return a slot that is idle: call only when `has_idle`."""
        self._free.acquire_nowait()
        self._held_bytes += size
        return Slot(self, size, is_held=True)

    async def acquire(self, size: int) -> None:
        """Wait for a slot and for memory; only `Slot` calls this."""
        await self._free.acquire()
        self._waiting_for_memory += 1
        try:
            while self._held_bytes + size > self._max_bytes:
                await self._changed.wait()
        except BaseException:
            self._free.release()
            raise
        finally:
            self._waiting_for_memory -= 1
        self._held_bytes += size

    def release(self, size: int) -> None:
        """Free a slot; only `Slot` calls this."""
        self._free.release()
        self.give_back(size)

    def give_back(self, size: int) -> None:
        """Free memory; only `Slot` calls this."""
        self._held_bytes -= size
        self._changed.set()
        self._changed = anyio.Event()


class Slot:
    """The slot of one file; may be released early and taken again."""

    def __init__(self, slots: Slots, size: int, *, is_held: bool = False) -> None:
        self._slots = slots
        self._size = size
        self._held = is_held

    def __repr__(self) -> str:
        return f"<Slot {self._size} bytes, {'held' if self._held else 'released'}>"

    async def retake(self) -> None:
        """Take the slot again; does nothing while it is held."""
        if not self._held:
            await self._slots.acquire(self._size)
            self._held = True

    def shrink(self, size: int) -> None:
        """Give memory beyond this size back; does nothing when the slot has no more."""
        if size < self._size:
            if self._held:
                self._slots.give_back(self._size - size)
            self._size = size

    def release(self) -> None:
        """Free the slot for another file; does nothing when it is free."""
        if self._held:
            self._held = False
            self._slots.release(self._size)

"""The key store for the event loop: one thread owns the file, and concurrent calls share a commit."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pipeline.server.access.keys import Key, KeyStore, is_well_formed_key
from pipeline.storage.group_commit import GroupCommit

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Operation:
    run: Callable[[KeyStore], None]
    writes: bool


class Keyring:
    """The keys of a store, which another process may create while the server runs.

    Every lookup reads the file, so that a key that another process adds or revokes takes effect at the next request.

    Args:
        path: The key store; the file may be missing.

    Attributes:
        path: The key store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._store: KeyStore | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keys")
        self._groups: GroupCommit[_Operation, None] = GroupCommit(self._commit)

    def __repr__(self) -> str:
        return f"<Keyring {self.path.name}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        finally:
            self._thread.shutdown(wait=False)

    async def is_empty(self) -> bool:
        """Return whether no key was ever made."""
        return await self._read(KeyStore.is_empty, without_store=True)

    async def has_valid_key(self) -> bool:
        """Return whether a key exists that is not revoked."""
        return await self._read(KeyStore.has_valid_key, without_store=False)

    async def find(self, secret: str) -> Key | None:
        """Return the valid key with this secret."""
        if not is_well_formed_key(secret):
            return None
        return _valid(await self._read(lambda store: store.find(secret), without_store=None))

    async def find_by_id(self, key_id: str) -> Key | None:
        """Return the valid key with this id."""
        return _valid(await self._read(lambda store: store.find_by_id(key_id), without_store=None))

    async def used(self, key_id: str, month: str) -> int:
        """Return the number of calls of a key in a month."""
        return await self._read(lambda store: store.used(key_id, month), without_store=0)

    async def take_call(self, key_id: str, month: str) -> bool:
        """Count one call, durably, if the key is valid and its quota is not used up."""
        return await self._write(lambda store: store.take_call(key_id, month))

    async def refund_call(self, key_id: str, month: str) -> None:
        """Subtract one call from the count."""
        await self._write(lambda store: store.refund_call(key_id, month))

    async def _read(self, query: Callable[[KeyStore], _T], *, without_store: _T) -> _T:
        """Return the result of a query, or this value while the file is missing."""
        return await self._submit(query, writes=False) if self._store or self.path.exists() else without_store

    async def _write(self, change: Callable[[KeyStore], _T]) -> _T:
        return await self._submit(change, writes=True)

    async def _submit(self, operation: Callable[[KeyStore], _T], *, writes: bool) -> _T:
        results: list[_T] = []
        await self._groups.submit(_Operation(lambda store: results.append(operation(store)), writes))
        return results[0]

    def _commit(self, group: Sequence[_Operation]) -> "asyncio.Future[Sequence[None]]":
        return asyncio.get_running_loop().run_in_executor(self._thread, self._apply, group)

    def _apply(self, group: Sequence[_Operation]) -> Sequence[None]:
        if self._store is None:
            self._store = KeyStore(self.path)
        with self._store.transaction() if any(item.writes for item in group) else self._store.reading():
            for item in group:
                item.run(self._store)
        return [None] * len(group)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()


def _valid(key: Key | None) -> Key | None:
    return key if key is not None and key.revoked is None else None

"""The key store as the event loop sees it: one thread holds the file, and calls that come together share a commit."""

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
    """The keys of a store that may not be there yet: another process may make it, and the first key in it.

    Each answer is read from the file, so that what another process adds or revokes holds from then on.

    Args:
        path: Where the store lies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store: KeyStore | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keys")
        self._groups: GroupCommit[_Operation, None] = GroupCommit(self._commit)

    def __repr__(self) -> str:
        return f"<Keyring {self._path.name}>"

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
        return await self._read(KeyStore.is_empty, otherwise=True)

    async def find(self, secret: str) -> Key | None:
        """Return the good key with this secret."""
        if not is_well_formed_key(secret):
            return None
        return _good(await self._read(lambda store: store.find(secret), otherwise=None))

    async def find_id(self, key_id: str) -> Key | None:
        """Return the good key with this id."""
        return _good(await self._read(lambda store: store.find_id(key_id), otherwise=None))

    async def used(self, key_id: str, month: str) -> int:
        """Return the calls of a key in a month."""
        return await self._read(lambda store: store.used(key_id, month), otherwise=0)

    async def take(self, key_id: str, month: str) -> bool:
        """Count one more call, durably, if the key is good and the month has room for it."""
        return await self._write(lambda store: store.take(key_id, month))

    async def give_back(self, key_id: str, month: str) -> None:
        """Take one call off the count."""
        await self._write(lambda store: store.give_back(key_id, month))

    async def _read(self, ask: Callable[[KeyStore], _T], *, otherwise: _T) -> _T:
        """Return the store's answer, or what holds where there is no store."""
        return await self._submit(ask, writes=False) if self._store or self._path.exists() else otherwise

    async def _write(self, change: Callable[[KeyStore], _T]) -> _T:
        return await self._submit(change, writes=True)

    async def _submit(self, ask: Callable[[KeyStore], _T], *, writes: bool) -> _T:
        answers: list[_T] = []
        await self._groups.submit(_Operation(lambda store: answers.append(ask(store)), writes))
        return answers[0]

    def _commit(self, group: Sequence[_Operation]) -> "asyncio.Future[Sequence[None]]":
        return asyncio.get_running_loop().run_in_executor(self._thread, self._apply, group)

    def _apply(self, group: Sequence[_Operation]) -> Sequence[None]:
        if self._store is None:
            self._store = KeyStore(self._path)
        with self._store.transaction() if any(item.writes for item in group) else self._store.reading():
            for item in group:
                item.run(self._store)
        return [None] * len(group)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()


def _good(key: Key | None) -> Key | None:
    return key if key is not None and key.revoked is None else None

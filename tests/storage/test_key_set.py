"""A set on disk."""

from contextlib import closing

from pipeline.storage.key_set import KeySet


def test_a_key_is_added_once() -> None:
    with closing(KeySet()) as keys:
        assert [keys.add(key) for key in (b"a", b"b", b"a", b"", b"")] == [True, True, False, True, False]

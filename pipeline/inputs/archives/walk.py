"""Walks an archive as if it were a directory: the same rules decide about its names."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from pipeline.inputs.archives.catalogue import MOST_NAMED, Catalogue, open_catalogue
from pipeline.inputs.archives.entries import NotAnArchiveError
from pipeline.inputs.archives.lookup import split_path
from pipeline.inputs.archives.tar_listing import PAGE
from pipeline.inputs.kinds import (
    SYSTEM_FOLDER,
    SYSTEM_FOLDERS,
    NameClass,
    is_archive_name,
    kind_of_name,
)
from pipeline.inputs.listings import Listing
from pipeline.inputs.selection import Inputs, Selection, relative_path
from pipeline.members import Member

NESTED_ARCHIVE: Final = "nested archive"
_MEMBERS_PER_LISTING: Final = 1024


def list_archive(path: str, top: str, inputs: Inputs, selection: Selection) -> Iterator[Listing]:
    """List the members of an archive, or below a folder in one: up to some number of one folder's per step.

    Args:
        path: Absolute path of the archive, or of the folder in it.
        top: As for `walk_directory`; so are the others.
        inputs: The same.
        selection: When its pattern matches the archive itself, all pages in the archive are selected.

    Raises:
        NotAnArchiveError: the path leads to or through a file that is no archive.
        NoDescriptorsError: the process has no file descriptor left.
    """
    try:
        found = split_path(path)
        if found is None:
            raise NotAnArchiveError
        archive, inner = found
        catalogue = open_catalogue(archive)
    except OSError as exc:
        yield Listing(path, [], frozenset(), [], {}, exc.strerror or str(exc), is_archive=True)
        return
    if selection.pattern is not None and selection.pattern.matches(relative_path(top, archive)):
        selection = Selection(selection.include, selection.exclude)
    walk = _Walk(archive, inner, top=top, inputs=inputs, selection=selection, catalogue=catalogue)
    yield from walk.run()


class _Walk:
    """One walk of an archive, with the folder that it is in."""

    def __init__(
        self, archive: str, inner: str, *, top: str, inputs: Inputs, selection: Selection, catalogue: Catalogue
    ) -> None:
        self._archive = archive
        self._root = str(inputs.root)
        self._top = top
        self._selection = selection
        self._catalogue = catalogue
        self._inner = inner
        self._folders = {"": True, inner: True}
        """Whether a folder is listed, for the folders on the way to the current one."""
        self._ignored = Counter(catalogue.ignored)
        self._name = inputs.source_name(archive)
        self._notes = [self._note(name, reason) for name, reason in catalogue.refused]
        self._files: list[str] = []
        self._undecided: list[str] = []
        self._members: list[Member] = []

    def run(self) -> Iterator[Listing]:
        current = ""
        for name, member, content_kind in self._catalogue.below(self._inner):
            folder, _, base = name.rpartition("/")
            if self._files and (folder != current or len(self._files) == _MEMBERS_PER_LISTING):
                yield self._end_listing(current)
            current = folder
            if self._is_listed(folder) and not base.startswith("."):
                self._add(f"{self._archive}/{name}", base, member, content_kind)
        yield self._end_listing(current)
        if self._catalogue.fault is not None:
            yield Listing(self._archive, [], frozenset(), [], {}, self._catalogue.fault, is_archive=True)

    def _note(self, name: str, reason: str) -> str:
        return f"{self._name}: {name!a}: {reason}; ignored"

    def _is_listed(self, folder: str) -> bool:
        known = self._folders.get(folder)
        if known is None:
            parent, _, base = folder.rpartition("/")
            known = self._is_listed(parent) and not base.startswith(".")
            if known:
                known = self._selection.may_hold_pages(*self._names(f"{self._archive}/{folder}"))
            if known and base.casefold() in SYSTEM_FOLDERS:
                self._ignored[SYSTEM_FOLDER] += 1
                known = False
            if len(self._folders) > _MEMBERS_PER_LISTING:  # the walk comes back to few of them
                self._folders = {"": True, self._inner: True}
            self._folders[folder] = known
        return known

    def _names(self, path: str) -> tuple[str, str]:
        return relative_path(self._root, path), relative_path(self._top, path)

    def _add(self, path: str, base: str, member: Member, content_kind: str) -> None:
        says = self._selection.class_of(*self._names(path))
        if says is NameClass.LEFT_OUT:
            return
        if is_archive_name(base) and says is NameClass.UNDECIDED:
            self._ignored[NESTED_ARCHIVE] += 1
            if self._ignored[NESTED_ARCHIVE] <= MOST_NAMED:
                name = relative_path(self._archive, path)
                self._notes.append(self._note(name, "an archive within an archive; unpack it"))
        elif says is NameClass.IGNORED:
            self._ignored[kind_of_name(base)] += 1
        elif says is NameClass.UNDECIDED and content_kind not in {"", PAGE}:
            self._ignored[content_kind] += 1
        else:
            self._files.append(base)
            self._members.append(member)
            if says is NameClass.UNDECIDED and not content_kind:
                self._undecided.append(base)

    def _end_listing(self, folder: str) -> Listing:
        path = f"{self._archive}/{folder}" if folder else self._archive
        undecided = frozenset(self._undecided)
        listing = Listing(
            path, self._files, undecided, [], self._ignored, None, self._members, self._notes, is_archive=True
        )
        self._files, self._undecided, self._members = [], [], []
        self._ignored, self._notes = Counter(), []
        return listing

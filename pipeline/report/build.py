"""Builds the report of a workspace: a folder that opens from disk and from a web server."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from itertools import chain, pairwise
from pathlib import Path
from typing import Final

from markupsafe import Markup

from pipeline.report.changes import Changes
from pipeline.report.data_files import DataFiles
from pipeline.report.entries import details_of, row_of
from pipeline.report.folder import ReportFolder, write_file
from pipeline.report.overview import Overview
from pipeline.report.overview_html import render_overview
from pipeline.report.pages import ReportPage, read_pages
from pipeline.report.pictures import Picture, PictureChoice, PictureKind, Pictures
from pipeline.report.reviews import results_bytes
from pipeline.report.thumbnails import Thumbnails
from pipeline.web.assets import STATIC, load_assets
from pipeline.web.bundle import bundle_modules
from pipeline.web.names import shown
from pipeline.web.pages import render, style
from pipeline.workspace.run_file import RunFile
from pipeline.workspace.snapshot import open_snapshot

_STATIC: Final = resources.files("pipeline.report") / "static"
_ENTRY: Final = "report.js"
_ICON: Final = "icon.svg"


@dataclass(frozen=True, slots=True)
class ShownPage:
    """A page of the report, as its server needs it.

    Attributes:
        source: The bytes of the source's name.
        page: 1-based.
        id: Identity of its content; None when that could not be read.
        kind: What its picture is.
        path: The file that its picture is, if it is one.
    """

    source: bytes
    page: int
    id: str | None
    kind: PictureKind
    path: Path | None

    def source_bytes(self) -> bytes:
        """Return the bytes of the source's name, as lines do."""
        return self.source


@dataclass(slots=True)
class Built:
    """What a report has.

    Attributes:
        pages: Number of pages.
        linked: Pages whose file is linked where it is.
        made: Pages whose picture is in the report.
        unshown: Pages whose picture only `--serve` or another choice of pictures shows.
        missing: Pages whose picture is not there, or would be of another content than the text.
        changed: Pages whose file has changed since it was read.
        build: Name of the directory that `index.html` names: other builds may have other pages by the same numbers.
        start_bytes: Size of the records when the report was begun.
        shown: Each page in the order of the report, if that was asked for.
    """

    pages: int = 0
    linked: int = 0
    made: int = 0
    unshown: int = 0
    missing: int = 0
    changed: int = 0
    build: str = ""
    start_bytes: int = 0
    shown: list[ShownPage] = field(default_factory=list, repr=False)


@dataclass(frozen=True, slots=True)
class ReportJob:
    """What is built.

    Attributes:
        workspace: The directory given to `-o`.
        destination: The report's folder.
        run_file: The workspace's run.json.
        overview: The first view.
        choice: Which pictures the report has.
        thumbnails: Whether the list has thumbnails.
        keeps_pages: Whether `Built.shown` is filled.
    """

    workspace: Path
    destination: Path
    run_file: RunFile
    overview: Overview
    choice: PictureChoice = "link"
    thumbnails: bool = False
    keeps_pages: bool = False


def build_report(job: ReportJob, tick: Callable[[], object]) -> Built:
    """Build the report; a killed build leaves the last one.

    Args:
        job: What is built.
        tick: Called for each page, and once more for pictures and for thumbnails that are made.

    Raises:
        UsageError: the destination holds something else, or another build writes it.
        StorageError: the workspace cannot be read, or the report not be written.
    """
    start_bytes = results_bytes(job.workspace)
    with ReportFolder(job.destination, job.run_file.workspace_id) as folder:
        thumbnails = Thumbnails(job.destination, is_wanted=job.thumbnails)
        with open_snapshot(job.workspace) as index:
            changes = Changes(job.run_file.root, index.inventory.stat_of)
            pictures = Pictures(changes, job.destination, job.choice)
            pictures.make(job.workspace, _with_pictures(read_pages(job.workspace, index), pictures), tick)
            thumbnails.make(job.workspace, read_pages(job.workspace, index), tick)
            files = DataFiles(folder.build)
            built = _write_data(
                job, _with_pictures(read_pages(job.workspace, index), pictures), thumbnails, files, tick
            )
        write_file(folder.build / "report.css", _read_style())
        write_file(folder.build / "report.js", read_script().encode())
        write_file(folder.build / _ICON, (STATIC / _ICON).read_bytes())
        folder.finish(_render(job, folder.build.name).encode())
        pictures.remove_others()
        thumbnails.remove_others()
    built.build, built.start_bytes = folder.build.name, start_bytes
    return built


def read_script() -> str:
    """Return the report's script: all its modules as one, since browsers load no modules from `file://`."""
    assets = load_assets(STATIC, _STATIC)
    return bundle_modules(_ENTRY, {name: asset.body.decode() for name, asset in assets.items() if name.endswith(".js")})


def _read_style() -> bytes:
    return f"{style()}\n{(_STATIC / 'report.css').read_text('utf-8')}".encode()


def _render(job: ReportJob, build: str) -> Markup:
    overview = job.overview
    name = shown(job.workspace.absolute().name or str(job.workspace))
    lead = f"{overview.taken:%Y-%m-%d %H:%M} {overview.calendar.timezone}. Service: {shown(job.run_file.service)}."
    return render("report.html", title=name, lead=[lead], build=build, overview=render_overview(overview))


def _with_pictures(pages: Iterable[ReportPage], pictures: Pictures) -> Iterator[tuple[ReportPage, Picture]]:
    """Yield each page with its picture; a file may have very many, of which two are held."""
    before: bytes | None = None
    for page, following in pairwise(chain[ReportPage | None](pages, [None])):
        assert page is not None
        is_only_page = page.source != before and (following is None or page.source != following.source)
        before = page.source
        yield page, pictures.find(page, is_only_page=is_only_page)


def _write_data(
    job: ReportJob,
    pages: Iterable[tuple[ReportPage, Picture]],
    thumbnails: Thumbnails,
    files: DataFiles,
    tick: Callable[[], object],
) -> Built:
    built = Built()
    for page, picture in pages:
        row = row_of(page, thumbnails.find(page), has_changed=picture.has_changed)
        files.add(row, page.text, details_of(page, picture))
        _count(built, picture)
        if job.keeps_pages:
            built.shown.append(ShownPage(page.source, page.page, page.id, picture.kind, picture.path))
        tick()
    about = {
        "workspace": job.run_file.workspace_id,
        "built": int(datetime.now(UTC).timestamp()),
        "name": shown(job.workspace.absolute().name),
    }
    files.close(about)
    return built


def _count(built: Built, picture: Picture) -> None:
    built.pages += 1
    built.changed += picture.has_changed
    if picture.url is not None:
        is_linked = picture.kind is PictureKind.FILE and picture.url.startswith("../")
        built.linked += is_linked
        built.made += not is_linked
    elif picture.note:
        built.missing += 1
    else:
        built.unshown += 1

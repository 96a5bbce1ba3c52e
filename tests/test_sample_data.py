"""The sample pages are what their README says, and `make.py` makes them."""

import csv
import hashlib
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

SAMPLES = Path(__file__).parents[1] / "sample_data"
EXIF_PAGE = "photos/zh-minutes-exif6.jpg"
SIDEWAYS_PAGE = "journals/zh-journal-sideways.jpg"
ORIENTATION_TAG = 0x0112
# Mean grey levels: none on the fonts and Pillow it was made with; another release may smooth letters differently.
RENDERING_TOLERANCE = 1.0

with (SAMPLES / "manifest.csv").open(encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file))
PATHS = [row["path"] for row in ROWS]


@pytest.fixture(scope="module")
def make() -> ModuleType:
    """The script, imported."""
    spec = importlib.util.spec_from_file_location("sample_data_make", SAMPLES / "make.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def truth_of(path: str) -> str:
    """Return the true text of a page."""
    return (SAMPLES / "truth" / f"{path}.txt").read_text(encoding="utf-8")


def upright_size(path: str) -> tuple[int, int]:
    """Return a page's size in px, its EXIF orientation applied."""
    with Image.open(SAMPLES / path) as image:
        return ImageOps.exif_transpose(image).size


def difference(left: Path, right: Path) -> float:
    """Return the mean difference of two images in grey levels; the largest there is for other sizes."""
    with Image.open(left) as a, Image.open(right) as b:
        if a.size != b.size:
            return 255.0
        return ImageStat.Stat(ImageChops.difference(a.convert("L"), b.convert("L"))).mean[0]


def test_manifest_names_every_page_once() -> None:
    """Each image in the tree is a row, and each row an image."""
    images = {
        path.relative_to(SAMPLES).as_posix()
        for path in SAMPLES.rglob("*")
        if path.suffix in {".jpg", ".png", ".gif", ".webp", ".bmp", ".tif"}
    }
    assert sorted(PATHS) == sorted(images)


def test_manifest_starts_with_path_collection_and_language() -> None:
    """The columns after the path are metadata."""
    assert list(ROWS[0])[:3] == ["path", "collection", "language"]


def test_every_page_has_truth_and_no_truth_is_left_over() -> None:
    """One truth a page, by the same name."""
    truths = {path.relative_to(SAMPLES / "truth").as_posix() for path in (SAMPLES / "truth").rglob("*.txt")}
    assert truths == {f"{path}.txt" for path in PATHS}


def test_only_the_blank_page_has_no_text() -> None:
    """Its truth is an empty file."""
    assert [path for path in PATHS if not truth_of(path)] == ["journals/blank-back.png"]


def test_no_truth_contains_markup() -> None:
    """Marks of `pages.toml` were turned into layout, not printed."""
    assert not [path for path in PATHS if set("|#>\\\t") & set(truth_of(path))]


def test_readme_lists_every_page() -> None:
    """The table has a row for each file."""
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert [path for path in PATHS if f"| `{path}` |" not in readme] == []


def test_samples_are_few_and_small() -> None:
    """12 to 20 pages, below 8 MB in all."""
    assert 12 <= len(PATHS) <= 20
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 8_000_000


def test_formats_cover_what_the_service_takes_and_what_it_does_not() -> None:
    """JPEG, PNG, GIF and WebP are sent; BMP and TIFF are converted."""
    formats = set()
    for path in PATHS:
        with Image.open(SAMPLES / path) as image:
            formats.add(image.format)
            assert getattr(image, "n_frames", 1) == 1
    assert formats == {"JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"}


def test_languages_are_chinese_english_and_both() -> None:
    """Blank pages have none."""
    assert {row["language"] for row in ROWS} == {"zh", "en", "en+zh", ""}


def test_exactly_one_page_is_there_twice() -> None:
    """The same bytes under two names."""
    copies = Counter(hashlib.sha256((SAMPLES / path).read_bytes()).hexdigest() for path in PATHS)
    assert sorted(copies.values())[-2:] == [1, 2]


def test_exactly_one_page_is_above_the_largest_size() -> None:
    """The service takes 4000 px at most."""
    assert [path for path in PATHS if max(upright_size(path)) > 4000] == ["photos/en-wall-panel-large.jpg"]


def test_exactly_one_page_is_below_the_smallest_size() -> None:
    """The service takes 100 px at least."""
    assert [path for path in PATHS if min(upright_size(path)) < 100] == ["labels/en-zh-box-label.png"]


def test_only_the_phone_photo_has_an_exif_orientation() -> None:
    """The page that lies on its side has no tag that says so."""
    tagged = {}
    for path in PATHS:
        with Image.open(SAMPLES / path) as image:
            if orientation := image.getexif().get(ORIENTATION_TAG):
                tagged[path] = orientation
    assert tagged == {EXIF_PAGE: 6}


@pytest.mark.parametrize("path", ["letters/en-letter.png", SIDEWAYS_PAGE, "labels/馆藏说明.png"])
def test_make_renders_the_page_that_is_here(path: str, make: ModuleType, tmp_path: Path) -> None:
    """Pixels and truth are those in the tree; another page's pixels would not do."""
    page = next(page for page in make.load_pages() if page.path == path)
    make.make_page(page, tmp_path)
    assert difference(tmp_path / path, SAMPLES / path) <= RENDERING_TOLERANCE
    assert (tmp_path / "truth" / f"{path}.txt").read_text(encoding="utf-8") == truth_of(path)
    make.make_page(make.Page(path=path, collection="", language="", title="", year=0, text=""), tmp_path)
    assert difference(tmp_path / path, SAMPLES / path) > RENDERING_TOLERANCE


def test_make_writes_the_same_bytes_twice(make: ModuleType, tmp_path: Path) -> None:
    """Nothing in a page depends on the clock or on chance."""
    page = next(page for page in make.load_pages() if page.path == "catalogue/zh-catalogue-card.webp")
    for name in ("one", "two"):
        make.make_page(page, tmp_path / name)
    assert (tmp_path / "one" / page.path).read_bytes() == (tmp_path / "two" / page.path).read_bytes()


def test_make_turns_pixels_as_the_tag_says(make: ModuleType, tmp_path: Path) -> None:
    """With its EXIF orientation applied the photo is the upright rendering."""
    page = next(page for page in make.load_pages() if page.path == EXIF_PAGE)
    upright = make.age(page, make.draw_ink(page))
    upright.save(tmp_path / "upright.png")
    with Image.open(SAMPLES / EXIF_PAGE) as stored:
        ImageOps.exif_transpose(stored).save(tmp_path / "stored.png")
    assert difference(tmp_path / "upright.png", tmp_path / "stored.png") < 5  # JPEG's loss


def test_make_writes_the_manifest_that_is_here(make: ModuleType, tmp_path: Path) -> None:
    """The manifest is derived from `pages.toml`."""
    make.write_manifest(make.load_pages(), tmp_path / "manifest.csv")
    assert (tmp_path / "manifest.csv").read_bytes() == (SAMPLES / "manifest.csv").read_bytes()


def test_a_missing_font_names_its_package(make: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is the command that helps."""
    face = make.Face("/nowhere.ttf", "/nowhere.ttf", 0, "Nowhere", "fonts-nowhere")
    monkeypatch.setitem(make.FACES, "nowhere", face)
    with pytest.raises(make.MissingFontError, match="apt-get install fonts-nowhere"):
        make.load_font("nowhere", 20)


@pytest.mark.parametrize("text", ["wide " * 100, "tall\n" * 100, "left cell is too wide | x"], ids=lambda t: t[:4])
def test_text_that_leaves_the_page_is_an_error(text: str, make: ModuleType) -> None:
    """A truth never says more than the page shows."""
    page = make.Page(path="x.png", collection="", language="", title="", year=0, text=text, size_px=(400, 400))
    with pytest.raises(make.OverfullPageError):
        make.draw_ink(page)

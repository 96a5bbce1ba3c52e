"""INPUTs, path names, URLs, globs and selections."""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.inputs.kinds import IMAGE_SUFFIXES, NameClass
from pipeline.inputs.selection import (
    Inputs,
    Selection,
    absolute_path,
    compile_glob,
    find_fault,
    join_path,
    parse_input,
    relative_path,
    split_glob,
)

NAMES = st.text("ab.[*\n", min_size=1, max_size=3).filter(lambda name: name not in {".", ".."})
PATHS = st.lists(NAMES, min_size=1, max_size=5)
PATTERN_PARTS = st.sampled_from(["a", "b", "*", "?", "a*", "*b", "[ab]", "[!a]", "[*]", "**", "**", "[", "a?*"])
PATTERNS = st.lists(PATTERN_PARTS, min_size=1, max_size=5)


def match_slowly(pattern: list[str], path: list[str]) -> bool:
    """Match by the definition of a glob, trying all ways."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return match_slowly(pattern[1:], path) or (bool(path) and match_slowly(pattern, path[1:]))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and match_slowly(pattern[1:], path[1:])


@given(PATTERNS, PATHS)
def test_a_glob_matches_as_its_definition_says(pattern: list[str], path: list[str]) -> None:
    glob = compile_glob("/".join(pattern), anchored=True)
    assert glob.matches("/".join(path)) == match_slowly(pattern, path)


@given(PATTERNS, PATHS)
def test_no_directory_above_a_match_is_pruned(pattern: list[str], path: list[str]) -> None:
    glob = compile_glob("/".join(pattern), anchored=True)
    if glob.matches("/".join(path)):
        assert all(glob.may_match_below("/".join(path[:depth])) for depth in range(1, len(path)))


@given(PATTERN_PARTS, PATHS)
def test_a_pattern_without_a_slash_matches_the_base_name_at_any_depth(pattern: str, path: list[str]) -> None:
    assert compile_glob(pattern).matches("/".join(path)) == match_slowly([pattern], path[-1:])


def test_many_double_stars_need_no_backtracking() -> None:
    """A matcher that backtracks would take years."""
    assert not compile_glob("**/a/" * 30 + "b").matches("/".join("a" * 200))


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        pytest.param("*.png", "x/y/1.png", True, id="base-name"),
        pytest.param("x/*.png", "x/y/1.png", False, id="a-star-stays-within-a-name"),
        pytest.param("x/**/1.png", "x/1.png", True, id="two-stars-span-nothing"),
        pytest.param("x/**/1.png", "x/a/b/1.png", True, id="two-stars-span-directories"),
        pytest.param("/x.png", "y/x.png", False, id="a-leading-slash-anchors"),
        pytest.param("./x/*.png", "x/1.png", True, id="a-leading-dot-is-nothing"),
        pytest.param("drafts/", "a/drafts/b/1.png", True, id="a-trailing-slash-is-everything-below"),
        pytest.param("*.PNG", "1.png", False, id="case-counts"),
        pytest.param("[0-9]?.png", "12.png", True, id="class"),
        pytest.param("*.png", "a\nb.png", True, id="newline-in-the-name"),
        pytest.param("*.png", "\udcff.png", True, id="not-utf-8"),
        pytest.param("", "a", False, id="empty"),
    ],
)
def test_a_glob_matches_what_users_expect(pattern: str, path: str, matches: bool) -> None:  # noqa: FBT001
    """As in gitignore files and shells."""
    assert compile_glob(pattern).matches(path) is matches


def test_without_globs_the_suffix_decides_in_any_case() -> None:
    selection = Selection.from_globs()
    assert all(selection.class_of(f"a{suffix.upper()}", f"a{suffix}") is NameClass.PAGE for suffix in IMAGE_SUFFIXES)
    assert selection.class_of("a.xml", "a.xml") is NameClass.IGNORED
    assert selection.class_of("png", "png") is NameClass.UNDECIDED


def test_include_decides_instead_of_the_suffix_and_exclude_wins() -> None:
    selection = Selection.from_globs(["*.jp2"], ["drafts"])
    assert selection.class_of("a/1.jp2", "1.jp2") is NameClass.PAGE
    assert selection.class_of("a/1.png", "1.png") is NameClass.LEFT_OUT
    assert not selection.may_hold_pages("a/drafts", "drafts")
    assert Selection.from_globs(exclude=["a/*.png"]).class_of("a/1.png", "1.png") is NameClass.LEFT_OUT


@pytest.mark.parametrize("pattern", ["drafts", "drafts/", "drafts/**", "**/drafts/**", "dra*"])
def test_exclude_prunes_the_directory(pattern: str) -> None:
    """With every way to name a whole directory."""
    assert not Selection.from_globs(exclude=[pattern]).may_hold_pages("drafts", "drafts")


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        pytest.param("*", "1.png", NameClass.PAGE, id="image"),
        pytest.param("*", "Thumbs.db", NameClass.IGNORED, id="no-image"),
        pytest.param("*.*", "Thumbs.db", NameClass.IGNORED, id="any-suffix-is-no-suffix"),
        pytest.param("*.jp2", "1.jp2", NameClass.PAGE, id="the-pattern-names-the-suffix"),
        pytest.param("v1.0/*", "1.xml", NameClass.IGNORED, id="a-dot-in-a-directory-is-no-suffix"),
    ],
)
def test_a_glob_input_admits_other_suffixes_only_by_name(pattern: str, name: str, expected: NameClass) -> None:
    """`scans/*` selects images; `scans/*.jp2` selects JPEG 2000 files."""
    folder = pattern.rpartition("/")[0]
    assert Selection.from_globs(pattern=pattern).class_of(name, join_path(folder, name).lstrip("/")) is expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a/b.png", None),
        ("*.png", ("", "*.png")),
        ("/*.png", ("/", "*.png")),
        ("/a/b/*/c.png", ("/a/b", "*/c.png")),
        ("a/v[12]/**", ("a", "v[12]/**")),
    ],
)
def test_a_glob_is_split_after_its_fixed_prefix(text: str, parts: tuple[str, str] | None) -> None:
    assert split_glob(text) == parts


@pytest.mark.parametrize(
    ("base", "path", "result"),
    [
        ("/a", "b.png", "/a/b.png"),
        ("/a", "./b//c/../d.png", "/a/b/d.png"),
        ("/a", "/x/y", "/x/y"),
        ("/", "b", "/b"),
        ("/a", "//x", "/x"),
        ("/a", "", "/a"),
        ("/a", "../../..", "/"),
    ],
)
def test_a_file_has_one_absolute_path(base: str, path: str, result: str) -> None:
    """However its path is written."""
    assert absolute_path(base, path) == result


@given(PATHS, PATHS)
def test_relative_path_undoes_join_path(directory: list[str], path: list[str]) -> None:
    base = "/" + "/".join(directory)
    assert relative_path(base, join_path(base, "/".join(path))) == "/".join(path)


def test_files_outside_the_root_keep_their_absolute_path() -> None:
    """A directory whose name begins with the root's name is outside."""
    inputs = Inputs(Path("/data/scans"), ())
    assert inputs.source_name("/data/scans/a/1.png") == "a/1.png"
    assert inputs.source_name("/data/scans-2/1.png") == "/data/scans-2/1.png"
    assert inputs.source_name("/data/scans") == "."
    assert Inputs(Path("/"), ()).source_name("/a/1.png") == "a/1.png"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a/1.png", None),
        ("https://example.org/1.png?a=b", None),
        ("HTTP://example.org/1.png", None),
        ("http://", "not a URL"),
        ("http://[", "not a URL"),
        ("http://exa mple.org/\n", "not a URL"),
        ("s3://bucket/1.png", "s3:// is not supported yet"),
        ("gs://bucket/1.png", "gs:// is not supported yet"),
        ("az://bucket/1.png", "az:// is not supported yet"),
        ("a\0b", "NUL in the path"),
    ],
)
def test_a_target_that_cannot_be_a_page_has_a_fault(text: str, fault: str | None) -> None:
    assert find_fault(text) == fault


def test_stdin_and_urls_need_no_filesystem() -> None:
    stdin, url = parse_input("-", "/c"), parse_input("https://e.org/1.png", "/c")
    assert stdin is not None
    assert url is not None
    assert (stdin.kind, url.kind) == ("stdin", "url")
    assert parse_input("a.png", "/c") is None


@pytest.mark.parametrize("text", ["", "s3://bucket", "http://"])
def test_an_invalid_input_is_a_usage_error(text: str) -> None:
    """An empty INPUT, too: as a path it would be the whole current directory."""
    with pytest.raises(UsageError, match=text or "empty"):
        parse_input(text, "/c")

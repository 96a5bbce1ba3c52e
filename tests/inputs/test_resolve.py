"""What each INPUT is, and which are set aside when the shell's `*` has named them."""

from pathlib import Path

import pytest

from pipeline.errors import NoDescriptorsError, UsageError
from pipeline.inputs.resolve import resolve_inputs
from pipeline.inputs.selection import Inputs
from tests.descriptors import no_descriptors
from tests.pages import write_page

NO_MANIFESTS = [
    pytest.param("notes.txt", b"buy milk\ncall Bob\n", ".txt", "none of its 2 lines names an existing file", id="text"),
    pytest.param("notes.txt", b"see 1.png\nbuy milk\n", ".txt", "none of its 2 lines names", id="text-on-an-image"),
    pytest.param("notes.txt", b"buy milk\r\n\r\n", ".txt", "its line names no existing file", id="cr-lf"),
    pytest.param("notes.txt", b"scans\n.\n", ".txt", "none of its 2 lines names an existing file", id="only-folders"),
    pytest.param("binary.txt", bytes(range(256)) * 4, ".txt", "names an existing file", id="binary"),
    pytest.param("data.csv", b"name,amount\nBob,3\n", ".csv", "no column path", id="table-of-something-else"),
    pytest.param("data.csv", b"a;b\n1;2\n", ".csv", "no column path", id="other-delimiter"),
    pytest.param("empty.csv", b"", ".csv", "no header line", id="empty-table"),
    pytest.param("data.tsv", b"name\tamount\n", ".tsv", "no column path", id="tsv"),
    pytest.param("other.jsonl", b'{"a": 1}\n{"b": 2}\n', ".jsonl", "no line names a page", id="other-objects"),
    pytest.param("other.jsonl", b"no json\n", ".jsonl", "no line names a page (the first: not JSON", id="no-json"),
    pytest.param("results.jsonl", b'{"id":"x","source":"a.png","page":1}\n', ".jsonl", "no line names", id="results"),
    pytest.param("README.md", b"# A folder\n\nsee a.png\n", ".md", "a text, and no manifest", id="markdown"),
    pytest.param("LICENSE", b"Permission is granted\n", "no suffix", "a text, and no manifest", id="without-suffix"),
    pytest.param("LIESMICH", "für\n".encode("latin-1"), "no suffix", "a text, and no manifest", id="latin-1"),
]
MANIFESTS = [
    pytest.param("list.txt", b"# the scans\n# of May\r\n\r\na.png\r\n", id="one-path-among-comments"),
    pytest.param("list.txt", b"gone\nhttps://e.org/1\n", id="url"),
    pytest.param("list.txt", b"gone\n" * 20_000, id="very-long"),
    pytest.param("list.txt", b"gone.png\n", id="missing-page"),
    pytest.param("list.txt", b"# May\n/mnt/1.tif\n/mnt/2.TIF\n", id="disk-that-is-not-mounted"),
    pytest.param("list.txt", b"", id="empty-list"),
    pytest.param("list.txt", b"\r\n \n", id="blank-lines"),
    pytest.param("list.txt", b"gone\n" * 5000 + b"a.png\n", id="only-the-last-exists"),
    pytest.param("list.txt", b"\xef\xbb\xbfa.png\r\n", id="byte-order-mark"),
    pytest.param("list.txt", b" a.png\n", id="space-before-the-name"),
    pytest.param("list.txt", b"file:///dev/null\n", id="file-url"),
    pytest.param("list.csv", b"path\n", id="table-without-rows"),
    pytest.param("list.csv", b"path\ngone.png\n", id="table-of-missing-files"),
    pytest.param("list.jsonl", b"", id="no-objects"),
    pytest.param("list.jsonl", b'{"a": 1}\n{"path": "gone.png"}\n', id="second-object-names-a-page"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a page and a subfolder."""
    write_page(tmp_path / "a.png", 1)
    (tmp_path / "scans").mkdir()
    return tmp_path


def texts(inputs: Inputs) -> list[str]:
    """Return the INPUTs that are read."""
    return [item.text for item in inputs.items]


@pytest.mark.parametrize(("name", "content", "kind", "reason"), NO_MANIFESTS)
def test_a_text_is_set_aside_beside_other_inputs_and_alone_an_error(
    folder: Path, name: str, content: bytes, kind: str, reason: str
) -> None:
    """As `run *` names it."""
    (folder / name).write_bytes(content)
    found = resolve_inputs(["a.png", name], cwd=folder)
    assert texts(found) == ["a.png"]
    ((text, found_kind, found_reason),) = [(item.text, item.kind, item.reason) for item in found.set_aside]
    assert (text, found_kind) == (name, kind)
    assert reason in found_reason
    with pytest.raises(UsageError, match=f"^{name}: ") as caught:
        resolve_inputs([name], cwd=folder)
    assert reason in str(caught.value)


@pytest.mark.parametrize(("name", "content"), MANIFESTS)
def test_a_manifest_is_read_beside_other_inputs(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    for inputs in (["a.png", name], [name]):
        found = resolve_inputs(inputs, cwd=folder)
        assert (found.items[-1].kind, found.set_aside) == ("manifest", ())


def test_a_page_with_an_unusual_name_is_no_text(folder: Path) -> None:
    """A named file whose content cannot be a text is a page, which may fail."""
    (folder / "a.png").rename(folder / "page")
    (folder / "b.pdf").write_bytes(b"%PDF-1.7\n")
    (folder / "empty.md").touch()
    (folder / "text.png").write_text("no image\n")
    found = resolve_inputs(["page", "b.pdf", "empty.md", "text.png"], cwd=folder)
    assert [item.kind for item in found.items] == ["file"] * 4


def test_system_folders_are_set_aside_beside_other_inputs(folder: Path) -> None:
    """A NAS keeps thumbnails there; named alone, the folder is read."""
    (folder / "@eaDir").mkdir()
    found = resolve_inputs(["@eaDir", "a.png", "scans"], cwd=folder)
    assert texts(found) == ["a.png", "scans"]
    assert [(item.text, item.kind) for item in found.set_aside] == [("@eaDir", "system folder")]
    assert texts(resolve_inputs(["@eaDir"], cwd=folder)) == ["@eaDir"]


def test_the_workspace_is_no_input(folder: Path) -> None:
    """The second `run * -o out` names it; it counts nowhere."""
    (folder / "out").mkdir()
    found = resolve_inputs(["a.png", "out"], cwd=folder, workspace=folder / "out")
    assert (texts(found), [item.kind for item in found.set_aside]) == (["a.png"], [None])
    with pytest.raises(UsageError, match="out: the workspace"):
        resolve_inputs(["out"], cwd=folder, workspace=folder / "out")


def test_the_root_is_that_of_the_inputs_that_are_read(folder: Path) -> None:
    (folder / "notes.txt").write_text("buy milk\n")
    assert resolve_inputs(["scans", "notes.txt"], cwd=folder).root == folder / "scans"


@pytest.mark.parametrize("text", ["file://{0}/a.png", "file://localhost{0}/a.png", "FILE:{0}/%61.png"])
def test_a_file_url_is_the_path_that_it_names(folder: Path, text: str) -> None:
    url = text.format(folder).replace("FILE://", "FILE:/")
    (item,) = resolve_inputs([url], cwd=Path("/")).items
    assert (item.kind, item.path) == ("file", f"{folder}/a.png")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("file://server/a.png", "a file of another host", id="other-host"),
        pytest.param("file:///", "without a path", id="no-path"),
        pytest.param("file:///gone/%2A.png", "no such file", id="a-pattern-in-a-url-is-a-name"),
    ],
)
def test_a_wrong_file_url_is_named(folder: Path, url: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"{url}: .*{message}"):
        resolve_inputs([url], cwd=folder)


def test_without_a_current_directory_absolute_inputs_are_found(folder: Path) -> None:
    assert resolve_inputs([str(folder / "a.png"), "https://e.org/1.png"], cwd=None).root == folder
    for text in ("a.png", "-"):
        with pytest.raises(UsageError, match=f"{text}: the current directory no longer exists"):
            resolve_inputs([text], cwd=None)


def test_the_given_column_must_exist(folder: Path) -> None:
    """Other tables beside it are no reason to guess."""
    (folder / "good.csv").write_text("path,Scan\ngone.png,a.png\n")
    (folder / "other.csv").write_text("path\na.png\n")
    (item,) = resolve_inputs(["good.csv"], cwd=folder, column="scan").items
    assert item.kind == "manifest"
    with pytest.raises(UsageError, match=r"other.csv: no column scan in the header 'path'"):
        resolve_inputs(["good.csv", "other.csv"], cwd=folder, column="scan")


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "a*"])
def test_without_a_file_descriptor_no_input_is_blamed(folder: Path, name: str) -> None:
    (folder / "list.txt").write_text("a.png\n")
    (folder / "list.csv").write_text("path\na.png\n")
    with no_descriptors(), pytest.raises(NoDescriptorsError, match="ulimit -n"):
        resolve_inputs([name], cwd=folder)

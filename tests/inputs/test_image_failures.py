"""Image files that cannot become a page fail before they cost a call."""

import io
import os
import random
import struct
import subprocess
import sys
import threading
import zlib
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import (
    DecompressionBombError,
    EmptyFileError,
    MissingFileError,
    NotAnImageError,
    PageError,
    TruncatedImageError,
    UnfittableImageError,
    UnreadableFileError,
)
from tests.inputs.images import (
    API_FORMATS,
    VENDOR,
    check,
    decode,
    encode,
    marked,
    noise,
    prepare,
    put,
)


class TestBadFiles:
    """A file that cannot become a page fails before it costs a call."""

    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
    @pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.99])
    def test_a_truncated_image_fails_as_truncated(self, file: Path, image_format: str, kept: float) -> None:
        data = encode(noise((150, 150)), image_format)
        with pytest.raises(TruncatedImageError):
            prepare(put(file, data[: int(len(data) * kept)]), 1, VENDOR)

    @pytest.mark.parametrize("image_format", API_FORMATS)
    def test_a_missing_end_mark_is_accepted_only_when_every_pixel_is_decoded(
        self, file: Path, image_format: str
    ) -> None:
        page = marked((120, 120)).convert("P")
        data = encode(page.convert("RGB") if image_format in {"JPEG", "WEBP"} else page, image_format)
        pixels = Image.open(io.BytesIO(data)).convert("RGB").tobytes()
        for cut in range(1, 40):
            try:
                payload = prepare(put(file, data[:-cut]), 1, VENDOR)
            except TruncatedImageError:
                continue
            assert decode(payload).convert("RGB").tobytes() == pixels

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"This is a text, called page.jpg.\n", id="text"),
            pytest.param(b"AT&TFORM\0\0", id="djvu"),
            pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", id="svg"),
            pytest.param(b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), id="wav"),
            pytest.param(b"\0" * 5_000, id="zeros"),
            pytest.param(encode(Image.new("RGB", (150, 150)), "ICO"), id="an-image-in-another-format"),
            pytest.param(b"\xff", id="one-byte"),
        ],
    )
    def test_a_file_in_another_format_is_not_an_image(self, file: Path, data: bytes) -> None:
        with pytest.raises(NotAnImageError, match="not an image"):
            prepare(put(file, data), 1, VENDOR)

    @pytest.mark.parametrize(
        "data", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF", b"RIFF\0\0\0\0WEBP", b"II*\0", b"MM\0*"]
    )
    def test_a_signature_alone_is_a_truncated_image(self, file: Path, data: bytes) -> None:
        with pytest.raises(TruncatedImageError):
            prepare(put(file, data), 1, VENDOR)

    def test_a_file_of_0_bytes_is_empty(self, file: Path) -> None:
        with pytest.raises(EmptyFileError):
            prepare(put(file, b""), 1, VENDOR)

    @pytest.mark.parametrize("image_format", [*API_FORMATS, "BMP", "TIFF"])
    def test_one_pixel_is_not_a_page(self, file: Path, image_format: str) -> None:
        """Such images are tracking pixels."""
        with pytest.raises(UnfittableImageError, match="1×1 px"):
            prepare(put(file, encode(Image.new("RGB", (1, 1)), image_format)), 1, VENDOR)

    @pytest.mark.parametrize("size_px", [(60_000, 60_000), (2**31 - 1, 2**31 - 1)])
    def test_a_decompression_bomb_fails_by_its_header(self, file: Path, size_px: tuple[int, int]) -> None:
        with pytest.raises(DecompressionBombError, match="300 million pixels"):
            prepare(put(file, png_that_claims(size_px)), 1, VENDOR)

    @pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
    def test_damaged_data_raise_nothing_but_a_page_error(self, file: Path, image_format: str) -> None:
        data = encode(noise((40, 40)), image_format)  # too small, so that it is decoded
        chance = random.Random(7)
        failed = 0
        for _ in range(150):
            damaged = bytearray(data)
            for _ in range(3):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            try:
                check(prepare(put(file, bytes(damaged)), 1, VENDOR))
            except PageError:
                failed += 1
        assert failed > 10

    @pytest.mark.parametrize("image_format", ["GIF", "WEBP", "TIFF", "BMP"])
    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    def test_a_damaged_header_raises_nothing_but_a_page_error(self, file: Path, image_format: str) -> None:
        data = encode(Image.new("L", (40, 40), 128), image_format)
        chance = random.Random(8)
        positions = [*range(min(60, len(data))), *range(max(0, len(data) - 140), len(data))]
        for position in positions:
            damaged = bytearray(data)
            damaged[position] = chance.randrange(256)
            try:
                payload = prepare(put(file, bytes(damaged)), 1, VENDOR)
            except PageError:
                continue
            if not payload.tiles:  # the damaged size is that of a strip
                check(payload)


def png_that_claims(size_px: tuple[int, int]) -> bytes:
    """Return a PNG of a few bytes whose header states this size."""
    header = struct.pack(">IIBBBBB", *size_px, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


class TestReading:
    """Failures of the file system."""

    def test_a_missing_file_is_retryable(self, file: Path) -> None:
        """The file may appear before the next run."""
        with pytest.raises(MissingFileError) as caught:
            prepare(file, 1, VENDOR)
        assert caught.value.retryable

    def test_a_dangling_link_is_missing(self, file: Path) -> None:
        file.symlink_to("nowhere")
        with pytest.raises(MissingFileError):
            prepare(file, 1, VENDOR)

    def test_a_fifo_fails_without_waiting_for_a_writer(self, file: Path) -> None:
        os.mkfifo(file)
        with pytest.raises(UnreadableFileError, match="not a regular file"):
            prepare(file, 1, VENDOR)

    def test_a_device_fails(self) -> None:
        """/dev/zero never ends."""
        with pytest.raises(UnreadableFileError, match="not a regular file"):
            prepare(Path("/dev/zero"), 1, VENDOR)

    def test_a_directory_fails_and_leaves_no_descriptor_open(self, tmp_path: Path) -> None:
        """A manifest may name a directory."""
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(5):
            with pytest.raises(UnreadableFileError, match="Is a directory"):
                prepare(tmp_path, 1, VENDOR)
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    def test_a_file_that_cannot_be_read_is_retryable(self, file: Path) -> None:
        file.symlink_to(file.name)  # a loop, because root may read anything else
        with pytest.raises(UnreadableFileError, match="symbolic links") as caught:
            prepare(file, 1, VENDOR)
        assert caught.value.retryable

    def test_a_file_that_changes_while_it_is_read_is_not_sent(self, file: Path) -> None:
        """Half of the old and half of the new bytes would be billed as a page."""
        put(file, encode(noise((1500, 1500)), "BMP"))
        stop = threading.Event()

        def touch() -> None:
            for time_ns in count(1):
                os.utime(file, ns=(time_ns, time_ns))
                if stop.is_set():
                    return

        def read_often() -> None:
            for _ in range(10):
                prepare(file, 1, VENDOR)

        writer = threading.Thread(target=touch)
        writer.start()
        try:
            with pytest.raises(UnreadableFileError, match="changed while it was read"):
                read_often()
        finally:
            stop.set()
            writer.join()

    def test_a_file_that_is_longer_than_its_size_is_not_sent(self) -> None:
        """Files in /proc have size 0 and content."""
        with pytest.raises(UnreadableFileError, match="changed while it was read"):
            prepare(Path("/proc/version"), 1, VENDOR)

    def test_a_library_warning_does_not_reach_stderr(self, file: Path) -> None:
        """The log on stderr may be JSON."""
        put(file, encode(noise((150, 150)), "TIFF")[:40])  # cut off in its list of tags: "Corrupt EXIF data"
        script = (
            "import sys; from pathlib import Path; from pipeline import errors; from tests.inputs import images\n"
            "try: images.prepare(Path(sys.argv[1]), 1, images.VENDOR)\n"
            "except errors.PageError as exc: print(type(exc).__name__)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(file)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        assert (done.stdout, done.stderr) == ("TruncatedImageError\n", "")

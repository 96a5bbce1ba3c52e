"""Pages converted in real worker processes."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from pipeline.convert.command import module_command
from pipeline.convert.pool import ConversionPool, PoolOptions
from pipeline.errors import ConversionError, PageError, UnreadableFileError
from pipeline.inputs.conversion import Converter
from pipeline.inputs.conversion_messages import Convert, Result, Task
from pipeline.inputs.image import ImageFile, open_converter
from pipeline.records import Payload
from tests.archives import write_zip
from tests.inputs.archives.test_reading import member
from tests.inputs.images import VENDOR, check, encode, is_upright, marked, noise, prepare, put
from tests.pixels.tiffs import grey_pages, tiff, tiff_page


async def test_pages_are_converted_in_a_worker(tmp_path: Path) -> None:
    path = put(tmp_path / os.fsdecode(b"caf\xe9.tif"), tiff(*grey_pages(3)))
    async with open_converter(VENDOR) as pool:
        with ThreadPoolExecutor(1) as threads:
            image = ImageFile(path, VENDOR)
            first = await image.prepare(1, pool, threads)
            assert len(pool.worker_pids) == 1
            path.unlink()  # the worker has it mapped
            others = [await image.prepare(page, pool, threads) for page in (2, 3)]
    assert [check(payload).getpixel((5, 5)) for payload in (first, *others)] == [1, 2, 3]
    assert [payload.pages for payload in (first, *others)] == [3, 3, 3]


async def test_a_page_that_fits_starts_no_worker(file: Path) -> None:
    async with open_converter(VENDOR) as pool:
        with ThreadPoolExecutor(1) as threads:
            await ImageFile(put(file, encode(marked(), "PNG")), VENDOR).prepare(1, pool, threads)
        assert pool.worker_pids == []


async def test_a_file_that_changes_before_its_worker_reads_it_is_not_sent(file: Path) -> None:
    image = ImageFile(put(file, encode(marked(), "BMP")), VENDOR)
    task = image.read(1)
    assert not isinstance(task, Payload)
    put(file, encode(noise((200, 300)), "BMP"))
    async with open_converter(VENDOR) as pool:
        result = await pool.run(task, key="")
    with pytest.raises(UnreadableFileError, match="changed while it was read"):
        image.finish(1, result)


async def test_a_file_that_changes_between_its_pages_is_not_sent(file: Path) -> None:
    image = ImageFile(put(file, tiff(*grey_pages(3))), VENDOR)
    async with open_converter(VENDOR) as pool:
        with ThreadPoolExecutor(1) as threads:
            await image.prepare(1, pool, threads)
            with file.open("r+b") as writer:  # the worker has it mapped
                writer.write(b"II")
            for page in (2, 3):
                with pytest.raises(UnreadableFileError, match="changed while it was read"):
                    await image.prepare(page, pool, threads)


async def test_a_file_that_is_cut_off_between_its_pages_costs_its_pages_only(file: Path) -> None:
    image = ImageFile(put(file, encode(noise((2000, 2000)), "TIFF", save_all=True, append_images=[marked()])), VENDOR)
    other = put(file.with_name("other.bmp"), encode(marked(), "BMP"))
    async with open_converter(VENDOR) as pool:
        with ThreadPoolExecutor(1) as threads:
            await image.prepare(1, pool, threads)
            os.truncate(file, 100)
            with pytest.raises(PageError):
                await image.prepare(2, pool, threads)
            assert is_upright(check(await ImageFile(other, VENDOR).prepare(1, pool, threads)))


async def test_a_member_of_an_archive_is_unpacked_once_for_all_workers(tmp_path: Path) -> None:
    """The archive is gone when the second worker begins."""
    box = write_zip(tmp_path / "box.zip", {"book.tif": tiff(*grey_pages(9))})
    image = ImageFile(box / "book.tif", VENDOR, member(box, "book.tif"))
    command = module_command("pipeline.inputs.conversion_worker", "--memory-bytes", str(1 << 30))
    decoder: msgspec.msgpack.Decoder[Result] = msgspec.msgpack.Decoder(Result)
    async with ConversionPool(PoolOptions(command, 2, 60.0), decoder) as pool:
        with ThreadPoolExecutor(1) as threads:
            await image.prepare(1, pool, threads)
            box.unlink()
            others = await asyncio.gather(*(image.prepare(page, pool, threads) for page in range(2, 10)))
        assert len(pool.worker_pids) == 2
    assert [check(payload).getpixel((5, 5)) for payload in others] == list(range(2, 10))
    assert _held_contents() == 1
    image.close()
    assert _held_contents() == 0


def _held_contents() -> int:
    links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return sum("memfd:page" in str(link.readlink()) for link in links)


async def test_a_page_beyond_the_memory_of_a_worker_fails_alone(file: Path) -> None:
    """A TIFF of 30 kB that is 400 million pixels when decoded."""
    hog = encode(Image.new("1", (20_000, 20_000)), "TIFF", compression="group4")
    assert len(hog) < 100_000
    settings = replace(VENDOR, max_pixels=1 << 30)
    command = module_command("pipeline.inputs.conversion_worker", "--memory-bytes", str(300 << 20))
    decoder: msgspec.msgpack.Decoder[Result] = msgspec.msgpack.Decoder(Result)
    async with ConversionPool(PoolOptions(command, 1, 60.0), decoder) as pool:
        with ThreadPoolExecutor(1) as threads:
            with pytest.raises(ConversionError, match="ran out of memory"):
                await ImageFile(put(file, hog), settings).prepare(1, pool, threads)
            await ImageFile(put(file, encode(marked(), "BMP")), settings).prepare(1, pool, threads)
    check(prepare(put(file, hog), 1, settings))  # negative control: with the memory of this process


async def test_the_other_pages_go_on_when_the_first_takes_its_worker_down(file: Path) -> None:
    image = ImageFile(put(file, tiff(*grey_pages(3))), VENDOR)

    class CrashOnce:
        """Loses the worker at the first page."""

        async def run(self, task: Task, *, key: str) -> Result:
            if isinstance(task, Convert) and task.page == 1:
                raise ConversionError("the decoder crashed (SIGSEGV)")
            return await asyncio.to_thread(Converter().run, task)

    with ThreadPoolExecutor(1) as threads:
        with pytest.raises(ConversionError, match="SIGSEGV"):
            await image.prepare(1, CrashOnce(), threads)
        assert image.pages == 3
        assert (await image.prepare(3, CrashOnce(), threads)).pages == 3


async def test_what_native_decoders_print_does_not_reach_stderr(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The log on stderr may be JSON, and libtiff prints a line per damaged strip."""
    put(
        file,
        tiff(tiff_page(bytes(14400), 120, bits=8, compression=4), tiff_page(bytes(9), 3, bits=8, compression=5)),
    )
    async with open_converter(VENDOR) as pool:
        with ThreadPoolExecutor(1) as threads:
            image = ImageFile(file, VENDOR)
            for page in (1, 2):
                with pytest.raises(PageError):
                    await image.prepare(page, pool, threads)
    assert capfd.readouterr().err == ""


class CrashingConverter:
    """Changes the file, and ends as a process ends that reads beyond the end of a mapped file."""

    def __init__(self, file: Path, kept_bytes: int) -> None:
        self._file, self._kept_bytes = file, kept_bytes

    async def run(self, task: Task, *, key: str) -> Result:
        if self._file.stat().st_size != self._kept_bytes:
            os.truncate(self._file, self._kept_bytes)
        raise ConversionError("the decoder crashed (SIGBUS)")


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
async def test_a_file_that_is_cut_while_it_is_converted_has_changed(file: Path, *, is_cut: bool) -> None:
    """The next run reads it again, which it would not do for a page that crashes its decoder."""
    file.write_bytes(encode(Image.new("L", (200, 200)), "TIFF"))
    converter = CrashingConverter(file, 1000 if is_cut else file.stat().st_size)
    os.utime(file, ns=(1, 1))
    image, error = ImageFile(file, VENDOR), UnreadableFileError if is_cut else ConversionError
    reason = "changed while it was read" if is_cut else "SIGBUS"
    with ThreadPoolExecutor(1) as threads, pytest.raises(error, match=reason):
        await image.prepare(1, converter, threads)

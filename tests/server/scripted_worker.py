"""A worker process without an engine: the bytes of the image name what it does."""

import os
import signal
import sys
import time
from pathlib import Path

from pipeline.engine.recognition import Recognition
from pipeline.errors import TruncatedImageError
from pipeline.server.workers import worker
from pipeline.server.workers.frames import NotStarted

HOG_BYTES = 1024**3
GROWTH_BYTES = 64 * 1024**2


class ScriptedEngine:
    """Does what the image names, such as "die", "hang", "hog" or "grow"; returns any other image as the text."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def recognise(self, image: bytes) -> Recognition:
        """Return the image as the text, unless it names something else."""
        match image:
            case b"die":
                os.kill(os.getpid(), signal.SIGKILL)
            case b"hang":
                time.sleep(600)
            case b"hog":
                bytearray(HOG_BYTES)
            case b"grow":
                self._held.append(b"x" * GROWTH_BYTES)
            case b"noise":
                os.write(1, b"\xff" * 100)
            case b"unreadable":
                raise TruncatedImageError("the image is truncated or damaged")
            case b"broken":
                raise ZeroDivisionError
            case b"environment":
                return Recognition("\n".join(os.environ))
            case _:
                pass
        return Recognition(image.decode())


def fail_in_turn(folder: Path) -> None:
    """Fail as one of two workers: the first exits once the other has closed its output, which then lingers."""
    (folder / str(os.getpid())).touch()
    closed = folder / "closed"
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        os.close(1)
        closed.touch()
        time.sleep(600)
    while not closed.exists():
        time.sleep(0.01)
    time.sleep(0.2)  # the parent has seen the closed output by now; if not, the test passes more easily


if __name__ == "__main__":
    if "--fail-in-turn" in sys.argv:
        fail_in_turn(Path(sys.argv[-1]))
        sys.exit("no engine")
    if "--fail" in sys.argv:
        sys.exit("no engine")
    if "--wrong-setting" in sys.argv:
        sys.argv.remove("--wrong-setting")
        worker.main(sys.argv[1:], start=lambda *_: NotStarted("no such processor", is_setting_wrong=True))
    else:
        worker.main(sys.argv[1:], start=lambda *_: ScriptedEngine())

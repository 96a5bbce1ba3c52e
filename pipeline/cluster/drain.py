"""OUT/work/drain-RUN.json: tells all attempts of a run to finish their calls under way and make no other.

A file, for it also reaches attempts whose driver has lost sight of them.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from pipeline.cluster.epoch_folders import FOLDER
from pipeline.errors import PlannedStopError, StopError
from pipeline.shutdown import Shutdown
from pipeline.storage.files import replace_file
from pipeline.storage.filesystems import make_directory
from pipeline.wire import replace_surrogates

_LOOK_EVERY_S: Final = 1.0


class _Order(msgspec.Struct, frozen=True):
    exit_code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Drain:
    """The order to drain.

    Attributes:
        out: The job's workspace.
        run_id: The run that is to end.
    """

    out: Path
    run_id: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.out / FOLDER / f"drain-{self.run_id}.json"

    def order(self, reason: StopError) -> None:
        """Tell all attempts.

        Raises:
            StorageError: the file cannot be written.
        """
        make_directory(self.path.parent)
        replace_file(self.path, msgspec.json.encode(_Order(reason.exit_code, replace_surrogates(str(reason)))))

    def find(self) -> StopError | None:
        """Return why to end; None while there is no reason."""
        try:
            found = msgspec.json.decode(self.path.read_bytes(), type=_Order)
        except (OSError, msgspec.DecodeError):
            return None
        return stop_error(found.exit_code, found.reason)

    def remove(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


async def watch_drain(drain: Drain, shutdown: Shutdown) -> None:
    """End a run when the order comes."""
    while (reason := await anyio.to_thread.run_sync(drain.find, abandon_on_cancel=True)) is None:  # noqa: ASYNC110 - another machine sets it
        await anyio.sleep(_LOOK_EVERY_S)
    shutdown.request(reason)


def stop_error(exit_code: int, reason: str) -> StopError:
    """Return the error of a run that has ended elsewhere."""
    error = PlannedStopError(reason) if exit_code == PlannedStopError.exit_code else StopError(reason)
    error.exit_code = exit_code
    return error

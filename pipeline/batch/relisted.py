"""Archives and folders whose listing failed in an earlier run, and that this run lists whole: that failure is over.

Their pages have records of their own, which say nothing about the whole; so the end of the failure is a line itself.
"""

from pipeline.batch.recorder import Recorder
from pipeline.errors import StorageError
from pipeline.records import SourceFile
from pipeline.shutdown import Shutdown
from pipeline.workspace.inventory import Inventory
from pipeline.workspace.source_names import decode_name


class Relisted:
    """Watches the files of one walk.

    Args:
        inventory: Knows the failures of earlier runs.
        recorder: Records that they are over.
    """

    def __init__(self, inventory: Inventory, recorder: Recorder) -> None:
        self._recorder = recorder
        self._failed = {decode_name(source) for source in inventory.failed_unread()}
        self._listed: set[str] = set()

    def __repr__(self) -> str:
        return f"<Relisted {len(self._listed)} of {len(self._failed)}>"

    def see(self, file: SourceFile) -> None:
        """Note what a file of the walk says about the archive and the folders that it is in."""
        if not self._failed:
            return
        if file.problem is not None:
            self._failed.discard(file.name)
        end = len(file.name)
        while (end := file.name.rfind("/", 0, end)) > 0:
            if file.name[:end] in self._failed:
                self._listed.add(file.name[:end])

    async def settle(self, shutdown: Shutdown) -> None:
        """Record which failures are over, at the end of a walk that has met all files."""
        try:
            for name in sorted(self._listed & self._failed):
                await self._recorder.record_listed(name)
        except StorageError as exc:
            shutdown.request(exc)

"""What each exit code of the command line means, and which one is returned where several apply."""

from collections.abc import Mapping

EXIT_PRECEDENCE: tuple[int, ...] = (130, 143, 1, 2, 11, 7, 12, 8, 10, 5, 3, 0)
"""Where several exit codes apply, the first of these is returned."""

EXIT_CODES: Mapping[int, str] = {
    0: "done, or nothing to do",
    1: "unexpected error; verify found a fault",
    2: "usage or configuration",
    3: "finished, some pages failed",
    5: "temporary: the API is unreachable or refuses every call; run again later",
    7: "the key was rejected or has no permission",
    8: "stopped by the quota or --max-calls; resumable",
    10: "--max-duration reached; resumable",
    11: "another run holds the workspace",
    12: "--max-failures exceeded",
    130: "SIGINT, after the calls in flight have ended; a second signal aborts",
    143: "SIGTERM, likewise",
}
"""What help and documentation say about the exit codes."""

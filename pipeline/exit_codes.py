"""What each exit code of the command line means, and which one is returned where several apply."""

from collections.abc import Mapping

EXIT_PRECEDENCE: tuple[int, ...] = (129, 130, 143, 1, 2, 11, 7, 12, 8, 5, 10, 3, 9, 0)
"""Where several exit codes apply, the first of these is returned."""

EXIT_CODES: Mapping[int, str] = {
    0: "done, or nothing to do",
    1: "unexpected error; verify found a fault",
    2: "usage or configuration",
    3: "finished, some pages failed",
    5: "temporary: the API is unreachable, fails or refuses every call; run again later",
    7: "the key was rejected or has no permission, or the calls do not arrive at the API",
    8: "stopped by the quota; resumable",
    9: "the INPUTs hold no page (an unmounted disk looks like this)",
    10: "a planned stop: --max-calls, --max-duration, --limit or --sample reached; resumable",
    11: "another run holds the workspace",
    12: "--max-failures exceeded",
    129: "SIGHUP, after the calls in flight have ended; a second signal aborts and names them",
    130: "SIGINT, likewise",
    143: "SIGTERM, likewise",
}
"""What help and documentation say about the exit codes."""

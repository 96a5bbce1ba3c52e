"""The settings for runs on a cluster; the others are in `settings`."""

from typing import Annotated

from msgspec import Meta

from pipeline.config.fields import Section, about

_Units = Annotated[float, Meta(ge=0)]


class ClusterConfig(Section, frozen=True):
    """A run on the nodes of a Ray cluster. They share the folders of the INPUTs and of OUT, and a ledger."""

    address: Annotated[
        str | None,
        about(
            "Run on the Ray cluster at this address, or auto for the one that this machine is in (extra cluster).",
            flag="--cluster",
            metavar="ADDRESS",
            example="10.0.0.1:6379",
            unset="this machine alone",
        ),
    ] = None
    shard_files: Annotated[
        Annotated[int, Meta(ge=1, le=10_000)], about("Files per shard, the unit of work of a node; 200 to 1,000 suit.")
    ] = 500
    ocr: Annotated[
        _Units | None,
        about(
            "Units of the resource `ocr` that a shard takes on its node, as declared to `ray start --resources`.",
            example=1.0,
            unset="1 in a cluster that has the resource, else a shard takes `cpus`",
        ),
    ] = None
    cpus: Annotated[_Units, about("CPUs that a shard takes where `ocr` does not count.")] = 1.0
    gpus: Annotated[_Units, about("GPUs that a shard takes.")] = 0.0

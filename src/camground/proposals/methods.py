"""The one registry of proposal methods: the stage, its rule, the config and inference all read it.

To add a method, write a module with a subclass of `camground.proposals.proposer.Proposer` and enter it in
`METHODS`. Settings of its own are a section of `ProposalsConfig` under the method's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema


@dataclass(frozen=True)
class Method:
    """A way to find boxes in photographs.

    proposer: `module:class`, imported only when the method runs.
    required: the keys of the method's own section that it cannot do without, and what each must be.
    user_files: those of these keys that name a file whose change makes the proposals stale.
    writes: tables of the study that the stage needs (`--<table>`) beside `images` and `proposals`.
    network: whether it runs a network, which takes memory and is faster on a graphics card.
    """

    proposer: str
    required: tuple[tuple[str, str], ...] = ()
    user_files: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    network: bool = False


METHODS: dict[str, Method] = {
    "selective_search": Method("camground.proposals.selective_search:SelectiveSearch"),
    "detector": Method(
        "camground.proposals.detector:DetectorProposer",
        required=(("model", "its name on the hub, or its folder"),),
        network=True,
    ),
    "boxes_file": Method(
        "camground.proposals.boxes_file:BoxesFileProposer",
        required=(("path", "a JSON file of detections in COCO's format"),),
        user_files=("path",),
        writes=("rejected",),
    ),
}

FILLER = "selective_search"  # of `proposals.fill_up`


def _registered(name: str) -> str:
    if name not in METHODS:
        raise ValueError(f"{name!r} is not one of {', '.join(METHODS)}")
    return name


MethodName = Annotated[
    str, AfterValidator(_registered), WithJsonSchema({"enum": list(METHODS), "type": "string"})
]

"""What the evaluated expressions mean, in memory: targets, objects, masks, proposals, groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from camground.data.box_lists import BoxLists, boxes_of
from camground.data.boxes import area
from camground.evaluation.cam_metrics import box_region, mask_region
from camground.evaluation.protocol import Protocol
from camground.evaluation.word_classes import word_classes
from camground.matcher import maps as cam_maps
from camground.matcher.map_geometry import grid_size
from camground.study import tables
from camground.study.errors import UserError


@dataclass(frozen=True)
class GroundTruth:
    """N expressions with targets, in the order of the `expressions` table.

    rows: DataFrame of N rows: expression_id, image_id, text, split, width, height, flavour,
    distractors. all_targets: the target boxes as given; targets: as the protocol asks (merged or
    not). objects, object_index (N,): all objects of the image and the one meant, -1 where unknown.
    masks: COCO RLE counts or None. proposals: one list an image, image_of (N,) each expression's
    list, -1 without. known_ids: all expressions of the study, evaluated or not.
    """

    protocol: Protocol
    rows: pd.DataFrame
    all_targets: BoxLists
    targets: BoxLists
    objects: BoxLists
    object_index: np.ndarray
    masks: list[bytes | None]
    proposals: BoxLists
    objectness: np.ndarray
    ranks: np.ndarray
    image_of: np.ndarray
    matcher_maps: cam_maps.Maps
    known_ids: pd.Index

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> pd.Index:
        """The N expression ids."""
        return pd.Index(self.rows["expression_id"])

    @cached_property
    def image_sizes(self) -> np.ndarray:
        """(N, 2) int: width and height of each expression's image."""
        return self.rows[["width", "height"]].to_numpy(dtype=np.int64)

    @cached_property
    def choices(self) -> BoxLists:
        """The proposals that each expression's box may be chosen from, best first; N lists."""
        return self.proposals.take(self.image_of)

    @cached_property
    def grids(self) -> np.ndarray:
        """(N, 2) int: height and width of the grid that maps and objects are compared on."""
        side = self.protocol.map_side
        sizes = [grid_size(int(w), int(h), side) for w, h in self.image_sizes]
        return np.array(sizes, dtype=np.int64).reshape(-1, 2)

    def regions(self, which: np.ndarray) -> np.ndarray:
        """The objects meant by expressions `which` (M,), all of one grid: (M, gh, gw) float32, the
        share of each cell that the mask covers, or the union of the target boxes without a mask."""
        return np.stack([self._region(int(i)) for i in which])

    def _region(self, i: int) -> np.ndarray:
        (width, height), grid = self.image_sizes[i].tolist(), tuple(self.grids[i].tolist())
        counts = self.masks[i]
        if counts is not None:
            from pycocotools import mask as coco_mask

            mask = coco_mask.decode({"size": [height, width], "counts": counts})
            if mask.any():
                return mask_region(mask, grid)
        start = self.all_targets.starts[i]
        boxes = self.all_targets.boxes_xyxy[start : start + self.all_targets.counts[i]]
        return box_region(boxes, width, height, grid)

    @cached_property
    def groups(self) -> pd.DataFrame:
        """The groups of each expression, N rows, columns flavour, size, distractors, words, said;
        null where unknown.

        size: the share of the image of the largest target box, parted by `size_edges`. words: words
        of the text between white space, parted by `word_edges`. said: a tuple, the classes of words
        in the text, since an expression may be in several of these groups or in none.
        """
        image_area = self.image_sizes.prod(axis=1)
        share = self.all_targets.maximum(area(self.all_targets.boxes_xyxy)) / image_area
        size = np.array(["small", "medium", "large"], dtype=object)[
            np.searchsorted(self.protocol.size_edges, share, side="right")
        ]
        counted = self.rows["distractors"].astype("Int64")
        distractors = counted.map(lambda n: "2+" if n >= 2 else str(n), na_action="ignore")
        edges = [0, *self.protocol.word_edges]
        spans = [f"{low + 1}-{high}" for low, high in pairwise(edges)]
        names = np.array([*spans, f"{edges[-1] + 1}+"], dtype=object)
        words = np.array([len(text.split()) for text in self.rows["text"]], dtype=np.int64)
        return pd.DataFrame(
            {
                "flavour": self.rows["flavour"].astype(object),
                "size": size,
                "distractors": distractors.astype(object),
                "words": names[np.searchsorted(self.protocol.word_edges, words, side="left")],
                "said": pd.Series([word_classes(text) for text in self.rows["text"]], dtype=object),
            }
        )


def load(
    protocol: Protocol,
    images: str | Path,
    expressions: str | Path,
    targets: str | Path,
    proposals: str | Path,
    cams: str | Path,
) -> GroundTruth:
    """Read what is evaluated: the expressions of `protocol.splits` that have a target.

    Raises `UserError` when the tables do not fit together, or a target has no box.
    """
    asked = tables.read("expressions", expressions)
    rows = asked[asked["split"].isin(protocol.splits)].drop(columns="kind")
    meant = tables.read_arrow("targets", targets)
    target_ids = pd.Index(meant.column("expression_id").to_pylist(), dtype=object)
    known = pd.Index(asked["expression_id"].astype(object))
    for index, path in ((target_ids, targets), (known, expressions)):
        if not index.is_unique:
            raise UserError(f"{path}: expression {index[index.duplicated()][0]} comes twice")
    stray = target_ids.difference(known)
    if len(stray):
        raise UserError(f"{targets}: expression {stray[0]} is not in {expressions}; rerun `data`")
    rows = rows[rows["expression_id"].isin(target_ids)]
    sizes = tables.read("images", images, columns=["image_id", "width", "height"])
    without = ~rows["image_id"].isin(sizes["image_id"])
    if without.any():
        raise UserError(
            f"{expressions}: image {rows['image_id'][without].iloc[0]} is not in {images};"
            " rerun `data`"
        )
    rows = rows.merge(sizes, on="image_id", how="left", validate="many_to_one")
    meant = meant.take(pa.array(target_ids.get_indexer(pd.Index(rows["expression_id"]))))
    rows["flavour"] = meant.column("flavour").to_pylist()
    rows["distractors"] = pd.array(meant.column("distractors").to_pylist(), dtype="Int64")
    boxes = BoxLists.from_arrow(meant.column("boxes_xyxy"))
    if (boxes.counts == 0).any():
        empty = rows["expression_id"].iloc[int(np.argmin(boxes.counts))]
        raise UserError(f"{targets}: expression {empty} has no box; leave its row out")
    index = meant.column("object_index").fill_null(-1).to_numpy().astype(np.int64)
    lists, objectness, ranks, image_of = _read_proposals(proposals, rows["image_id"])
    return GroundTruth(
        protocol=protocol,
        rows=rows.reset_index(drop=True),
        all_targets=boxes,
        targets=boxes.merged() if protocol.multiple_boxes == "merged_box" else boxes,
        objects=BoxLists.from_arrow(meant.column("objects_xyxy")),
        object_index=index,
        masks=meant.column("mask").to_pylist(),
        proposals=lists,
        objectness=objectness,
        ranks=ranks,
        image_of=image_of,
        matcher_maps=cam_maps.read_cams(cams, pd.Index(rows["expression_id"])),
        known_ids=known,
    )


def _read_proposals(
    path: str | Path, image_ids: pd.Series
) -> tuple[BoxLists, np.ndarray, np.ndarray, np.ndarray]:
    """Proposals of the images, best first: lists, each box's objectness and rank, rows' lists."""
    names = pd.Index(image_ids.unique())
    table = tables.read_arrow("proposals", path)
    wanted = pa.array(names.tolist(), type=pa.string())
    table = table.filter(pc.is_in(table.column("image_id"), value_set=wanted))
    owner = names.get_indexer(pd.Index(table.column("image_id").to_pylist(), dtype=object))
    ranks = table.column("rank").to_numpy()
    order = np.lexsort((ranks, owner))
    boxes = boxes_of(table.column("box_xyxy"))[order]
    counts = np.bincount(owner, minlength=len(names)).astype(np.int64)
    objectness = table.column("objectness").to_numpy().astype(np.float64)[order]
    return BoxLists(boxes, counts), objectness, ranks[order], names.get_indexer(image_ids)

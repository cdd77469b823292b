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
from camground.evaluation import metrics
from camground.evaluation.config import EvaluateConfig
from camground.evaluation.metric_table import WORD_CLASS
from camground.evaluation.phrase_heads import head_groups
from camground.evaluation.word_classes import word_classes
from camground.matcher import map_geometry
from camground.matcher import maps as cam_maps
from camground.study import tables
from camground.study.errors import UserError

# Maps and objects are compared on the image's grid, its longest side at most this.
MAP_SIDE = 256
# Share of a map's maximum from which a cell counts as covered.
MAP_THRESHOLD = 0.5
# Shares of the image that part small, medium and large objects.
SIZE_EDGES = (0.05, 0.2)
# The largest numbers of words of the groups but the last: 1-2, 3-4, 5+.
WORD_EDGES = (2, 4)


@dataclass(frozen=True)
class GroundTruth:
    """N expressions with targets, in the order of the `expressions` table.

    expressions: N rows: expression_id, image_id, text, split, width, height, flavour, distractors.
    all_targets: the target boxes of the data set; targets: what the protocol compares with (merged or
    not). objects, object_index (N,): all objects of the image and the one meant, -1 where unknown. masks:
    COCO RLE counts or None. image_proposals: one list an image, best first, with objectness, labels (text or
    None) and ranks of its boxes; image_index (N,): each expression's list, -1 without. study_ids: all
    expressions of the study, evaluated or not.
    """

    config: EvaluateConfig
    expressions: pd.DataFrame
    all_targets: BoxLists
    targets: BoxLists
    objects: BoxLists
    object_index: np.ndarray
    masks: list[bytes | None]
    image_proposals: BoxLists
    objectness: np.ndarray
    labels: np.ndarray
    ranks: np.ndarray
    image_index: np.ndarray
    matcher_maps: cam_maps.Maps
    study_ids: pd.Index

    def __len__(self) -> int:
        return len(self.expressions)

    @cached_property
    def ids(self) -> pd.Index:
        """The N expression ids."""
        ids: pd.Index = pd.Index(self.expressions["expression_id"], dtype=object)
        return ids

    @cached_property
    def image_sizes(self) -> np.ndarray:
        """(N, 2) int: width and height of each expression's image."""
        return self.expressions[["width", "height"]].to_numpy(dtype=np.int64)

    @cached_property
    def proposals(self) -> BoxLists:
        """The proposals that each expression's box may be chosen from, best first; N lists."""
        return self.image_proposals.take(self.image_index)

    @cached_property
    def best_proposal(self) -> tuple[np.ndarray, np.ndarray]:
        """`metrics.best_proposal_iou`: its IoU (N,) and its index (N,) in the list of proposals."""
        return metrics.best_proposal_iou(self.proposals, self.targets)

    @cached_property
    def recall(self) -> np.ndarray:
        """(N,) 1 where a proposal reaches IoU 0.5 with a target, else 0."""
        return self.hit(self.best_proposal[0], 0.5).astype(float)

    @cached_property
    def cam(self) -> dict[str, np.ndarray]:
        """`map_statistics` of the matcher's maps."""
        return self.map_statistics(self.matcher_maps)

    def hit(self, iou: np.ndarray, threshold: float) -> np.ndarray:
        """Whether each IoU passes the threshold, bool, as the protocol compares."""
        return metrics.hit(iou, threshold, self.config.iou_comparison)

    @cached_property
    def grids(self) -> np.ndarray:
        """(N, 2) int: height and width of the grid that maps and objects are compared on."""
        sizes = [map_geometry.grid_size(w, h, MAP_SIDE) for w, h in self.image_sizes.tolist()]
        return np.array(sizes, dtype=np.int64).reshape(-1, 2)

    def map_statistics(self, maps: cam_maps.Maps) -> dict[str, np.ndarray]:
        """coverage, iou, energy, spill, entropy of N maps, each (N,) float64; nan without a map."""
        names = (*metrics.STATISTICS, "entropy")
        values = {name: np.full(len(self), np.nan) for name in names}
        for rows in maps.batches(self.grids, self.grids.prod(axis=1)):
            stack = maps.stack(rows)
            height, width = self.grids[rows[0]].tolist()
            enlarged = map_geometry.enlarge(stack, (height, width))
            fit = metrics.region_statistics(enlarged, self.regions(rows), MAP_THRESHOLD)
            for name, value in (fit | {"entropy": metrics.entropy(stack)}).items():
                values[name][rows] = value
        return values

    def regions(self, rows: np.ndarray) -> np.ndarray:
        """The objects meant by expressions `rows` (M,), all of one grid: (M, gh, gw) float32, the
        share of each cell that the mask covers, or the union of the target boxes without a mask."""
        return np.stack([self._region(row) for row in rows.tolist()])

    def _region(self, row: int) -> np.ndarray:
        (width, height), grid = self.image_sizes[row].tolist(), tuple(self.grids[row].tolist())
        counts = self.masks[row]
        if counts is not None:
            from pycocotools import mask as coco_mask

            mask = coco_mask.decode({"size": [height, width], "counts": counts})
            if mask.any():
                return metrics.mask_region(mask, grid)
        boxes = self.all_targets.take(np.array([row])).boxes_xyxy
        return metrics.box_region(boxes, width, height, grid)

    @cached_property
    def groups(self) -> pd.DataFrame:
        """The groups of each expression: N rows, a column for each of `metric_table.GROUPINGS`; null
        where unknown.

        size: of the largest target box, by its share of the image. words: by the words of the text
        between white space. word_class: a tuple, the classes of words in the text, since an expression may
        be in several of these groups or in none. head: of the phrase, the most frequent ones.
        """
        image_area = self.image_sizes.prod(axis=1)
        share = self.all_targets.maximum(area(self.all_targets.boxes_xyxy)) / image_area
        sizes = np.array(["small", "medium", "large"], dtype=object)
        distractors = self.expressions["distractors"].astype("Int64")
        edges = [0, *WORD_EDGES]
        spans = [f"{low + 1}-{high}" for low, high in pairwise(edges)]
        lengths = np.array([*spans, f"{edges[-1] + 1}+"], dtype=object)
        texts = self.expressions["text"]
        words = np.array([len(text.split()) for text in texts], dtype=np.int64)
        return pd.DataFrame(
            {
                "flavour": self.expressions["flavour"].astype(object),
                "size": sizes[np.searchsorted(SIZE_EDGES, share, side="right")],
                "distractors": distractors.map(
                    lambda n: "2+" if n >= 2 else str(n), na_action="ignore"
                ).astype(object),
                "words": lengths[np.searchsorted(WORD_EDGES, words, side="left")],
                WORD_CLASS: pd.Series([word_classes(text) for text in texts], dtype=object),
                "head": head_groups(texts.tolist()),
            }
        )


def load(
    config: EvaluateConfig, images: Path, expressions: Path, targets: Path, proposals: Path, cams: Path | None
) -> GroundTruth:
    """Read what is evaluated: the expressions of `config.splits` that have a target. cams: None where the
    study has no maps, or nothing reads them.

    Raises `UserError` when the tables do not fit together, or a target has no box.
    """
    study = tables.read("expressions", expressions)
    study_ids = pd.Index(study["expression_id"].astype(object))
    target_rows = tables.read_arrow("targets", targets)
    target_ids = pd.Index(target_rows.column("expression_id").to_pylist(), dtype=object)
    for index, path in ((target_ids, targets), (study_ids, expressions)):
        if not index.is_unique:
            raise UserError(f"{path}: expression {index[index.duplicated()][0]} comes twice")
    stray = target_ids.difference(study_ids)
    if len(stray):
        raise UserError(f"{targets}: expression {stray[0]} is not in {expressions}; rerun `data`")
    rows = study[study["split"].isin(config.splits) & study_ids.isin(target_ids)]
    sizes = tables.read("images", images, columns=["image_id", "width", "height"])
    stray = pd.Index(rows["image_id"]).difference(pd.Index(sizes["image_id"]))
    if len(stray):
        raise UserError(f"{expressions}: image {stray[0]} is not in {images}; rerun `data`")
    rows = rows.drop(columns="kind").merge(sizes, on="image_id", validate="many_to_one")
    target_rows = target_rows.take(pa.array(target_ids.get_indexer(rows["expression_id"])))
    rows["flavour"] = target_rows.column("flavour").to_pylist()
    rows["distractors"] = pd.array(target_rows.column("distractors").to_pylist(), dtype="Int64")
    boxes = BoxLists.from_arrow(target_rows.column("boxes_xyxy"))
    if (boxes.counts == 0).any():
        empty = rows["expression_id"].iloc[int(np.argmin(boxes.counts))]
        raise UserError(f"{targets}: expression {empty} has no box; leave its row out")
    lists, objectness, labels, ranks, image_index = _read_proposals(proposals, rows["image_id"])
    ids = pd.Index(rows["expression_id"])
    maps = cam_maps.absent(len(ids)) if cams is None else cam_maps.read_cams(cams, ids)
    return GroundTruth(
        config=config,
        expressions=rows,
        all_targets=boxes,
        targets=boxes.merged() if config.multiple_boxes == "merged_box" else boxes,
        objects=BoxLists.from_arrow(target_rows.column("objects_xyxy")),
        object_index=target_rows.column("object_index").fill_null(-1).to_numpy().astype(np.int64),
        masks=target_rows.column("mask").to_pylist(),
        image_proposals=lists,
        objectness=objectness,
        labels=labels,
        ranks=ranks,
        image_index=image_index,
        matcher_maps=maps,
        study_ids=study_ids,
    )


def _read_proposals(
    path: Path, image_ids: pd.Series
) -> tuple[BoxLists, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Proposals of the images, best first: lists, each box's objectness, label and rank, rows' lists."""
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
    labels = np.array(table.column("label").to_pylist(), dtype=object)[order]
    return BoxLists(boxes, counts), objectness, labels, ranks[order], names.get_indexer(image_ids)

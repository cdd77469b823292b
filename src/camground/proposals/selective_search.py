"""Proposals by selective search: candidates ranked by objectness, thinned by suppression."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
from joblib import Parallel, delayed, parallel_config
from threadpoolctl import threadpool_limits

from camground.data.photographs import read_reduced
from camground.proposals.candidates import find_candidates
from camground.proposals.config import ProposalsConfig
from camground.proposals.objectness import objectness
from camground.proposals.proposer import Photograph, Proposer
from camground.proposals.thinning import Proposals, to_proposals
from camground.study.workers import end_with_parent

SOURCE = "selective_search"


class SelectiveSearch(Proposer):
    """The search on `threads` processes of one thread each, so that sums are the same with any number."""

    def propose(self, photographs: Sequence[Photograph]) -> Iterator[Proposals]:
        one_thread = {"inner_max_num_threads": 1, "initializer": _start_worker, "initargs": (os.getpid(),)}
        with threadpool_limits(1, "blas"), parallel_config("loky", **one_thread):
            parallel = Parallel(self.threads or 1, return_as="generator", pre_dispatch="64 * n_jobs")
            jobs = (delayed(_search_photograph)(each, self.config) for each in photographs)
            yield from parallel(jobs)


def _start_worker(parent: int) -> None:
    cv2.setNumThreads(1)
    end_with_parent(parent)


def search(rgb: np.ndarray, config: ProposalsConfig, size: tuple[int, int]) -> Proposals:
    """Proposals of a picture (h, w, 3) uint8 RGB that stands for an image of `size` (width, height)."""
    height, width = rgb.shape[:2]
    candidates = find_candidates(rgb)
    scores = objectness(candidates.evidence)
    proposals = to_proposals(
        candidates.boxes_xyxy, scores, SOURCE, config, (width, height), whole_score=scores[-1]
    )
    scale = np.array([size[0] / width, size[1] / height] * 2)
    return replace(proposals, boxes_xyxy=(proposals.boxes_xyxy * scale).astype(np.float32))


def _search_photograph(photograph: Photograph, config: ProposalsConfig) -> Proposals:
    rgb = read_reduced(photograph.source, config.input_size, photograph.size)
    return search(rgb, config, photograph.size)

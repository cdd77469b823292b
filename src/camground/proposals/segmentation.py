"""Leaf regions of a picture and what is measured of them, once, so that grouping only adds up.

A leaf is a region of Felzenszwalb and Huttenlocher's graph segmentation (IJCV 2004). Colour and
texture histograms and boundary strengths of any union of leaves are sums over its leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

COLOUR_BINS = 12  # of each of the three channels of L*a*b*
TEXTURE_BINS = 8  # orientations of the gradient, over half a turn


@dataclass(frozen=True)
class Pixels:
    """A picture as grouping sees it; h x w pixels.

    lab: (h, w, 3) uint8, OpenCV's L*a*b*. colour_bins: (h, w, 3) int64 in [0, 3 * COLOUR_BINS).
    orientation: (h, w) int64 in [0, TEXTURE_BINS). gradient: (h, w) float64, strongest channel's.
    edge: (h, w) float64 in [0, 1), the gradient against the picture's mean gradient.
    """

    lab: np.ndarray
    colour_bins: np.ndarray
    orientation: np.ndarray
    gradient: np.ndarray
    edge: np.ndarray


@dataclass(frozen=True)
class Leaves:
    """N leaf regions of one segmentation.

    labels: (h, w) int. sizes: (N,) pixels. boxes_xyxy: (N, 4) pixels. colour: (N, 3 * COLOUR_BINS)
    and texture: (N, TEXTURE_BINS), counts. shared: (N, N) pixel pairs along the common boundary,
    symmetric, diagonal 0. strength: (N, N) sum of edge strength over those pairs. frame: (N,)
    pixels on the picture's frame.
    """

    labels: np.ndarray
    sizes: np.ndarray
    boxes_xyxy: np.ndarray
    colour: np.ndarray
    texture: np.ndarray
    shared: np.ndarray
    strength: np.ndarray
    frame: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)


def measure_pixels(rgb: np.ndarray) -> Pixels:
    """Colour, orientation and edge strength of a picture (h, w, 3) uint8 RGB."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    smooth = cv2.GaussianBlur(lab, (0, 0), 0.8).astype(np.float32)
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125)
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125)
    squared = dx * dx + dy * dy
    gradient = np.sqrt(squared.sum(axis=2))
    strongest = squared.argmax(axis=2)[..., None]
    dx, dy = (np.take_along_axis(dx, strongest, 2)[..., 0], np.take_along_axis(dy, strongest, 2)[..., 0])
    angle = np.arctan2(dy, dx) % np.pi
    orientation = np.minimum((angle * (TEXTURE_BINS / np.pi)).astype(np.int64), TEXTURE_BINS - 1)
    bins = lab.astype(np.int64) * COLOUR_BINS // 256 + np.arange(3) * COLOUR_BINS
    edge = gradient / (gradient + gradient.mean() + 1.0)
    return Pixels(lab, bins, orientation, gradient.astype(np.float64), edge.astype(np.float64))


def segment(picture: np.ndarray, sigma: float, scale: float, min_pixels: int) -> np.ndarray:
    """Leaf labels (h, w) int64, 0 to N - 1, of a picture (h, w, 3) uint8 of any colour space."""
    method = cv2.ximgproc.segmentation.createGraphSegmentation(sigma, scale, min_pixels)
    labels = np.asarray(method.processImage(picture), dtype=np.int64)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def measure_leaves(labels: np.ndarray, pixels: Pixels) -> Leaves:
    """Histograms, boxes and boundaries of the leaves of `labels` (h, w)."""
    flat = labels.ravel()
    count = int(flat.max()) + 1
    sizes = np.bincount(flat, minlength=count)

    channels = 3 * COLOUR_BINS
    codes = flat[:, None] * channels + pixels.colour_bins.reshape(-1, 3)
    colour = np.bincount(codes.ravel(), minlength=count * channels).astype(np.float64)
    texture = np.bincount(
        flat * TEXTURE_BINS + pixels.orientation.ravel(),
        weights=pixels.gradient.ravel(),
        minlength=count * TEXTURE_BINS,
    )
    slices = ndimage.find_objects(labels + 1)
    boxes = np.array([[x.start, y.start, x.stop, y.stop] for y, x in slices])

    shared = np.zeros(count * count)
    strength = np.zeros(count * count)
    for pixel, neighbour in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        differ = labels[pixel] != labels[neighbour]
        code = labels[pixel][differ] * count + labels[neighbour][differ]
        edge = np.maximum(pixels.edge[pixel][differ], pixels.edge[neighbour][differ])
        shared += np.bincount(code, minlength=count * count)
        strength += np.bincount(code, weights=edge, minlength=count * count)
    pairs, strengths = shared.reshape(count, count), strength.reshape(count, count)

    frame = sum(
        np.bincount(side, minlength=count)
        for side in (labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1])
    )
    return Leaves(
        labels=labels,
        sizes=sizes.astype(np.float64),
        boxes_xyxy=boxes,
        colour=colour.reshape(count, channels),
        texture=texture.reshape(count, TEXTURE_BINS),
        shared=pairs + pairs.T,
        strength=strengths + strengths.T,
        frame=np.asarray(frame, dtype=np.float64),
    )

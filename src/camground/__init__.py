"""Weakly supervised visual grounding: from image-sentence pairs to boxes."""

__version__ = "0.2.0"

"""Weakly supervised visual grounding: from image-sentence pairs to boxes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camground.pipeline import GroundingPipeline

__version__ = "0.2.0"
__all__ = ["GroundingPipeline", "__version__"]


def __getattr__(name: str) -> Any:
    """`GroundingPipeline`, imported when it is asked for: the package itself is light."""
    if name == "GroundingPipeline":
        from camground.pipeline import GroundingPipeline

        return GroundingPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""A trained matcher from its checkpoint folder."""

from __future__ import annotations

from pathlib import Path

from camground.matcher.config import MatcherConfig
from camground.matcher.matcher import Matcher
from camground.study.checkpoints import load_checkpoint


def load_matcher(folder: str | Path) -> Matcher:
    """The matcher of a checkpoint folder, in evaluation mode, on the CPU."""
    saved, state = load_checkpoint(folder)
    channels = state["trunk.stem.weight"].shape[1]
    text_width = state["text.skip.weight"].shape[1]
    matcher = Matcher(MatcherConfig.parse(saved["matcher"], "matcher"), channels, text_width)
    matcher.load_state_dict(state)
    return matcher.eval()

"""Checkpoints: parameters and config as they were, or a clear refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from camground.study.checkpoints import load_checkpoint, save_checkpoint
from camground.study.errors import UserError


def test_a_checkpoint_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    save_checkpoint(tmp_path / "out", model.state_dict(), {"matcher": {"width": 8}})
    config, state = load_checkpoint(tmp_path / "out")
    assert config == {"matcher": {"width": 8}}
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_a_checkpoint_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, torch.nn.Linear(3, 2).state_dict(), {})
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match=r"not a whole checkpoint .*; rerun its training"):
        load_checkpoint(tmp_path)
    with pytest.raises(UserError, match="not a whole checkpoint"):
        load_checkpoint(tmp_path / "nowhere")

"""Where and how PyTorch computes."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch

from camground.study.devices import autocast, find_device, has_bfloat16
from camground.study.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def capabilities(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bool]]:
    """What PyTorch says that this processor can do."""
    said = {"avx2": True, "avx512_bf16": False, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: said, raising=False)
    has_bfloat16.cache_clear()
    yield said
    has_bfloat16.cache_clear()


def product(precision: str) -> torch.dtype:
    with autocast(precision, CPU):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16"])
def test_bfloat16_where_the_processor_has_it(capabilities: dict[str, bool], name: str) -> None:
    capabilities[name] = True
    assert product("bfloat16") == torch.bfloat16
    assert product("float32") == torch.float32


def test_float32_where_it_would_only_be_imitated_said_once(
    capabilities: dict[str, bool], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert [product("bfloat16"), product("bfloat16")] == [torch.float32] * 2
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == "float32 instead of bfloat16, which this cpu only imitates, slowly"


def test_what_is_asked_for_where_pytorch_cannot_tell(
    capabilities: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert product("bfloat16") == torch.bfloat16


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(UserError, match="device 'quantum': cannot be used here"):
        find_device("quantum")

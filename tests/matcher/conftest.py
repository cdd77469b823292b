"""What the tests of pretrained matchers share."""

from __future__ import annotations

import pytest

import tiny_matchers


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of the three tiny checkpoints."""
    kinds = tiny_matchers.KINDS
    return {kind: str(tiny_matchers.make(kind, tmp_path_factory.mktemp(kind))) for kind in kinds}

"""The moving average of a model's weights: what is validated, chosen and saved.

At a constant learning rate the weights keep moving about; their average does not, as after a decay of the
rate (Polyak and Juditsky 1992), and unlike a decay it needs not know when the training will end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

DECAY = 0.99  # about the last 100 steps


class WeightAverage:
    """An exponential moving average of the parameters that train, by name in `values`.

    Frozen networks and buffers stay as they are: no network of this package moves a buffer in training.
    """

    def __init__(self, model: nn.Module) -> None:
        named = model.named_parameters()
        self._weights = {name: value for name, value in named if value.requires_grad}
        self.values = self.weights()

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights themselves."""
        return {name: value.detach().clone() for name, value in self._weights.items()}

    def copy(self) -> dict[str, Tensor]:
        """A copy of the average."""
        return {name: value.clone() for name, value in self.values.items()}

    def update(self, step: int) -> None:
        """Take in the weights after step `step`, from 0: as the last tenth of the steps or so, at most about
        100 of them, so that an early average is not that of the start."""
        average = get_ema_multi_avg_fn(min(DECAY, (1 + step) / (10 + step)))
        average([*self.values.values()], [value.detach() for value in self._weights.values()], 0)

    @contextmanager
    def in_the_model(self) -> Iterator[None]:
        """The model has the average for weights until the block ends."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, weight in self._weights.items():
            weight.data, self.values[name] = self.values[name], weight.data

"""Where and how PyTorch computes, alike for every stage."""

from __future__ import annotations

import torch


def prepare_torch(threads: int, seed: int = 0) -> torch.device:
    """Fix PyTorch's seed and number of processor threads; the device to compute on: the GPU if there is one."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    # the math kernel alone has a double backward, which exact attention mining needs
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")

"""Where and how PyTorch computes, the same for every stage."""

from __future__ import annotations

import torch

from camground.study.errors import UserError


def find_device(name: str | torch.device) -> torch.device:
    """The device that PyTorch knows by this name, such as cpu or cuda:1; `UserError` where there is none."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    # a build without CUDA says so by an AssertionError
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"device {str(name)!r}: cannot be used here ({reason}); cpu always can") from None
    return device


def use_threads(threads: int | None) -> torch.device:
    """Set the number of processor threads (None: unchanged) and return the device to compute on: the GPU if
    there is one."""
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prepare_torch(threads: int, seed: int = 0) -> torch.device:
    """`use_threads` for networks that are differentiated: the seed fixed, and attention by the math kernel.

    That one alone has a double backward, which exact attention mining needs. The kernels round differently,
    on the CPU too, so the frozen features, which come from the faster ones, are computed without this.
    """
    torch.manual_seed(seed)
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    return use_threads(threads)

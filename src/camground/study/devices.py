"""Where and how PyTorch computes, the same for every stage."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

import torch

from camground.study.errors import UserError
from camground.study.progress import log


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


@cache
def _keep_memory() -> None:
    """Have glibc keep what tensors free: each step frees and asks again for the same large ones, and whatever
    went back to the system in between is mapped and cleared anew, a sixth of a matcher's training."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no tensor, however large, in a mapping of its own
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: and nothing back from the end of the heap


def prepare_torch(threads: int, seed: int = 0) -> torch.device:
    """`use_threads` for networks that are differentiated: the seed fixed, and attention by the math kernel.

    That one alone has a double backward, which exact attention mining needs. The kernels round differently,
    on the CPU too, so the frozen features, which come from the faster ones, are computed without this.
    What tensors free stays with the process (see `_keep_memory`).
    """
    torch.manual_seed(seed)
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    _keep_memory()
    return use_threads(threads)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The arithmetic of a config's `precision`: bfloat16 where it is asked for and the device has it, else
    float32, which a device without it is several times faster in."""
    asked = precision == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=asked and has_bfloat16(device.type))


@cache
def has_bfloat16(device_type: str) -> bool:
    """Whether these devices compute in bfloat16 themselves; says so, once, where they do not."""
    has = True
    if device_type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device_type == "cpu" and hasattr(torch.cpu, "get_capabilities"):  # older versions cannot tell
        # avx512_bf16 and amx_bf16, on ARM bf16
        has = any(value for name, value in torch.cpu.get_capabilities().items() if name.endswith("bf16"))
    if not has:
        log.info("float32 instead of bfloat16, which this %s only imitates, slowly", device_type)
    return has

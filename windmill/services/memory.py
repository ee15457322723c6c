"""Memory of a model that is gone: given back to the machine, not kept for the next one."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Collects what nobody refers to, and has PyTorch's and glibc's own stores of it emptied."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other libraries have no such store
    if trim is not None:
        trim(0)

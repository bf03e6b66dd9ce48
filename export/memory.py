"""Giving memory back between the parts of an export."""

from __future__ import annotations

import contextlib
import ctypes
import gc

__all__ = ["release_memory"]


def release_memory() -> None:
    """Free what only refers to itself, as graphs do, and give free memory back to the system.

    glibc keeps most of it otherwise: a gigabyte of constants, say, of a file that is written.
    """
    gc.collect()
    # Only glibc has it.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)

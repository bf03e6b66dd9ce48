"""Program files in the runtime, within this process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime
from torch import Tensor

from pockettune.errors import EngineFailed

__all__ = ["ProgramFile"]


class ProgramFile:
    """A program file, from its path or its bytes.

    One thread: beside PyTorch's own, more would wait for each other at every small operator of a
    busy machine (tens of times slower).
    """

    def __init__(self, source: Path | bytes) -> None:
        with _muted():
            if portable_lib._threadpool_get_thread_count() != 1:
                portable_lib._unsafe_reset_threadpool(1)
        self._source = source

    def method(self, name: str) -> Callable[..., Sequence[Tensor]]:
        """The method ``name`` as a function of tensors; outputs are the caller's own.

        Raises:
            EngineFailed: the file cannot be loaded; the function raises it when a run fails.
        """
        with _told_about(name):
            # The method keeps the program, and with it the mapped file, alive.
            loaded = Runtime.get().load_program(self._source)
            method: Any = loaded.load_method(name)

        def run(*inputs: Tensor) -> Sequence[Tensor]:
            with _told_about(name):
                outputs: Sequence[Tensor] = method.execute([value.contiguous() for value in inputs])
            return [value.clone() for value in outputs]

        run.program = loaded  # type: ignore[attr-defined]
        return run


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """Setting up threads tells standard error which other processors' files are not here."""
    saved, nobody = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nobody, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nobody)


@contextlib.contextmanager
def _told_about(name: str) -> Iterator[None]:
    """Turn the runtime's exceptions into ours."""
    try:
        yield
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise EngineFailed(name, str(error).splitlines()[0]) from error

"""What the libraries do at a cost that our graphs need not pay, switched off for a while."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator
from typing import Any

from executorch.exir._serialize import _dataclass as serialization
from torch import fx
from torch.fx.graph import _PyTreeCodeGen

__all__ = ["type_hints_once", "without_code_generation", "without_deprecations"]


@contextlib.contextmanager
def without_code_generation() -> Iterator[None]:
    """Within, editing a graph module writes no Python code for its forward.

    ``GraphModule.recompile`` prints and compiles a function of as many lines as the graph has
    nodes on every edit, which is most of the time of stock lowering; interpreters never need it.
    """
    recompile = fx.GraphModule.recompile

    def interpret(module: fx.GraphModule) -> None:
        if isinstance(module.graph._codegen, _PyTreeCodeGen):
            # A pattern of one of the delegate's passes: small, and its signature is needed.
            recompile(module)
            return

        def forward(self: fx.GraphModule, *arguments: Any) -> Any:
            return fx.Interpreter(self).run(*arguments, enable_io_processing=False)

        module._code = ""
        # fx gives every graph module a class of its own, so this touches no other module.
        type(module).forward = forward

    fx.GraphModule.recompile = interpret  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        fx.GraphModule.recompile = recompile  # type: ignore[method-assign]


@contextlib.contextmanager
def type_hints_once() -> Iterator[None]:
    """Within, the serializer looks up the types of a record's fields once per class.

    It does so for each record otherwise, which was two thirds of the time of lowering.
    """
    look_up = serialization.get_type_hints
    serialization.get_type_hints = functools.cache(look_up)
    try:
        yield
    finally:
        serialization.get_type_hints = look_up


@contextlib.contextmanager
def without_deprecations() -> Iterator[None]:
    """Within, the library may use what Python and torch have deprecated: its version is pinned."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield

"""Every use of an interface that executorch does not promise to keep, in one place.

The rest of the package sees only what is listed in ``__all__``. A new executorch version means to
read this folder again, change ``VERSION`` and run ``tests/export``.
"""

# ruff: noqa: E402

from export.lowering.private.version import require_version

# Before the imports below, which fail in other ways with another version.
require_version()

from export.lowering.private.dialect import edge_operator, exported_program, faked
from export.lowering.private.emission import (
    DELEGATE_CALL,
    delegate_module,
    planned_bytes,
    program_file,
)
from export.lowering.private.quirks import without_code_generation
from export.lowering.private.xnnpack import ConstantStore, Refusals, encode

__all__ = [
    "DELEGATE_CALL",
    "ConstantStore",
    "Refusals",
    "delegate_module",
    "edge_operator",
    "encode",
    "exported_program",
    "faked",
    "planned_bytes",
    "program_file",
    "require_version",
    "without_code_generation",
]

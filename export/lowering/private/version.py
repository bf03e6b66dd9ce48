"""The one version of executorch whose private interfaces are used."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from pockettune.errors import ToolMissing

__all__ = ["VERSION", "require_version"]

VERSION = "1.5.1"


def require_version() -> None:
    """Stop before any private interface is used when executorch is not the pinned version.

    Raises:
        ToolMissing: executorch is absent or has another version.
    """
    try:
        found = version("executorch")
    except PackageNotFoundError:
        found = "none"
    if found.split("+")[0] != VERSION:
        raise ToolMissing(
            f"executorch {VERSION} (found: {found})", f"pip install executorch=={VERSION}"
        )

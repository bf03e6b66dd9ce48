"""Reading and writing files so that a final name never bears half a file."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pockettune.errors import DiskFull, IoFailed, StorageError

__all__ = ["open_plain", "storage_error", "storage_errors", "sync_folder", "write_atomically"]

# EFBIG is the limit that a shell or a supervisor sets on file sizes: full, as far as we can see.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextlib.contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turns an ``OSError`` of the body into ``DiskFull`` or ``IoFailed``."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, action, path) from error


def storage_error(error: OSError, action: str, path: Path | str) -> StorageError:
    """``DiskFull`` or ``IoFailed`` for an ``OSError`` that came of ``action`` on ``path``."""
    if error.errno in _FULL:
        return DiskFull(path)
    return IoFailed(action, path, error.strerror or error)


def open_plain(path: Path) -> io.BufferedReader:
    """Opens a plain file for reading; raises ``OSError`` for anything else, never waits for it.

    A named pipe in the place of a file would otherwise hang whoever opens it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a plain file")
    return os.fdopen(descriptor, "rb")


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable, as ``fsync`` does the bytes of a file."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file: temporary sibling, synced, renamed, folder synced.

    Raises ``DiskFull`` or ``IoFailed``; then the file that was there before, if any, still is.
    """
    with storage_errors("write", path):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                # mkstemp makes files that only the owner may read; a result is for everyone.
                os.fchmod(file.fileno(), 0o644)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)

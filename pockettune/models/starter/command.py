"""What the starter's commands share: how they fail, and how they count."""

import argparse
import errno
import sys
from collections.abc import Callable

from pockettune.errors import DiskFull, Interrupted, IoFailed, OutOfMemory, PocketTuneError

__all__ = ["count", "run"]


def run(action: Callable[[], None], name: str) -> int:
    """Run a command; returns 0, or the exit status of what failed, said in one sentence."""
    try:
        action()
    except PocketTuneError as error:
        return _fail(error, name)
    except KeyboardInterrupt:
        return _fail(Interrupted("a signal"), name)
    except MemoryError:
        return _fail(OutOfMemory("ask for less"), name)
    except OSError as error:
        path = error.filename or "a file"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(DiskFull(path), name)
        return _fail(IoFailed("use", path, error.strerror or error), name)
    return 0


def count(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def _fail(error: PocketTuneError, name: str) -> int:
    print(f"{name}: {error}", file=sys.stderr)
    return error.exit_status

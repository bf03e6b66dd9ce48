"""The command ``python -m export``: words in, a bundle and a report out.

Progress goes to standard error, the result to standard output. Exit statuses are those of
``spec/errors.json``; 0 is success, and a bug is logged.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from export.arguments import COMMAND, FLEET, LOCAL, SETTINGS, build_parser
from export.explain import as_lines, explain
from export.federated import FederatedRequest, is_federated, prepare_federated
from export.prepare import Prepared, Request, prepare
from export.progress import Advance, StepClock
from export.sizes import size
from export.targets import FLEET_ONLY, parse_targets
from pockettune import method as methods
from pockettune.errors import Bug, Interrupted, OutOfMemory, PocketTuneError, Usage
from pockettune.files import storage_error

__all__ = ["main"]

_BITS = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    previous = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        return _run(arguments)
    except PocketTuneError as error:
        return _fail(str(error), error.exit_status)
    except KeyboardInterrupt:
        return _fail("Stopped; no bundle was written.", Interrupted.exit_status)
    except MemoryError:
        return _fail(
            "There is not enough memory for this export; nothing was written: close other programs,"
            " use --bits 8 or a smaller model.",
            OutOfMemory.exit_status,
        )
    except OSError as error:
        failure = storage_error(error, "use", error.filename or "a temporary file")
        return _fail(str(failure), failure.exit_status)
    except Exception as error:  # noqa: BLE001 - the last line before a person: a bug is said, logged
        return _fail(_bug(error, arguments), Bug.exit_status)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(arguments: Sequence[str]) -> int:
    options = build_parser().parse_args(arguments)
    if options.list:
        known = [methods.PLAIN, *methods.names()]
        print("\n".join(name for name in known if _can_have(name, options.target)))
        return 0
    if options.out is None and not options.explain:
        raise Usage("The bundle's folder is missing: add --out DIR", COMMAND)
    federated = is_federated(options.method)
    options.targets = parse_targets(options.target, fleet=federated)
    if options.measure and "executorch" not in options.targets:
        raise Usage("--measure has no place here: pockettune-run has executorch alone", COMMAND)
    if federated:
        _refuse(options, ("bits",), "all weights of a model that a fleet trains have 32 bits")
        return _run_federated(options)
    _refuse(options, FLEET, f"the method {options.method} trains no model of a fleet")
    request = Request(
        model=options.model,
        method=options.method,
        settings=_settings(options),
        bits=options.bits or _BITS,
    )
    _make(options, partial(prepare, request))
    return 0


def _can_have(method: str, target: str) -> bool:
    """Whether a method can be exported for all of these targets. Raises ConfigInvalid for one that
    no method has."""
    targets = parse_targets(target, fleet=True)
    return is_federated(method) or not set(targets) & set(FLEET_ONLY)


def _refuse(options: argparse.Namespace, names: Sequence[str], reason: str) -> None:
    """An option that would do nothing is a mistake. Raises Usage."""
    for name in names:
        if getattr(options, name) is not None:
            raise Usage(f"--{name.replace('_', '-')} has no place here: {reason}", COMMAND)


def _make(options: argparse.Namespace, prepared: Callable[[Advance], Prepared]) -> None:
    _quiet_libraries()
    clock = StepClock()
    if options.explain:
        _explain(prepared, clock, options)
    else:
        _export(prepared, options, clock)


def _run_federated(options: argparse.Namespace) -> int:
    """Export what a client trains."""
    settings = _settings(options)
    local = {name: getattr(options, name) for name in LOCAL if getattr(options, name) is not None}
    local |= {name: settings.pop(name) for name in ("optimizer", "steps") if name in settings}
    if options.input_shape is None or options.classes is None:
        raise Usage("Of a model that a fleet trains give --input-shape and --classes", COMMAND)
    request = FederatedRequest(
        model=options.model,
        method=options.method,
        input_shape=_integers("--input-shape", options.input_shape, "x", "1x28x28"),
        classes=options.classes,
        seed=settings.pop("seed", 0),
        settings=settings,
        local=local,
        bits=_integers("--predict-bits", options.predict_bits or "8,4", ",", "8,4"),
        parameters=options.parameters,
    )
    _make(options, partial(prepare_federated, request))
    return 0


def _integers(option: str, text: str, separator: str, example: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(separator))
    except ValueError as error:
        raise Usage(f"{option} {text!r} is not like {example}", COMMAND) from error


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given, by the names of the method's config."""
    given = {name: getattr(options, name) for name in SETTINGS}
    return {name: value for name, value in given.items() if value is not None} | dict(options.set)


def _explain(
    prepared: Callable[[Advance], Prepared], clock: StepClock, options: argparse.Namespace
) -> None:
    with clock.step("prepare") as advance:
        explanation = explain(prepared(advance), options.targets)
    print(_json(explanation) if options.json else "\n".join(as_lines(explanation)))


def _export(
    prepared: Callable[[Advance], Prepared], options: argparse.Namespace, clock: StepClock
) -> None:
    # It imports torch: a mistake on the command line shall be told at once.
    from export.report import write_report
    from export.steps import export_bundle

    exported = export_bundle(
        prepared, options.out, clock, targets=options.targets, measured=options.measure
    )
    report = write_report(exported)
    if options.json:
        print(_json({**exported.to_json(), "report": str(report)}))
        return
    packed = exported.packed
    seconds = sum(exported.seconds.values())
    print(f"bundle  {packed.folder}  ({size(packed.bytes)}, {seconds:.0f} s)")
    print(f"id      {packed.bundle_id}")
    print(f"report  {report}")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, default=dict)  # read-only mappings


def _quiet_libraries() -> None:
    """Keep other libraries' notes off the screen: they are for their developers."""
    # A progress bar of theirs between ours would tear the screen; they read this when imported.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def _bug(error: Exception, arguments: Sequence[str]) -> str:
    """Log what is needed to find the fault; returns the sentence for the person."""
    what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    with tempfile.NamedTemporaryFile(
        "w", prefix="pockettune-export-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        log.write(f"{COMMAND} {shlex.join(arguments)}\n")
        log.write("".join(traceback.format_exception(error)))
    return (
        f"This is a bug in the exporter, not a mistake of yours ({what}); no bundle was written:"
        f" report it with the log {log.name}."
    )


def _as_interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(sentence: str, status: int) -> int:
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"{COMMAND}: {sentence}", markup=False
    )
    return status

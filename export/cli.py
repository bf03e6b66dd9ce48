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
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from export.explain import as_lines, explain
from export.federated import FederatedRequest, is_federated, prepare_federated
from export.prepare import Prepared, Request, prepare
from export.progress import Advance, StepClock
from export.sizes import size
from pockettune import method as methods
from pockettune.errors import Bug, Interrupted, OutOfMemory, PocketTuneError, Usage
from pockettune.files import storage_errors

__all__ = ["build_parser", "main"]

COMMAND = "python -m export"
DEFAULT_METHOD = "hollowed_net"
TARGETS = ("executorch",)
LOCAL = (
    "batch_size",
    "epochs",
    "momentum",
    "learning_rate",
    "weight_decay",
    "max_gradient_norm",
)
"""The options of a client's training, by their names there."""
SETTINGS = ("cut", "rank", "optimizer", "accumulation", "recompute", "steps", "seed")
"""The options that are settings of a method, by their names in its config."""

DESCRIPTION = """\
Turn a text-to-image model into a bundle: a folder that a phone (or pockettune-run) can train and
generate pictures with. The export goes through five steps - prepare, capture, lower, check, pack -
and always compares the final programs with PyTorch before it writes anything."""

EXAMPLES = """\
examples:
  python -m export --out out/starter                   the starter model, usual settings
  python -m export --explain                           what that would make, without making it
  python -m export --model ./my-model --cut C --rank 8 --out out/mine
  python -m export --cut none --out out/full           plain LoRA of the whole net
  python -m export --out out/starter --json            the result as JSON, for scripts
  python -m export --method quant_robust --model lenet --input-shape 1x28x28 --classes 10 \\
      --out out/lenet                                  what a client of a fleet trains
"""


class _Parser(argparse.ArgumentParser):
    """Reports mistakes as ours: one sentence, exit status 2."""

    def error(self, message: str) -> NoReturn:
        raise Usage(message[:1].upper() + message[1:], COMMAND)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = _Parser(
        prog=COMMAND,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to export")
    what.add_argument(
        "--model",
        default="starter",
        help="'starter' (comes with PocketTune, works offline), a folder in diffusers format,"
        " or a hub name like owner/name (default: %(default)s)",
    )
    what.add_argument("--out", type=Path, metavar="DIR", help="the bundle's folder; required")
    what.add_argument(
        "--target", choices=TARGETS, default=TARGETS[0], help="the runtime (default: %(default)s)"
    )
    what.add_argument(
        "--bits",
        type=int,
        choices=(8, 32),
        default=8,
        help="bits of each frozen weight; what is trained stays at 32 (default: %(default)s)",
    )
    how = parser.add_argument_group("how it shall train (the method's defaults, if not given)")
    how.add_argument("--method", default=DEFAULT_METHOD, help="see --list (default: %(default)s)")
    how.add_argument(
        "--cut",
        help="how much of the net is left out while training: A (least) to D (most), or none;"
        " more means less memory and a coarser fit",
    )
    how.add_argument("--rank", type=int, help="size of the adapter: 4 is small, 32 is large")
    how.add_argument("--steps", type=int, help="training steps that a device takes by default")
    how.add_argument("--optimizer", help="adamw, or sgd (less state)")
    how.add_argument("--accumulation", type=int, help="samples that make one update")
    how.add_argument(
        "--recompute", help="block (less memory, some time) or none (the other way round)"
    )
    how.add_argument("--seed", type=int, help="of the adapter's first values")
    how.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting of the method, its value as JSON; may be given again",
    )
    fleet = parser.add_argument_group("a model that a fleet trains (fedavg, quant_robust, ...)")
    fleet.add_argument("--input-shape", metavar="6x100", help="shape of one input")
    fleet.add_argument("--classes", type=int, help="number of classes")
    fleet.add_argument("--batch-size", type=int, help="examples of a step (default: 32)")
    fleet.add_argument("--epochs", type=int, help="passes over a client's data (default: 1)")
    fleet.add_argument("--momentum", type=float, help="of sgd (default: 0)")
    fleet.add_argument("--learning-rate", type=float, help="default of a client's rate")
    fleet.add_argument("--weight-decay", type=float, help="default of a client's decay")
    fleet.add_argument("--max-gradient-norm", type=float, help="clip gradients; 0 is no clipping")
    instead = parser.add_argument_group("instead of exporting")
    instead.add_argument("--list", action="store_true", help="print the methods, one a line")
    instead.add_argument(
        "--explain",
        action="store_true",
        help="print parameters, cuts, programs and expected sizes; write nothing",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--measure",
        action="store_true",
        help="also run each program with pockettune-run and put seconds and memory into the"
        " bundle (its bytes then depend on this machine)",
    )
    output.add_argument(
        "--json", action="store_true", help="print the result as JSON, and nothing else, there"
    )
    return parser


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
        return _storage_failure(error)
    except Exception as error:  # noqa: BLE001 - the last line before a person: a bug is said, logged
        return _fail(_bug(error, arguments), Bug.exit_status)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(arguments: Sequence[str]) -> int:
    options = build_parser().parse_args(arguments)
    if options.list:
        print("\n".join(methods.names()))
        return 0
    if options.out is None and not options.explain:
        raise Usage("The bundle's folder is missing: add --out DIR", COMMAND)
    if is_federated(options.method):
        return _run_federated(options)
    request = Request(
        model=options.model,
        method=options.method,
        settings=_settings(options),
        bits=options.bits,
    )
    _make(options, partial(prepare, request))
    return 0


def _make(options: argparse.Namespace, prepared: Callable[[Advance], Prepared]) -> None:
    _quiet_libraries()
    clock = StepClock()
    if options.explain:
        _explain(prepared, clock, as_json=options.json)
    else:
        _export(prepared, options, clock)


def _run_federated(options: argparse.Namespace) -> int:
    """Export what a client trains."""
    settings = _settings(options)
    local = {name: getattr(options, name) for name in LOCAL if getattr(options, name) is not None}
    local |= {name: settings.pop(name) for name in ("optimizer", "steps") if name in settings}
    if options.input_shape is None or options.classes is None:
        raise Usage("Of a model that a fleet trains give --input-shape and --classes", COMMAND)
    try:
        shape = tuple(int(size) for size in options.input_shape.split("x"))
    except ValueError as error:
        raise Usage(
            f"--input-shape {options.input_shape!r} is not like 1x28x28", COMMAND
        ) from error
    request = FederatedRequest(
        model=options.model,
        method=options.method,
        input_shape=shape,
        classes=options.classes,
        seed=settings.pop("seed", 0),
        settings=settings,
        local=local,
    )
    _make(options, partial(prepare_federated, request))
    return 0


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given, by the names of the method's config."""
    given = {name: getattr(options, name) for name in SETTINGS}
    settings = {name: value for name, value in given.items() if value is not None}
    for item in options.set:
        name, equals, text = item.partition("=")
        try:
            settings[name] = json.loads(text)
        except json.JSONDecodeError as error:
            if not equals or text[:1] in '[{"':
                raise Usage(f"--set {item!r} is not NAME=VALUE with JSON", COMMAND) from error
            settings[name] = text  # a bare word is a text: --set targets=... stays easy to type
    return settings


def _explain(prepared: Callable[[Advance], Prepared], clock: StepClock, *, as_json: bool) -> None:
    with clock.step("prepare") as advance:
        explanation = explain(prepared(advance))
    print(_json(explanation) if as_json else "\n".join(as_lines(explanation)))


def _export(
    prepared: Callable[[Advance], Prepared], options: argparse.Namespace, clock: StepClock
) -> None:
    # It imports torch: a mistake on the command line shall be told at once.
    from export.report import write_report
    from export.steps import export_bundle

    exported = export_bundle(prepared, options.out, clock, measured=options.measure)
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


def _storage_failure(error: OSError) -> int:
    try:
        with storage_errors("use", Path(error.filename or "a temporary file")):
            raise error
    except PocketTuneError as failure:
        return _fail(str(failure), failure.exit_status)


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

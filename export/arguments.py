"""The command line of ``python -m export``: what may be said, and what each word means."""

from __future__ import annotations

import argparse
from typing import NoReturn

from export.targets import TARGETS
from pockettune.argument_types import path, setting, words
from pockettune.errors import Usage

__all__ = ["COMMAND", "FLEET", "LOCAL", "SETTINGS", "build_parser"]

COMMAND = "python -m export"
DEFAULT_METHOD = "hollowed_net"
LOCAL = (
    "batch_size",
    "epochs",
    "momentum",
    "learning_rate",
    "weight_decay",
    "max_gradient_norm",
)
"""The options of a client's training, by their names there."""
FLEET = ("input_shape", "classes", "predict_bits", "parameters", *LOCAL)
"""The options that only a model has that a fleet trains."""
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
  python -m export --method fedavg --model lenet --input-shape 1x28x28 --classes 10 \\
      --out out/lenet                                  what a client of a fleet trains
  python -m export --method fedavg --model lenet --input-shape 1x28x28 --classes 10 \\
      --target onnxruntime --out out/lenet        the same for ONNX Runtime
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
        type=words,
        default="starter",
        help="'starter' (comes with PocketTune, works offline), a folder in diffusers format,"
        " or a hub name like owner/name (default: %(default)s)",
    )
    what.add_argument("--out", type=path, metavar="DIR", help="the bundle's folder; required")
    what.add_argument(
        "--target",
        default=TARGETS[0],
        metavar="ENGINE[,ENGINE]",
        help=f"the runtimes that devices may use: {', '.join(TARGETS)} (default: %(default)s)",
    )
    what.add_argument(
        "--bits",
        type=int,
        choices=(8, 32),
        help="bits of each frozen weight; what is trained stays at 32 (default: 8)",
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
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting of the method, its value as JSON; may be given again",
    )
    fleet = parser.add_argument_group(
        "a model that a fleet trains (--method fedavg, or one that changes it)"
    )
    fleet.add_argument("--input-shape", metavar="6x100", help="shape of one input")
    fleet.add_argument("--classes", type=int, help="number of classes")
    fleet.add_argument("--batch-size", type=int, help="examples of a step (default: 32)")
    fleet.add_argument("--epochs", type=int, help="passes over a client's data (default: 1)")
    fleet.add_argument("--momentum", type=float, help="of sgd (default: 0)")
    fleet.add_argument("--learning-rate", type=float, help="default of a client's rate")
    fleet.add_argument("--weight-decay", type=float, help="default of a client's decay")
    fleet.add_argument("--max-gradient-norm", type=float, help="clip gradients; 0 is no clipping")
    fleet.add_argument(
        "--predict-bits",
        type=words,
        metavar="8,4,2",
        help="bits of the weights at which a device can predict, besides 32 (default: 8,4)",
    )
    fleet.add_argument(
        "--parameters",
        type=path,
        metavar="FILE",
        help="safetensors that training starts from, such as a client writes them",
    )
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

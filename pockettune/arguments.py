"""The command line: what may be said, and what each word means."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from pockettune.argument_types import path, words
from pockettune.data import command as data
from pockettune.errors import Usage
from pockettune.prompts import DEFAULT_TEMPLATE
from pockettune.simulate import command as simulate

__all__ = ["parser"]


_MOST_THREADS = 64
"""As the runner's."""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are our errors."""

    def error(self, message: str) -> NoReturn:
        raise Usage(message[:1].upper() + message[1:], self.prog)


def parser(commands: Mapping[str, Callable[..., object]]) -> argparse.ArgumentParser:
    """The parser; each command's function, by the command's name, becomes the attribute ``run``."""
    top = _Parser(
        prog="pockettune",
        description="Personalize a picture model from a few photos; let a fleet learn together.",
    )
    names = top.add_subparsers(metavar="COMMAND", required=True)
    _personalize(names, commands["personalize"])
    _generate(names, commands["generate"])
    _verify(names, commands["verify"])
    _sign(names, commands["sign"])
    for name, text, add_options in (
        ("simulate", "let a fleet learn together, simulated", simulate.add_options),
        ("data", "look at a data set and how it is shared out", data.add_options),
    ):
        add = names.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        add.set_defaults(run=commands[name])
        add_options(add)
    return top


def _personalize(
    names: argparse._SubParsersAction[_Parser], function: Callable[..., object]
) -> None:
    add = names.add_parser(
        "personalize",
        help="learn a subject from a few photos",
        description="Trains a small adapter on photos of one subject. Nothing leaves this machine."
        " Stopped at any point, the same command goes on from where it was.",
    )
    add.set_defaults(run=function)
    _common(add)
    add.add_argument("--photos", type=path, required=True, metavar="DIR", help="3 to 6 photos")
    add.add_argument(
        "--subject",
        type=words,
        required=True,
        metavar="WORD",
        help="a rare word that shall name it: sks",
    )
    add.add_argument(
        "--class",
        dest="class_word",
        type=words,
        required=True,
        metavar="WORD",
        help="what it is: frog",
    )
    add.add_argument("--out", type=path, required=True, metavar="DIR", help="for the results")
    add.add_argument(
        "--template",
        type=words,
        default=DEFAULT_TEMPLATE,
        help="the photos' prompt (default: %(default)s)",
    )
    add.add_argument("--steps", type=_count, help="training steps (default: the bundle's)")
    add.add_argument("--learning-rate", type=_positive, metavar="X", help="(default: the bundle's)")
    add.add_argument(
        "--prior-preservation",
        action="store_true",
        help="train on pictures that the model draws of the class as well: it forgets less",
    )
    add.add_argument(
        "--class-pictures", type=_count, metavar="N", help="how many of them (default: 16)"
    )
    add.add_argument(
        "--prior-weight", type=_positive, metavar="X", help="weight of their loss (default: 1)"
    )
    add.add_argument(
        "--preview",
        type=words,
        action="append",
        metavar="PROMPT",
        help="drawn before and after for the sheet; give it several times for several prompts"
        " (default: three prompts)",
    )
    add.add_argument("--no-preview", action="store_true", help="draw nothing, make no sheet")


def _generate(names: argparse._SubParsersAction[_Parser], function: Callable[..., object]) -> None:
    add = names.add_parser("generate", help="draw a picture", description="Draws a prompt.")
    add.set_defaults(run=function)
    _common(add)
    add.add_argument("--prompt", type=words, required=True, metavar="TEXT", help="what to draw")
    add.add_argument(
        "--adapter",
        type=path,
        metavar="FILE",
        help="adapter.safetensors of personalize, or a LoRA that diffusers or PEFT saved",
    )
    add.add_argument("--steps", type=_count, help="denoising steps (default: the bundle's)")
    add.add_argument(
        "--guidance",
        type=_positive,
        metavar="X",
        help="weight of the prompt (default: the bundle's)",
    )
    add.add_argument("--count", type=_count, default=1, metavar="N", help="pictures (default: 1)")
    add.add_argument("-o", "--out", type=_picture, required=True, metavar="FILE.png")


def _verify(names: argparse._SubParsersAction[_Parser], function: Callable[..., object]) -> None:
    add = names.add_parser(
        "verify", help="check a bundle", description="Checks every byte of a bundle."
    )
    add.set_defaults(run=function)
    add.add_argument("--bundle", type=path, required=True, metavar="DIR")
    add.add_argument(
        "--key", type=path, metavar="PUBLIC.pem", help="it must be signed by this key's owner"
    )
    add.add_argument("--json", action="store_true", help="print the result as JSON, nothing else")


def _sign(names: argparse._SubParsersAction[_Parser], function: Callable[..., object]) -> None:
    add = names.add_parser(
        "sign",
        help="sign a bundle",
        description="Signs a bundle (ECDSA P-256), so that an app can refuse any other's. The id"
        " stays. A key: openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8"
        " -nocrypt",
    )
    add.set_defaults(run=function)
    add.add_argument("--bundle", type=path, required=True, metavar="DIR")
    add.add_argument("--key", type=path, required=True, metavar="PRIVATE.pem")
    add.add_argument("--json", action="store_true", help="print the result as JSON, nothing else")


def _common(add: argparse.ArgumentParser) -> None:
    add.add_argument(
        "--bundle", type=path, required=True, metavar="DIR", help="what `python -m export` wrote"
    )
    add.add_argument("--seed", type=_seed, default=0, help="same seed, same result (default: 0)")
    add.add_argument(
        "--threads",
        type=_threads,
        default=min(len(os.sched_getaffinity(0)), _MOST_THREADS),
        help="(default: this machine's, %(default)s)",
    )
    add.add_argument("--json", action="store_true", help="print the result as JSON, nothing else")


def _count(text: str) -> int:
    return _whole(text, 1, 1_000_000)


def _threads(text: str) -> int:
    return _whole(text, 1, _MOST_THREADS)


def _seed(text: str) -> int:
    return _whole(text, 0, 2**64 - 1)


def _whole(text: str, low: int, high: int) -> int:
    valid = f"{text!r} is not a whole number from {low} to {high}"
    if not text.isascii() or not text.isdigit() or not low <= int(text[:30]) <= high:
        raise argparse.ArgumentTypeError(valid)
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and below a million")
    return value


def _picture(text: str) -> Path:
    file = path(text)
    if file.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .png")
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder")
    return file

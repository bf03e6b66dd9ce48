"""The command ``pockettune``: personalize, generate, verify, sign; simulate, data."""

from __future__ import annotations

import argparse
import io
import json
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from pockettune.arguments import parser
from pockettune.bundle import Bundle, open_bundle, sign_bundle
from pockettune.data import command as data
from pockettune.errors import (
    Bug,
    ConfigInvalid,
    Interrupted,
    OutOfMemory,
    PocketTuneError,
)
from pockettune.files import storage_error, storage_errors, write_atomically
from pockettune.images import photo_files, read_photo
from pockettune.personalize import Drawing, Subject, Training, generate, personalize, tokenizer_of
from pockettune.progress import progress
from pockettune.sheet import before_and_after
from pockettune.signature import read_private_key, read_public_key
from pockettune.simulate import command as simulate

__all__ = ["main"]

_CLASS_PICTURES = 16

Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, or the exit status of ``spec/errors.json``."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        commands = {
            "personalize": _personalize,
            "generate": _generate,
            "verify": _verify,
            "sign": _sign,
            "simulate": simulate.run,
            "data": data.run,
        }
        options = parser(commands).parse_args(arguments)
        result = options.run(options, Console(stderr=True))
        _say(json.dumps(result) if options.json else result["summary"])
    except PocketTuneError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return _fail(Interrupted("a signal"))
    except MemoryError:
        return _fail(OutOfMemory("use a bundle of a smaller model"))
    except OSError as error:
        return _fail(storage_error(error, "use", error.filename or "a file"))
    except Exception:  # noqa: BLE001  A person gets a sentence, and the trace to send us.
        with tempfile.NamedTemporaryFile(
            "w", prefix="pockettune-", suffix=".log", delete=False
        ) as log:
            traceback.print_exc(file=log)
        return _fail(Bug(log.name))
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _say(text: str) -> None:
    """Print what was done; letters that the terminal lacks as escapes, since it is done."""
    try:
        print(text)
    except UnicodeEncodeError:
        print(text.encode("ascii", "backslashreplace").decode())


def _fail(error: PocketTuneError) -> int:
    print(f"pockettune: {error.code}: {error}", file=sys.stderr)
    return error.exit_status


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise KeyboardInterrupt


def _personalize(options: argparse.Namespace, console: Console) -> Result:
    bundle = open_bundle(options.bundle)
    subject = Subject(options.subject, options.class_word, options.template)
    out: Path = options.out
    training = _training(options)
    prompts = _preview_prompts(options, bundle, subject)
    with progress(console) as on_event:
        adapter = personalize(bundle, options.photos, subject, out, training, on_event)
    result: Result = json.loads((out / "result.json").read_text())
    result |= {"adapter": str(adapter), "prompt": subject.prompt, "sheet": None}
    if prompts:
        title = f"{subject.prompt}: before and after {result['steps']} steps"
        drawing = Drawing(seed=options.seed, threads=options.threads)
        result["sheet"] = str(
            _preview(bundle, options.photos, prompts, out, adapter, drawing, title, console)
        )
    result["summary"] = _personalize_summary(options, result)
    return result


def _training(options: argparse.Namespace) -> Training:
    if not options.prior_preservation:
        for name in ("class_pictures", "prior_weight"):
            if getattr(options, name) is not None:
                valid = "given together with --prior-preservation only"
                raise ConfigInvalid(name, getattr(options, name), valid)
    return Training(
        steps=options.steps,
        seed=options.seed,
        learning_rate=options.learning_rate,
        class_pictures=(options.class_pictures or _CLASS_PICTURES)
        if options.prior_preservation
        else 0,
        prior_weight=options.prior_weight or 1.0,
        threads=options.threads,
    )


def _preview_prompts(
    options: argparse.Namespace, bundle: Bundle, subject: Subject
) -> Sequence[str]:
    """What the sheet shows; checked before the training, not after it.

    Raises PromptTooLong for one that was asked for; our own go without those that do not fit.
    """
    if options.no_preview:
        return []
    if options.preview:
        tokenizer_of(bundle).encode(options.preview)
        return list(options.preview)
    own = [subject.prompt, f"{subject.prompt} on a blue background", subject.class_prompt]
    tokenizer = tokenizer_of(bundle)
    return [prompt for prompt in own if prompt and tokenizer.fits(prompt)]


def _preview(
    bundle: Bundle,
    photos: Path,
    prompts: Sequence[str],
    out: Path,
    adapter: Path,
    drawing: Drawing,
    title: str,
    console: Console,
) -> Path:
    """Draws the prompts with and without the adapter; returns the sheet's file."""
    pictures = []
    for name, file in (("before", None), ("after", adapter)):
        console.print(f"pictures {name}", highlight=False)
        with progress(console) as on_event:
            paths, _ = generate(bundle, prompts, out / name, drawing, on_event, adapter=file)
        pictures.append(paths)
    image = bundle.manifest["image"]
    shown = [read_photo(path, image["height"], image["width"]) for path in photo_files(photos)]
    sheet = out / "sheet.png"
    drawn = io.BytesIO()
    before_and_after(shown, prompts, *pictures, title=title).save(drawn, "png")
    write_atomically(sheet, drawn.getvalue())
    return sheet


def _personalize_summary(options: argparse.Namespace, result: Result) -> str:
    lines = [
        f"learnt   {result['prompt']!r} in {result['steps']} steps of"
        f" {result['seconds_per_step']:.3f} s, loss {result['loss_first']:.4f} ->"
        f" {result['loss_last']:.4f}, peak memory {result['peak_pss_bytes'] / 2**20:.0f} MiB",
        f"adapter  {result['adapter']}",
    ]
    if result["sheet"]:
        lines.append(f"sheet    {result['sheet']}")
    lines.append(
        f"draw it  pockettune generate --bundle {options.bundle} --adapter {result['adapter']}"
        f" --prompt {result['prompt']!r} --seed 1 -o picture.png"
    )
    return "\n".join(lines)


def _generate(options: argparse.Namespace, console: Console) -> Result:
    bundle = open_bundle(options.bundle)
    out: Path = options.out
    with storage_errors("create", out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    drawing = Drawing(options.steps, options.guidance, options.seed, options.threads)
    prompts = [options.prompt] * options.count
    # Beside the result, so that the last step is a rename on one file system.
    with tempfile.TemporaryDirectory(prefix=".pockettune-", dir=out.parent) as folder:
        with progress(console) as on_event:
            drawn, last = generate(
                bundle, prompts, Path(folder), drawing, on_event, adapter=options.adapter
            )
        pictures = [
            out if options.count == 1 else out.with_stem(f"{out.stem}-{index + 1}")
            for index in range(options.count)
        ]
        for source, target in zip(drawn, pictures, strict=True):
            with storage_errors("write", target):
                source.replace(target)
    return {
        "pictures": [str(path) for path in pictures],
        "seconds_per_step": last["seconds_per_step"],
        "peak_pss_bytes": last["peak_pss_bytes"],
        "summary": "\n".join(f"picture  {path}" for path in pictures),
    }


def _verify(options: argparse.Namespace, console: Console) -> Result:
    del console
    key = None if options.key is None else read_public_key(options.key)
    manifest = open_bundle(options.bundle, key=key).manifest
    signed = "" if key is None else " and signed by this key"
    bundle_bytes = sum(file["bytes"] for file in manifest["files"].values())
    return {
        "name": manifest["name"],
        "bundle_id": manifest["bundle_id"],
        "programs": sorted(manifest["programs"]),
        "bytes": bundle_bytes,
        "signed": key is not None,
        "summary": f"{options.bundle} is whole{signed}: {manifest['name']},"
        f" {len(manifest['programs'])} programs, {bundle_bytes / 1e6:.1f} MB,"
        f" id {manifest['bundle_id'][:12]}",
    }


def _sign(options: argparse.Namespace, console: Console) -> Result:
    del console
    sign_bundle(options.bundle, read_private_key(options.key))
    bundle_id = open_bundle(options.bundle, verify=False).bundle_id
    return {"bundle_id": bundle_id, "summary": f"{options.bundle} is signed, id {bundle_id[:12]}"}

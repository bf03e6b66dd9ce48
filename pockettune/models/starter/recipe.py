"""The recipe's stages, in order: each reads what earlier ones left, and adds to it.

The embedded weights went through the same functions; the model card says which stages were run, on
what, and for how long.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from pockettune.models.starter import (
    autoencoder,
    card,
    concepts,
    denoiser,
    evaluate,
    networks,
    tokenizer,
)
from pockettune.models.starter.pictograms import download, drawings, every_training_drawing
from pockettune.models.starter.views import views
from pockettune.models.starter.workspace import Workspace, complete_folder

__all__ = ["STAGES", "Stage", "start_from"]

AUTOENCODER_VIEWS = 4  # of each of about 3,000 drawings: many shapes rather than many views
ADDED_WEIGHT = 3.0  # an added concept is drawn this many times as often as a first one


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of the recipe; it has been done when `output` exists."""

    name: str
    purpose: str
    output: Callable[[Workspace], Path]
    run: Callable[[Workspace, Progress], None]


def progress() -> Progress:
    """The bar every stage shows."""
    return Progress(
        TextColumn("{task.description:<11}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )


def start_from(work: Workspace, folder: Path, note: str) -> None:
    """Take tokenizer, autoencoder, text encoder and U-Net from a pipeline folder.

    That stands for the stages tokenizer, autoencoder and first. Raises ModelNotFound.
    """
    pipeline = networks.open_pipeline(folder)
    for part, target in ((pipeline.tokenizer, work.tokenizer), (pipeline.vae, work.autoencoder)):
        if not target.exists():
            with complete_folder(target) as made:
                part.save_pretrained(made)
    if not work.first.exists():
        _save_denoiser(work.first, pipeline.unet, pipeline.text_encoder)
    work.note("start", note=note)


def _data(work: Workspace, bars: Progress) -> None:
    download(work.packages)
    drawn = drawings(work.packages, concepts.ALL)
    task = bars.add_task("data", total=len(drawn), figures="drawings")
    made = []
    for drawing in drawn:
        made += views(drawing, work.schedule.views, work.schedule.seed)
        bars.advance(task)
    _save_array(work.images, np.stack([view.image for view in made]))
    facts = {
        "captions": [view.caption for view in made],
        "concepts": [view.concept for view in made],
    }
    work.captions.write_text(json.dumps(facts))


def _tokenizer(work: Workspace, _bars: Progress) -> None:
    with complete_folder(work.tokenizer) as made:
        tokenizer.learn(_captions(work)[0], made)


def _autoencoder(work: Workspace, bars: Progress) -> None:
    seed, steps = work.schedule.seed, work.schedule.autoencoder_steps
    torch.manual_seed(seed)
    model = networks.new_autoencoder()
    images = [
        view.image
        for drawing in every_training_drawing(work.packages)
        for view in views(drawing, AUTOENCODER_VIEWS, seed)
    ]
    report = _reporter(bars, "autoencoder", steps)
    autoencoder.train(model, torch.from_numpy(np.stack(images)), steps, seed, report)
    with complete_folder(work.autoencoder) as made:
        model.save_pretrained(made)


def _latents(work: Workspace, bars: Progress) -> None:
    images = torch.from_numpy(np.load(work.images))
    model = AutoencoderKL.from_pretrained(work.autoencoder, dtype=torch.float32)
    task = bars.add_task("latents", total=len(images), figures="views")
    latents = autoencoder.encode(model, images, lambda count: bars.advance(task, count))
    _save_array(work.latents, latents.numpy())


def _first(work: Workspace, bars: Progress) -> None:
    torch.manual_seed(work.schedule.seed)
    unet = networks.new_unet()
    text_encoder = networks.new_text_encoder(CLIPTokenizer.from_pretrained(work.tokenizer))
    weights = dict.fromkeys(concepts.FIRST, 1.0)
    plan = denoiser.Plan(work.schedule.first_steps, seed=work.schedule.seed)
    _denoise(work, bars, work.first, unet, text_encoder, weights, plan)


def _all(work: Workspace, bars: Progress) -> None:
    unet = UNet2DConditionModel.from_pretrained(work.first / "unet")
    text_encoder = CLIPTextModel.from_pretrained(work.first / "text_encoder")
    weights = {name: 1.0 if name in concepts.FIRST else ADDED_WEIGHT for name in concepts.ALL}
    plan = denoiser.Plan(
        work.schedule.all_steps, peak_rate=1.5e-3, warm_up=150, seed=work.schedule.seed
    )
    _denoise(work, bars, work.all, unet, text_encoder, weights, plan)


def _decoder(work: Workspace, bars: Progress) -> None:
    model = AutoencoderKL.from_pretrained(work.autoencoder, dtype=torch.float32)
    images = torch.from_numpy(np.load(work.images))
    latents = torch.from_numpy(np.load(work.latents))
    steps, seed = work.schedule.decoder_steps, work.schedule.seed
    before = _quality(model, images, latents)
    report = _reporter(bars, "decoder", steps)
    autoencoder.train_decoder(model, images, latents, steps, seed, report)
    work.note("decoder-psnr", before_db=before, after_db=_quality(model, images, latents))
    with complete_folder(work.decoder) as made:
        model.save_pretrained(made)


def _model(work: Workspace, _bars: Progress) -> None:
    pipeline = networks.assemble(
        AutoencoderKL.from_pretrained(work.decoder, dtype=torch.float16),
        CLIPTokenizer.from_pretrained(work.tokenizer),
        CLIPTextModel.from_pretrained(work.all / "text_encoder", dtype=torch.float16),
        UNet2DConditionModel.from_pretrained(work.all / "unet", dtype=torch.float16),
    )
    with complete_folder(work.model) as made:
        pipeline.save_pretrained(made)
        tokenizer.write_classic_files(pipeline.tokenizer, made / "tokenizer")
        _forget_paths(made)


def _evaluate(work: Workspace, _bars: Progress) -> None:
    pipeline = networks.open_pipeline(work.model)
    result, pictures = evaluate.evaluate(pipeline, drawings(work.packages, concepts.ALL))
    evaluate.write(result, pictures, work.folder)


def _card(work: Workspace, _bars: Progress) -> None:
    work.card.write_text(card.text(json.loads(work.evaluation.read_text()), work.record()))


STAGES = (
    Stage("data", "fetch the pictograms, compose views and captions", lambda w: w.captions, _data),
    Stage("tokenizer", "learn the vocabulary", lambda w: w.tokenizer, _tokenizer),
    Stage(
        "autoencoder", "learn pictures to latents and back", lambda w: w.autoencoder, _autoencoder
    ),
    Stage("latents", "encode the views", lambda w: w.latents, _latents),
    Stage("first", "U-Net and text encoder on the first concepts", lambda w: w.first, _first),
    Stage("all", "U-Net and text encoder on all concepts", lambda w: w.all, _all),
    Stage("decoder", "sharpen the decoder, latents unchanged", lambda w: w.decoder, _decoder),
    Stage("model", "put the pipeline together in float16", lambda w: w.model, _model),
    Stage(
        "evaluate", "measure how often it draws the right thing", lambda w: w.evaluation, _evaluate
    ),
    Stage("card", "write the model card", lambda w: w.card, _card),
)


def _denoise(
    work: Workspace,
    bars: Progress,
    target: Path,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    weights: dict[str, float],
    plan: denoiser.Plan,
) -> None:
    """Train on the concepts that have a weight, and save both nets to `target`."""
    captions, names = _captions(work)
    words = CLIPTokenizer.from_pretrained(work.tokenizer)
    tokens = words(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
    pairs = denoiser.Pairs(
        latents=torch.from_numpy(np.load(work.latents)),
        tokens=tokens,
        weights=torch.tensor([weights.get(name, 0.0) for name in names]),
    )
    checkpoint = target.with_suffix(".pt")
    report = _reporter(bars, target.name, plan.steps)
    denoiser.train(unet, text_encoder, networks.new_scheduler(), pairs, plan, checkpoint, report)
    _save_denoiser(target, unet, text_encoder)
    checkpoint.unlink(missing_ok=True)


def _save_denoiser(target: Path, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
    with complete_folder(target) as made:
        unet.save_pretrained(made / "unet")
        text_encoder.save_pretrained(made / "text_encoder")


def _forget_paths(folder: Path) -> None:
    """Drop from the configurations where on this machine the parts were loaded from."""
    for path in folder.rglob("*config.json"):
        facts = json.loads(path.read_text())
        if facts.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")


def _captions(work: Workspace) -> tuple[list[str], list[str]]:
    """Caption and concept of every view."""
    facts = json.loads(work.captions.read_text())
    return facts["captions"], facts["concepts"]


def _save_array(path: Path, array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> None:
    partial = path.with_suffix(".partial.npy")
    np.save(partial, array)
    partial.replace(path)


@torch.no_grad()
def _quality(model: AutoencoderKL, images: Tensor, latents: Tensor) -> float:
    """PSNR in dB over every 64th view."""
    wanted = autoencoder.pixels(images[::64])
    made = model.decode(latents[::64].float()).sample
    return round(autoencoder.psnr((made - wanted).square().mean().item()), 2)


def _reporter(bars: Progress, name: str, total: int) -> Callable[[int, float], None]:
    """A bar for steps done, with the loss as an average over about the last 50."""
    task = bars.add_task(name, total=total, figures="")
    average: float | None = None

    def report(step: int, loss: float) -> None:
        nonlocal average
        average = loss if average is None else 0.98 * average + 0.02 * loss
        bars.update(task, completed=step, figures=f"loss {average:.4f}")

    return report

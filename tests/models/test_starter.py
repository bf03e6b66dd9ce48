"""The starter model: what is embedded, and the recipe's pieces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image, ImageDraw
from transformers import CLIPTextConfig, CLIPTextModel

from pockettune.models.starter import (
    PATH,
    autoencoder,
    card,
    concepts,
    denoiser,
    evaluate,
    networks,
    subject,
    tokenizer,
    train,
    views,
    workspace,
)
from pockettune.models.starter.pictograms import Drawing, code_points

CONFIGURATIONS = {
    "unet": networks.new_unet,
    "vae": networks.new_autoencoder,
    "scheduler": networks.new_scheduler,
}
CONFIGURATION_FILES = {"scheduler": "scheduler_config.json"}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def disk(color: str) -> Image.Image:
    """A filled circle on nothing, as a drawing."""
    image = Image.new("RGBA", (128, 128))
    ImageDraw.Draw(image).ellipse((0, 0, 127, 127), fill=color)
    return image


# What is embedded


def test_the_embedded_model_is_small_and_half_precision() -> None:
    from safetensors import safe_open

    weights = list(PATH.rglob("*.safetensors"))
    assert len(weights) == 3
    assert sum(path.stat().st_size for path in PATH.rglob("*") if path.is_file()) <= 30e6
    for path in weights:
        with safe_open(path, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                tensor = tensors.get_tensor(name)
                assert tensor.dtype == torch.float16, name
                assert torch.isfinite(tensor).all(), name


@pytest.mark.parametrize("part", CONFIGURATIONS)
def test_the_recipe_builds_what_is_embedded(part: str) -> None:
    file = PATH / part / CONFIGURATION_FILES.get(part, "config.json")
    embedded = {k: v for k, v in json.loads(file.read_text()).items() if not k.startswith("_")}
    built = json.loads(json.dumps(dict(CONFIGURATIONS[part]().config)))
    assert {name: built.get(name) for name in embedded} == embedded


def test_the_classic_tokenizer_files_say_what_tokenizer_json_says() -> None:
    folder = PATH / "tokenizer"
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    assert json.loads((folder / "vocab.json").read_text()) == model["vocab"]
    lines = (folder / "merges.txt").read_text().splitlines()
    assert lines[0].startswith("#version")
    assert [line.split(" ") for line in lines[1:]] == [list(pair) for pair in model["merges"]]


def test_the_embedded_evaluation_meets_the_goal() -> None:
    measured = json.loads((PATH.parent / "evaluation.json").read_text())
    answers = measured["answers"]
    asked = {(answer["concept"], answer["seed"]) for answer in answers}
    assert {name for name, _ in asked} == set(concepts.ALL)
    assert len(concepts.ALL) >= 40
    assert len(asked) == len(answers) == 2 * len(concepts.ALL)
    share = sum(answer["concept"] == answer["nearest"] for answer in answers) / len(answers)
    assert measured["share_right"] == pytest.approx(share, abs=1e-4)
    assert share >= 0.7


def test_held_out_subjects_are_not_trained_on() -> None:
    assert not set(concepts.HELD_OUT.values()) & set(concepts.ALL.values())
    assert not set(concepts.FIRST) & set(concepts.ADDED)
    assert subject.SUBJECT in concepts.HELD_OUT
    assert subject.CLASS_WORD in concepts.ALL


def test_the_subject_has_five_pictures() -> None:
    pictures = sorted(subject.PATH.glob("*.png"))
    assert len(pictures) == 5
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.size == (256, 256)
            assert picture.mode == "RGB"


# Views


def test_views_are_the_same_for_the_same_seed() -> None:
    drawing = Drawing("frog", "3d", disk("#20a040"))
    once, again, other = (views.views(drawing, 20, seed) for seed in (0, 0, 1))
    assert [view.caption for view in once] == [view.caption for view in again]
    assert all((a.image == b.image).all() for a, b in zip(once, again, strict=True))
    assert [view.caption for view in once] != [view.caption for view in other]


def test_a_caption_tells_the_truth_about_the_background() -> None:
    drawing = Drawing("frog", "flat", disk("#20a040"))
    told = [v for v in views.views(drawing, 200, 3) if " background" in v.caption]
    assert len(told) > 50
    for view in told:
        name = view.caption.split(" on a")[1].removeprefix("n").strip().split(" background")[0]
        corner = view.image[0, 0].astype(int)
        assert np.abs(corner - np.array(views.BACKGROUNDS[name])).max() <= 12


@pytest.mark.parametrize(("color", "degrees"), [("#ff0000", 0), ("#00ff00", 120), ("#0000ff", 240)])
def test_the_dominant_hue_of_a_plain_disk(color: str, degrees: float) -> None:
    found = views.dominant_hue(disk(color))
    assert found is not None
    assert abs((found - degrees + 180) % 360 - 180) < 3


def test_gray_and_many_colored_drawings_have_no_dominant_hue() -> None:
    striped = disk("#ff0000")
    pen = ImageDraw.Draw(striped)
    pen.rectangle((40, 0, 80, 127), fill="#00ff00")
    pen.rectangle((80, 0, 127, 127), fill="#0000ff")
    assert views.dominant_hue(striped) is None
    assert views.dominant_hue(disk("#808080")) is None


def test_recoloring_turns_red_to_green_and_keeps_the_outline() -> None:
    turned = views.recolored(disk("#ff0000"), 120)
    red, green, blue, alpha = turned.getpixel((64, 64))
    assert green > 240
    assert max(red, blue) < 15
    assert alpha == 255
    assert turned.getchannel("A").tobytes() == disk("#ff0000").getchannel("A").tobytes()


def test_code_points_ignore_case_and_the_variation_selector() -> None:
    assert code_points("2602-FE0F") == "2602"


# Learning


def test_the_tokenizer_spells_any_text_and_knows_the_captions_words(tmp_path: Path) -> None:
    learned = tokenizer.learn(["a frog on a blue background, 3d style"] * 20, tmp_path)
    tokenizer.write_classic_files(learned, tmp_path)
    assert learned.tokenize("a sks frog, 3d style") == [
        *("a</w>", "sks</w>", "frog</w>", ",</w>", "3</w>", "d</w>", "style</w>")
    ]
    assert learned("Ünheard-of ☃").input_ids[0] == learned.bos_token_id
    assert learned.eos_token_id == len(learned) - 1 == learned.bos_token_id + 1
    assert json.loads((tmp_path / "vocab.json").read_text())["frog</w>"] < len(learned)


def test_whitening_gives_unit_covariance_and_leaves_reconstructions_alone() -> None:
    torch.manual_seed(0)
    model = networks.new_autoencoder().eval()
    images = torch.randint(0, 256, (16, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        inputs = autoencoder.pixels(images)
        before = model.encode(inputs).latent_dist.mean
        decoded = model.decode(before).sample
        autoencoder.whiten_(model, before)
        after = model.encode(inputs).latent_dist.mean
        again = model.decode(after).sample
    rows = after.transpose(0, 1).flatten(1).double().numpy()
    np.testing.assert_allclose(rows.mean(1), 0, atol=1e-2)
    np.testing.assert_allclose(np.cov(rows), np.eye(4), atol=2e-2)
    np.testing.assert_allclose(again.numpy(), decoded.numpy(), atol=1e-3)


def test_training_the_decoder_leaves_the_encoder_alone_and_lowers_the_loss() -> None:
    torch.manual_seed(0)
    model = AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=4, sample_size=8, scaling_factor=1.0
    )
    images = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    latents = autoencoder.encode(model, images)
    losses: list[float] = []
    autoencoder.train_decoder(
        model, images, latents, 60, 0, lambda _step, loss: losses.append(loss)
    )
    assert torch.equal(autoencoder.encode(model, images), latents)
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_the_rate_warms_up_stays_and_falls() -> None:
    plan = denoiser.Plan(steps=1000, peak_rate=1.0, warm_up=100, flat_share=0.4)
    assert denoiser.rate(plan, 0) == pytest.approx(0.01)
    assert denoiser.rate(plan, 99) == denoiser.rate(plan, 400) == 1.0
    assert denoiser.rate(plan, 700) == pytest.approx(0.02 + 0.98 * 0.5)
    assert denoiser.rate(plan, 1000) == pytest.approx(0.02)


def test_timesteps_cover_every_part_of_the_schedule() -> None:
    drawn = denoiser.timesteps(16, 1000, torch.Generator().manual_seed(0)).numpy()
    edges = (np.arange(17) / 16) ** 0.8 * 1000
    assert ((np.floor(edges[:-1]) <= drawn) & (drawn <= edges[1:])).all()


class Killed(Exception):  # noqa: N818 - an event, not an error
    pass


def tiny_denoiser() -> tuple[UNet2DConditionModel, CLIPTextModel]:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    sizes = {"hidden_size": 8, "intermediate_size": 8, "projection_dim": 8, "vocab_size": 11}
    text = CLIPTextModel(
        CLIPTextConfig(
            **sizes,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=4,
            bos_token_id=9,
            eos_token_id=10,
            pad_token_id=10,
        )
    )
    return unet, text


def test_a_killed_run_goes_on_and_ends_bit_equal(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    pairs = denoiser.Pairs(
        latents=torch.randn(6, 4, 8, 8, generator=generator).half(),
        tokens=torch.tensor([[9, 1, 2, 10]] * 6),
        weights=torch.tensor([1.0, 1, 1, 3, 3, 0]),
    )
    plan = denoiser.Plan(steps=8, batch=2, warm_up=2, checkpoint_every=3)
    scheduler = networks.new_scheduler()

    def kill_after_five(step: int, _loss: float) -> None:
        if step == 5:
            raise Killed

    whole = tiny_denoiser()
    denoiser.train(*whole, scheduler, pairs, plan, tmp_path / "whole.pt", lambda *_: None)
    killed = tiny_denoiser()
    with pytest.raises(Killed):
        denoiser.train(*killed, scheduler, pairs, plan, tmp_path / "cut.pt", kill_after_five)
    resumed = tiny_denoiser()
    steps: list[int] = []
    denoiser.train(
        *resumed, scheduler, pairs, plan, tmp_path / "cut.pt", lambda step, _: steps.append(step)
    )
    assert steps == [4, 5, 6, 7, 8]
    for one, other in zip(whole, resumed, strict=True):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


def test_a_folder_gets_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def write_half() -> None:
        with workspace.complete_folder(target) as made:
            (made / "part").write_text("half")
            raise Killed

    with pytest.raises(Killed):
        write_half()
    assert not target.exists()
    with workspace.complete_folder(target) as made:
        (made / "part").write_text("whole")
    assert [path.name for path in target.iterdir()] == ["part"]


# Evaluation


def test_the_nearest_drawing_of_a_drawing_is_itself() -> None:
    shapes = [views.compose(disk(c), (255, 255, 255), 50, (32, 32), 64) for c in ("red", "blue")]
    found = evaluate.nearest(shapes, shapes[::-1], ["blue", "red"])
    assert [name for name, _ in found] == ["red", "blue"]
    assert [cosine for _, cosine in found] == pytest.approx([1, 1], abs=1e-5)


def test_the_sheet_holds_every_picture() -> None:
    answers = [evaluate.Answer("frog", seed, "frog", 1.0) for seed in range(13)]
    pictures = [Image.new("RGB", (64, 64), "green")] * 13
    sheet = evaluate.sheet(answers, pictures).convert("RGB")
    assert sheet.size == (12 * 64, 2 * 86)
    assert sheet.getpixel((32, 86 + 32)) == (0, 128, 0)


def test_the_card_says_the_figure_and_what_was_wrong() -> None:
    answers = [
        {"concept": "frog", "seed": 1, "nearest": "frog"},
        {"concept": "cat", "seed": 1, "nearest": "dog"},
    ]
    evaluation = {
        "share_right": 0.5,
        "concepts": 2,
        "pictures": 2,
        "prompt": "a <concept>",
        "seeds": [1],
        "steps": 25,
        "guidance": 4.0,
        "answers": answers,
    }
    record = {"start": {"note": "weights of before"}, "all": {"seconds": 3600, "steps": 500}}
    text = card.text(evaluation, record)
    assert "**50.0%** of pictures (1 of 2" in text
    assert "all concepts | 500 | 60 |" in text
    assert "weights of before" in text
    assert "Concepts with a wrong picture in the sheet: cat." in text


# Bad input


@pytest.mark.parametrize("command", [evaluate.main, train.main])
def test_a_folder_that_is_no_pipeline_is_one_sentence(
    command: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = {evaluate.main: ["--model"], train.main: ["--work", str(tmp_path), "--start"]}[command]
    assert command([*flag, str(tmp_path)]) == 50
    said = capsys.readouterr().err
    assert "has no model_index.json" in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_npm_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert subject.main(["--packages", str(tmp_path / "packages"), "--out", str(tmp_path)]) == 62
    assert "npm" in capsys.readouterr().err


def test_zero_steps_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        train.main(["--all-steps", "0"])
    assert left.value.code == 2
    assert "at least 1" in capsys.readouterr().err

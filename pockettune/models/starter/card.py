"""The model card, written from what was measured and recorded."""

from collections.abc import Mapping
from typing import Any, Final

from pockettune.models.starter import concepts
from pockettune.models.starter.pictograms import PACKAGES

__all__ = ["text"]

STAGE_NAMES: Final = {
    "data": "compose views and captions",
    "tokenizer": "learn the vocabulary",
    "autoencoder": "learn the autoencoder",
    "latents": "encode the views",
    "first": "U-Net and text encoder, first concepts",
    "all": "U-Net and text encoder, all concepts",
    "decoder": "sharpen the decoder",
}


def text(evaluation: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """The card in Markdown; `evaluation` is evaluation.json, `record` the workspace's record."""
    return (
        "\n\n".join(
            [
                "# Model card: the starter model",
                _about(),
                f"![Every concept, two seeds](evaluation.png)\n\n{_figure(evaluation)}",
                f"## Data\n\n{_data()}",
                f"## Training\n\n{_training(record)}",
                f"## Limits\n\n{_limits(evaluation)}",
                "",
            ]
        ).rstrip()
        + "\n"
    )


def _about() -> str:
    return """\
A small text-to-image model of pictograms: 64 px, 20 MB in float16, in diffusers format with Stable
Diffusion 1.5's component classes (CLIP tokenizer and text encoder, AutoencoderKL, U-Net with
cross-attention, DDIM). It exists so that export, personalization and tests run on a real trained
model without a network. It draws the concepts below on plain backgrounds, and nothing else.

| part | parameters | shape |
|---|---|---|
| text encoder | 0.74 M | 2 layers of 128, 24 tokens, vocabulary of 2,621 |
| U-Net | 8.8 M | 64/128/192 channels, cross-attention at the outer two of three levels |
| autoencoder | 0.77 M | 64 px to a 16 by 16 latent of 4 channels |

Prompts look like the captions: `a purple frog on a yellow background, 3d style`; styles are `3d`
and `flat`. Guidance of 3 to 5 and 25 steps work best. The prediction is v, and the schedule ends in
pure noise (trailing spacing)."""


def _figure(evaluation: Mapping[str, Any]) -> str:
    right = sum(answer["concept"] == answer["nearest"] for answer in evaluation["answers"])
    return (
        f"**{evaluation['share_right']:.1%}** of pictures ({right} of {evaluation['pictures']}: "
        f"{evaluation['concepts']} concepts, seeds {', '.join(map(str, evaluation['seeds']))}) "
        "look most like a drawing of the right concept, by the cosine of EfficientNet-Lite0 "
        f"features; chance would be {1 / evaluation['concepts']:.1%}. Prompt "
        f"`{evaluation['prompt']}`, "
        f"{evaluation['steps']} steps, guidance {evaluation['guidance']:g}. In the sheet, red "
        "names what a wrong picture looks most like. Measure it again: "
        "`python -m pockettune.models.starter.evaluate`."
    )


def _data() -> str:
    return f"""\
| source | use | license |
|---|---|---|
| `{PACKAGES["3d"]}` (npm): Fluent emoji by Microsoft | drawings, style `3d` | MIT |
| `{PACKAGES["flat"]}` (npm): Fluent emoji by Microsoft | drawings, style `flat` | MIT |

The autoencoder, the vocabulary and the first {len(concepts.FIRST)} concepts come from an earlier
run (see Training). Its autoencoder also learned from Noto emoji by Google (Apache-2.0), and its
captions were the labels of `emojibase-data` (MIT).

First concepts: {", ".join(concepts.FIRST)}. Added: {", ".join(concepts.ADDED)}.
Held out of every stage of this recipe: {", ".join(concepts.HELD_OUT)}. The teddy bear, the demo's
subject, was held out of the earlier run's stages too; its autoencoder may have seen the others.
No photographs, no people, no text."""


def _training(record: Mapping[str, Any]) -> str:
    rows = [
        f"| {STAGE_NAMES[name]} | {facts['steps'] or ''} | {_minutes(facts['seconds'])} |"
        for name, facts in record.items()
        if name in STAGE_NAMES
    ]
    parts = ["| stage | steps | minutes on one CPU thread |\n|---|---|---|\n" + "\n".join(rows)]
    if "start" in record:
        parts.insert(0, f"This run did not start from nothing: {record['start']['note']}.")
    if "decoder-psnr" in record:
        facts = record["decoder-psnr"]
        parts.append(
            f"The decoder's last stage took reconstruction from {facts['before_db']} to "
            f"{facts['after_db']} dB PSNR on the training views (latents unchanged)."
        )
    return "\n\n".join(parts)


def _limits(evaluation: Mapping[str, Any]) -> str:
    wrong = sorted({a["concept"] for a in evaluation["answers"] if a["concept"] != a["nearest"]})
    missed = f"\n- Concepts with a wrong picture in the sheet: {', '.join(wrong)}." if wrong else ""
    return f"""\
- It knows the concepts above by heart, about one drawing in two styles of each: it does not
  generalize to unseen words, poses or compositions, and two objects in one prompt do not work. Two
  seeds give nearly the same picture.
- Edges and fine detail are smeared at 64 px. An object's color follows the prompt less reliably
  than the background's.{missed}
- The figure says that a picture is recognizable among these concepts, not that it is beautiful; the
  classifier was trained on photographs."""


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f}" if seconds >= 60 else "under 1"

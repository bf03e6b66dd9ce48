"""What the starter model is taught: names, their code points, and the subjects it must never see.

A concept is one pictogram of Unicode, drawn in two styles. `FIRST` are learned alone until shapes
appear, since a net of this size stays at blobs when it starts with many drawings at once; `ADDED`
follow.
"""

from types import MappingProxyType
from typing import Final

__all__ = ["ADDED", "ALL", "FIRST", "HELD_OUT", "STYLES"]

STYLES: Final = ("3d", "flat")

FIRST: Final = MappingProxyType(
    {
        "banana": "1f34c",
        "bear": "1f43b",
        "bird": "1f426",
        "cactus": "1f335",
        "car": "1f697",
        "cat": "1f408",
        "dog": "1f415",
        "elephant": "1f418",
        "fish": "1f41f",
        "frog": "1f438",
        "ghost": "1f47b",
        "giraffe": "1f992",
        "house": "1f3e0",
        "mushroom": "1f344",
        "owl": "1f989",
        "panda": "1f43c",
        "penguin": "1f427",
        "pizza": "1f355",
        "rabbit": "1f407",
        "rocket": "1f680",
        "star": "2b50",
        "strawberry": "1f353",
        "sunflower": "1f33b",
        "turtle": "1f422",
    }
)

ADDED: Final = MappingProxyType(
    {
        "apple": "1f34e",
        "bus": "1f68c",
        "butterfly": "1f98b",
        "cake": "1f382",
        "camera": "1f4f7",
        "carrot": "1f955",
        "crab": "1f980",
        "donut": "1f369",
        "duck": "1f986",
        "fox": "1f98a",
        "gift": "1f381",
        "hamburger": "1f354",
        "koala": "1f428",
        "ladybug": "1f41e",
        "lion": "1f981",
        "octopus": "1f419",
        "sailboat": "26f5",
        "snowman": "26c4",
        "soccer ball": "26bd",
        "tree": "1f333",
        "umbrella": "2602",
        "watermelon": "1f349",
    }
)

ALL: Final = MappingProxyType({**FIRST, **ADDED})

HELD_OUT: Final = MappingProxyType(
    {
        "black cat": "1f408-200d-2b1b",
        "blowfish": "1f421",
        "chick": "1f425",
        "poodle": "1f429",
        "taxi": "1f695",
        "teddy bear": "1f9f8",
        "tropical fish": "1f420",
    }
)
"""Subjects for personalization. No training stage, not even the autoencoder's, reads them."""

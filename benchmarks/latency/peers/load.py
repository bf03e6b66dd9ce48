"""A federated load as files: what every framework trains, from the same first parameters.

The folder holds ``settings.json``; ``inputs.npy`` and ``labels.npy``, where client ``c`` owns the
rows ``offsets[c]`` to ``offsets[c + 1]``; ``offsets.npy``; ``test_inputs.npy`` and
``test_labels.npy``; and ``initial/NAME.npy`` for each parameter.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pockettune.models.classifier import keep

__all__ = ["Load", "Log", "Plain"]


class Load:
    """A load, opened. Arrays are mapped, so that processes share them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = json.loads((folder / "settings.json").read_text())
        self._offsets = np.load(folder / "offsets.npy")
        self._inputs, self._labels = self._mapped("inputs"), self._mapped("labels")

    def _mapped(self, name: str) -> Any:
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")

    @property
    def clients(self) -> int:
        """Number of clients."""
        return len(self._offsets) - 1

    def client(self, number: int) -> tuple[Tensor, Tensor]:
        """Inputs and labels of a client."""
        start, stop = (int(self._offsets[index]) for index in (number, number + 1))
        inputs = torch.from_numpy(np.array(self._inputs[start:stop]))
        if self.settings["channels_last"]:
            inputs = torch.empty(inputs.shape, memory_format=torch.channels_last).copy_(inputs)
        return inputs, torch.from_numpy(np.array(self._labels[start:stop]))

    def initial(self) -> dict[str, Tensor]:
        """The first parameters by name."""
        return {
            path.stem: torch.from_numpy(np.load(path))
            for path in sorted((self.folder / "initial").iterdir())
        }

    def module(self) -> Plain:
        """A model that is called with a batch of inputs, with the first parameters."""
        name, classes = self.settings["model"], self.settings["classes"]
        source = importlib.import_module(f"pockettune.models.classifiers.{name.replace('-', '_')}")
        module = Plain(source.build(tuple(self.settings["input_shape"]), classes))
        module.net.load_state_dict(self.initial())
        if self.settings["channels_last"]:
            for weights in module.parameters():
                if weights.dim() == 4:
                    weights.data = weights.data.to(memory_format=torch.channels_last)
        return module

    def accuracy(self, module: nn.Module) -> float:
        """Accuracy on all test examples."""
        inputs, labels = self._mapped("test_inputs"), self._mapped("test_labels")
        right = 0
        with torch.no_grad():
            for start in range(0, len(labels), 500):
                logits = module(torch.from_numpy(np.array(inputs[start : start + 500])))
                expected = torch.from_numpy(np.array(labels[start : start + 500]))
                right += int((logits.argmax(1) == expected).sum())
        return right / len(labels)


class Plain(nn.Module):
    """The model without its taps."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs, keep)
        return logits

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """The mean cross-entropy."""
        return F.cross_entropy(self(inputs), labels)


class Log:
    """When rounds began and ended, evaluations left out, and the accuracy after some of them."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._every, self._rounds = load.settings["evaluate_every"], load.settings["rounds"]
        self._spans: list[tuple[float, float]] = []
        self._accuracy: dict[int, float] = {}
        self._began = time.time()

    def begin(self) -> None:
        """A round begins."""
        self._began = time.time()

    def end(self, seconds: float | None = None) -> None:
        """A round is done, or was ``seconds`` after it began."""
        end = time.time() if seconds is None else self._began + seconds
        self._spans.append((self._began, end))

    def evaluate(self, module: nn.Module) -> None:
        """Note the accuracy, when it is its turn."""
        done = len(self._spans)
        if done % self._every == 0 or done == self._rounds:
            self.note(self._load.accuracy(module))

    def note(self, accuracy: float) -> None:
        """Note the accuracy after the rounds so far."""
        self._accuracy[len(self._spans)] = accuracy

    def write(self, path: Path, versions: Mapping[str, str]) -> None:
        """Write what was noted; times in seconds of the epoch."""
        report = {"rounds": self._spans, "accuracy": self._accuracy, "versions": dict(versions)}
        path.write_text(json.dumps(report))

    @staticmethod
    def read(path: Path) -> dict[str, Any]:
        """What was written; rounds' numbers are integers again."""
        report: dict[str, Any] = json.loads(path.read_text())
        report["accuracy"] = {int(done): value for done, value in report["accuracy"].items()}
        return report

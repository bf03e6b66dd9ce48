"""What is simulated: every choice as one value, from which all else follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pockettune import checks
from pockettune.aggregate import ServerOptimizer
from pockettune.data import FederatedDataset, Partition, load, partition
from pockettune.federation import Federation, bind
from pockettune.local import LocalTraining
from pockettune.method import compose
from pockettune.models.classifier import load_classifier
from pockettune.nn.quantizers import SCALES, WIDTHS

__all__ = ["Scene", "Simulation", "build"]


@dataclass(frozen=True, slots=True)
class Simulation:
    """The settings of a run. Raises ConfigInvalid for a value out of range."""

    method: str = "fedavg"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the method's config: key -> value."""
    model: str = "lenet"
    data: str = "digits"
    partition: str = "dirichlet:0.3"
    clients: int = 100
    cohort: int = 10
    rounds: int = 20
    local: LocalTraining = field(default_factory=LocalTraining)
    server: ServerOptimizer = field(default_factory=ServerOptimizer)
    codec: str | None = None
    evaluate_every: int = 5
    evaluate_bits: tuple[int, ...] = (32,)
    scale: str = "max"
    """Of the evaluation's quantizer: "max" or "mse"."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, high in (
            ("clients", 2**24),
            ("rounds", 2**20),
            ("evaluate_every", 2**20),
            ("cohort", self.clients),
        ):
            checks.integer(name, getattr(self, name), 1, high)
        for bits in self.evaluate_bits:
            checks.choice("evaluate_bits", bits, WIDTHS)
        checks.choice("scale", self.scale, SCALES)

    def to_json(self) -> dict[str, Any]:
        """All settings, ready for JSON."""
        return asdict(self) | {
            "settings": dict(self.settings),
            "evaluate_bits": list(self.evaluate_bits),
        }


@dataclass(frozen=True, slots=True)
class Scene:
    """A simulation's parts: what is trained, and who has which data."""

    federation: Federation
    dataset: FederatedDataset
    partition: Partition


def build(simulation: Simulation, dataset: FederatedDataset | None = None) -> Scene:
    """The parts of a simulation; the same for the same settings, in whichever process.

    ``dataset`` saves loading it again. Raises what its parts raise for settings that do not fit.
    """
    composition = compose(simulation.method, simulation.settings)
    dataset = dataset or load(simulation.data)
    model = load_classifier(simulation.model, dataset.input_shape, dataset.classes)
    federation = bind(
        composition,
        model,
        simulation.local,
        simulation.server,
        seed=simulation.seed,
        codec=simulation.codec,
    )
    shares = partition(simulation.partition, dataset, simulation.clients, simulation.seed)
    return Scene(federation, dataset, shares)

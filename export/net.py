"""The net of a model as its drawing and ``--explain`` want it: a list of plain records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pockettune.nn.unet import Unit, cut_by_name, kept_units, parameters_in, units_of

__all__ = ["describe"]


def describe(model: Any, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The units of a U-Net in the order in which they run.

    Each has ``name``, ``level`` (0 = full resolution), ``parameters``, ``kept`` (while training),
    ``trained`` (has adapters) and ``skip_from``. ``facts`` are a method's: ``cut`` and ``targets``
    (paths of the modules with adapters) are read, where it has them.
    """
    net = units_of(model)
    kept = {unit.name for unit in kept_units(net, cut_by_name(net, facts.get("cut", "none")))}
    targets = facts.get("targets", ())
    level, units = 0, []
    for unit in net.units:
        # A down-sampler's result is of the next level, an up-sampler's of the one before.
        level += ".downsamplers." in unit.name
        level -= ".upsamplers." in unit.name
        units.append(_record(unit, level, unit.name in kept, targets))
    return units


def _record(unit: Unit, level: int, kept: bool, targets: Any) -> dict[str, Any]:
    return {
        "name": unit.name,
        "level": level,
        "parameters": parameters_in([unit]),
        "kept": kept,
        "trained": any(target.startswith(f"{unit.name}.") for target in targets),
        "skip_from": unit.skip,
    }

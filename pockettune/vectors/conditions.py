"""Vectors of the conditions under which a phone trains (``docs/sdk.md`` 3).

What a condition must answer is written down row by row here, not computed by an implementation.
"""

from __future__ import annotations

from typing import Any

__all__ = ["conditions"]

_MIB = 2**20
_START = {
    "charging": True,
    "minimum_battery_percent": 30,
    "maximum_thermal": "light",
    "idle": True,
    "unmetered": False,
    "power_save": True,
    "storage_reserve_bytes": 64 * _MIB,
    "memory_reserve_bytes": 64 * _MIB,
}
_CONTINUE = {**_START, "minimum_battery_percent": 20, "memory_reserve_bytes": 32 * _MIB}
_GOOD = {
    "charging": True,
    "battery_percent": 80,
    "thermal": "nominal",
    "idle": True,
    "unmetered": True,
    "power_save": False,
    "free_storage_bytes": 2**33,
    "available_memory_bytes": 2**32,
}
_NEEDS = {"memory_bytes": 1000 * _MIB, "storage_bytes": 100 * _MIB}
_LEVELS = ("nominal", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_LARGEST = 2**63 - 1

# condition: the sensor that it reads, a value that fails, the setting with which it is not asked
_READS: dict[str, tuple[str, Any, dict[str, Any] | None]] = {
    "charging": ("charging", False, {"charging": False}),
    "battery": ("battery_percent", 0, {"minimum_battery_percent": 0}),
    "thermal": ("thermal", "shutdown", {"maximum_thermal": None}),
    "idle": ("idle", False, {"idle": False}),
    "unmetered": ("unmetered", False, {"unmetered": False}),
    "power_save": ("power_save", True, {"power_save": False}),
    "storage": ("free_storage_bytes", 0, None),
    "memory": ("available_memory_bytes", 0, None),
}


def conditions() -> dict[str, Any]:
    """``sdk/conditions.json``: the defaults, single decisions, and whole runs."""
    return {
        "defaults": {"start": _START, "continue": _CONTINUE},
        "cases": [*_single_cases(), *_edges(), *_together()],
        "runs": list(_runs()),
    }


def _case(
    name: str,
    failing: list[tuple[str, str]],
    *,
    asked: dict[str, Any] | None = None,
    state: dict[str, Any] | None = None,
    needs: dict[str, int] | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "conditions": {**_START, **(asked or {})},
        "state": {**_GOOD, **(state or {})},
        "needs": needs or _NEEDS,
        "failing": [list(item) for item in failing],
    }


def _single_cases() -> list[dict[str, Any]]:
    """Every condition alone: good, bad, unknown, and not asked for."""
    cases = [_case("all good", [])]
    for condition, (sensor, bad, not_asked) in _READS.items():
        asked = {"unmetered": True} if condition == "unmetered" else {}
        cases += [
            _case(f"{condition} fails", [(condition, "unmet")], asked=asked, state={sensor: bad}),
            _case(
                f"{condition} unknown", [(condition, "unknown")], asked=asked, state={sensor: None}
            ),
        ]
        if not_asked is not None:
            cases += [
                _case(f"{condition} fails, not asked", [], asked=not_asked, state={sensor: bad}),
                _case(f"{condition} unknown, not asked", [], asked=not_asked, state={sensor: None}),
            ]
    return cases


def _edges() -> list[dict[str, Any]]:
    """Exactly at each limit, and one beside it."""
    unmet = "unmet"
    cases = [
        _case("battery at the limit", [], state={"battery_percent": 30}),
        _case("battery below", [("battery", unmet)], state={"battery_percent": 29}),
        _case(
            "battery of 100 asked",
            [],
            asked={"minimum_battery_percent": 100},
            state={"battery_percent": 100},
        ),
        _case("storage at the limit", [], state={"free_storage_bytes": 164 * _MIB}),
        _case("storage below", [("storage", unmet)], state={"free_storage_bytes": 164 * _MIB - 1}),
        _case("memory at the limit", [], state={"available_memory_bytes": 1064 * _MIB}),
        _case(
            "memory below", [("memory", unmet)], state={"available_memory_bytes": 1064 * _MIB - 1}
        ),
        _case(
            "needs that do not fit 64 bits together",
            [("storage", unmet), ("memory", unmet)],
            state={"free_storage_bytes": _LARGEST, "available_memory_bytes": _LARGEST},
            needs={"memory_bytes": _LARGEST, "storage_bytes": _LARGEST},
        ),
        _case(
            "nothing needed, nothing reserved",
            [],
            asked={"storage_reserve_bytes": 0, "memory_reserve_bytes": 0},
            state={"free_storage_bytes": 0, "available_memory_bytes": 0},
            needs={"memory_bytes": 0, "storage_bytes": 0},
        ),
    ]
    for limit, most in enumerate(_LEVELS):
        for level, now in enumerate(_LEVELS):
            failing = [("thermal", unmet)] if level > limit else []
            cases.append(
                _case(
                    f"thermal {now}, at most {most}",
                    failing,
                    asked={"maximum_thermal": most},
                    state={"thermal": now},
                )
            )
    return cases


def _together() -> list[dict[str, Any]]:
    """Several at once come in the order of the table."""
    everything = {"unmetered": True}
    return [
        _case(
            "all fail",
            [(condition, "unmet") for condition in _READS],
            asked=everything,
            state={sensor: bad for sensor, bad, _ in _READS.values()},
        ),
        _case(
            "all unknown",
            [(condition, "unknown") for condition in _READS],
            asked=everything,
            state={sensor: None for sensor, _, _ in _READS.values()},
        ),
        _case(
            "some fail, some are unknown",
            [("charging", "unmet"), ("thermal", "unknown"), ("memory", "unknown")],
            state={"charging": False, "thermal": None, "available_memory_bytes": None},
        ),
    ]


def _runs() -> list[dict[str, Any]]:
    """Runs of 6 steps with the default conditions: what the sensors say before the start, and what
    changes before the step of that number (0-based); how many steps are done, and what stopped."""
    runs = [
        _run("undisturbed", {}, 6, []),
        _run("stopped at the start", {"start": {"charging": False}}, 0, [("charging", "unmet")]),
        _run("unknown at the start", {"start": {"thermal": None}}, 0, [("thermal", "unknown")]),
        # 25 percent are enough to go on with, not to start.
        _run("too low to start", {"start": {"battery_percent": 25}}, 0, [("battery", "unmet")]),
        _run("low enough to go on", {"2": {"battery_percent": 25}}, 6, []),
        _run(
            "bad between two steps only",
            {"2": {"idle": False}, "3": {"idle": True}},
            2,
            [("idle", "unmet")],
        ),
        _run("metered is no matter", {"1": {"unmetered": False}}, 6, []),
        _run("before the first step", {"0": {"power_save": True}}, 0, [("power_save", "unmet")]),
        _run("before the last step", {"5": {"thermal": "moderate"}}, 5, [("thermal", "unmet")]),
        _run(
            "memory goes",
            {"4": {"available_memory_bytes": 32 * _MIB - 1}},
            4,
            [("memory", "unmet")],
        ),
        _run("memory just there", {"4": {"available_memory_bytes": 32 * _MIB}}, 6, []),
    ]
    for condition, (sensor, bad, _) in _READS.items():
        if condition == "unmetered":
            continue
        for reason, value in (("unmet", bad), ("unknown", None)):
            name = f"{condition} {reason} before step 3"
            runs.append(_run(name, {"3": {sensor: value}}, 3, [(condition, reason)]))
    return runs


def _run(
    name: str, changes: dict[str, dict[str, Any]], done: int, failing: list[tuple[str, str]]
) -> dict[str, Any]:
    return {
        "name": name,
        "steps": 6,
        "state": _GOOD,
        "changes": changes,
        "completed_steps": done,
        "failing": [list(item) for item in failing],
    }

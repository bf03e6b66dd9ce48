"""The report of an export: one page of HTML that needs nothing but itself."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.drawing import draw_errors, draw_net
from export.headline import lead, tiles
from export.markup import bars, legend, section, table, text
from export.sizes import size, tensor_bytes
from pockettune.files import write_atomically

if TYPE_CHECKING:
    from export.lowered import Lowered
    from export.steps import Exported

__all__ = ["ReportData", "render", "report_path", "write_report"]


@dataclass(frozen=True, slots=True)
class ReportData:
    """What the page shows; everything in it is measured or stands in the manifest.

    ``lowered`` is what each engine got.
    """

    manifest: Mapping[str, Any]
    net: Sequence[Mapping[str, Any]]
    lowered: Sequence[Lowered]
    bundle_bytes: int
    seconds: Mapping[str, float]

    @property
    def programs(self) -> Sequence[str]:
        """Names in the order in which the page shows them: a manifest's is alphabetical."""
        return list(self.lowered[0].programs)


def report_path(bundle: Path) -> Path:
    """The report lies beside its bundle: ``out/starter`` has ``out/starter.report.html``."""
    return bundle.with_name(f"{bundle.name}.report.html")


def write_report(exported: Exported) -> Path:
    """Write the report of an export beside its bundle; returns its path."""
    data = ReportData(
        manifest=exported.packed.manifest,
        net=exported.prepared.net,
        lowered=exported.lowered,
        bundle_bytes=exported.packed.bytes,
        seconds=exported.seconds,
    )
    path = report_path(exported.packed.folder)
    write_atomically(path, render(data).encode())
    return path


def render(data: ReportData) -> str:
    """The page. Sections without anything to show are left out."""
    manifest = data.manifest
    template = string.Template(files("export").joinpath("report.html").read_text("utf-8"))
    sections = (
        _net(data),
        _memory(data),
        _parity({name: manifest["parity"][name] for name in data.programs}),
        *(_operators(item) for item in data.lowered),
        _time(data),
        _programs({name: manifest["programs"][name] for name in data.programs}),
        _files(manifest),
    )
    return template.substitute(
        title=text(manifest["name"]),
        lead=text(lead(data)),
        tiles="".join(f"<div class=tile><b>{b}</b><span>{s}</span></div>" for b, s in tiles(data)),
        sections="\n".join(sections),
        footer=_footer(manifest),
    )


def _net(data: ReportData) -> str:
    units = data.net
    if not units:
        return ""
    total = sum(unit["parameters"] for unit in units)
    hollow = sum(unit["parameters"] for unit in units if not unit["kept"])
    share = hollow / total if total else 0.0
    words = (
        f"{share:.1%} of the net's weights are left out while it trains: their result is computed"
        " once for each sample and stored. Pictures are generated with the whole net."
        if hollow
        else "Nothing is left out while it trains."
    )
    keys = legend(
        ("frozen", "frozen"), ("trained", "frozen, with trained adapters"), ("hollow", "left out")
    )
    return section("The net", words, keys + draw_net(units))


def _memory(data: ReportData) -> str:
    rows = []
    for name in data.programs:
        program = data.manifest["programs"][name]
        budget = data.manifest["budget"]["programs"][name]
        state = sum(
            tensor_bytes(entry["dtype"], entry["shape"])
            for entry in (*program["inputs"], *program["outputs"])
            if entry["binding"].startswith("state.")
        )
        rows.append(
            (
                name,
                {
                    "weights": budget["weight_bytes"],
                    "arena": budget["arena_bytes"],
                    "state": state,
                },
            )
        )
    keys = legend(
        ("weights", "weights: pages of the file, shared by all programs"),
        ("arena", "arena: planned working memory"),
        ("state", "state: adapters and moments, old and new"),
    )
    words = (
        "What each program needs while it runs. Only one runs at a time, so the tallest row counts,"
        " not the sum."
    )
    return section("Memory", words, keys + bars(rows, size))


def _parity(parity: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (name, float(figures["max_relative_error"]), _tolerance(figures))
        for name, figures in parity.items()
        if figures.get("max_relative_error") is not None
    ]
    words = (
        "The final program file, run by the runtime, against PyTorch on the same inputs. The bar"
        " ends where the export would have failed."
    )
    body = draw_errors(rows)
    for name, figures in parity.items():
        if (examples := figures.get("examples", 1)) > 1:
            body += (
                f"<p><code>{text(name)}</code>: medians of {examples} examples, since the first was"
                " beyond a tolerance.</p>"
            )
        losses = figures.get("loss_differences")
        if losses:
            steps = "".join(f"<th class=n>step {index}</th>" for index in range(1, len(losses) + 1))
            cells = "".join(f"<td class=n>{value:.1e}</td>" for value in losses)
            body += (
                f"<h3>Loss over {len(losses)} optimizer steps: {text(name)}</h3>"
                f"<table><tr><th></th>{steps}</tr><tr><td>difference</td>{cells}</tr></table>"
            )
        body += _worst_gradients(figures.get("gradients", {}))
    return section("Parity with PyTorch", words, body)


def _tolerance(figures: Mapping[str, Any]) -> float:
    """That of the figure that is drawn: gradients where a program trains, else its outputs."""
    tolerance = figures["tolerance"]
    return float(tolerance.get("gradient", tolerance["value"]))


def _worst_gradients(gradients: Mapping[str, float], shown: int = 5) -> str:
    if not gradients:
        return ""
    worst = sorted(gradients.items(), key=lambda item: (-item[1], item[0]))[:shown]
    rows = ((f"<code>{text(name)}</code>", f"{error:.1e}") for name, error in worst)
    return f"<h3>Largest gradient errors, of {len(gradients)} tensors</h3>" + table(
        ("tensor", "relative error"), rows, right=(1,)
    )


def _operators(lowered: Lowered) -> str:
    programs = lowered.programs
    if lowered.engine != "executorch":
        rows = ((text(name), f"{program.nodes:,}") for name, program in programs.items())
        return section(
            f"Operators for {text(lowered.engine)}",
            "Each is one of the runtime's own.",
            table(("program", "operators"), rows, right=(1,)),
        )
    overview = (
        (
            text(name),
            f"{program.nodes:,}",
            f"{program.delegates:,}",
            f"{sum(item.count for item in program.portable):,}",
        )
        for name, program in programs.items()
    )
    overview_table = table(
        ("program", "nodes", "XNNPACK parts", "portable operators"), overview, right=(1, 2, 3)
    )
    counts: Counter[tuple[str, str]] = Counter()
    users: dict[tuple[str, str], list[str]] = {}
    for name, program in programs.items():
        for item in program.portable:
            counts[item.operator, item.reason] += item.count
            users.setdefault((item.operator, item.reason), []).append(name)
    reasons = (
        (
            f"<code>{text(key[0])}</code>",
            f"{count:,}",
            text(key[1]),
            text(", ".join(users[key])),
        )
        for key, count in counts.most_common()
    )
    words = (
        "Operators inside XNNPACK parts run with fast kernels; the others run one by one with"
        " portable ones."
    )
    why = table(("operator", "count", "why it is not in XNNPACK", "in"), reasons, right=(1,))
    return section(
        "Operators", words, overview_table + (f"<h3>Left outside</h3>{why}" if counts else "")
    )


def _time(data: ReportData) -> str:
    rows = [(name, {"seconds": value}) for name, value in data.seconds.items()]
    body = bars(rows, lambda value: f"{value:.1f} s")
    budgets = data.manifest["budget"]["programs"]
    measured = {
        name: budgets[name]["measured"] for name in data.programs if "measured" in budgets[name]
    }
    if measured:
        body += "<h3>Native runs on the exporting machine</h3>" + table(
            ("program", "seconds a run", "peak residency (PSS)", "threads"),
            (
                (
                    text(name),
                    f"{figures['median_seconds']:.3g}",
                    size(figures["peak_pss_bytes"]),
                    str(figures["threads"]),
                )
                for name, figures in measured.items()
            ),
            right=(1, 2, 3),
        )
    return section("Time", "Seconds of each step of this export.", body)


def _programs(programs: Mapping[str, Mapping[str, Any]]) -> str:
    body = []
    for name, program in programs.items():
        rows = (
            (
                direction,
                text(entry["name"]),
                f"<code>{text(entry['binding'])}</code>",
                text(f"{entry['dtype']} {entry['shape']}"),
                text(_details(entry)),
            )
            for direction in ("inputs", "outputs")
            for entry in program[direction]
        )
        details_table = table(("", "name", "binding", "type", "details"), rows)
        count = f"{len(program['inputs'])} inputs, {len(program['outputs'])} outputs"
        body.append(
            f"<details><summary>{text(name)}<span>{count}</span></summary>{details_table}</details>"
        )
    words = "What a device hands in and gets back. It knows programs by these bindings alone."
    return section("Programs", words, "".join(body))


def _details(entry: Mapping[str, Any]) -> str:
    known = {"name", "dtype", "shape", "binding"}
    return ", ".join(f"{key} {value}" for key, value in entry.items() if key not in known)


def _files(manifest: Mapping[str, Any]) -> str:
    rows = (
        (f"<code>{text(name)}</code>", size(entry["bytes"]), f"<code>{entry['sha256']}</code>")
        for name, entry in manifest["files"].items()
    )
    return section(
        "Files", "Every file and its SHA-256.", table(("file", "size", "sha256"), rows, right=(1,))
    )


def _footer(manifest: Mapping[str, Any]) -> str:
    tools = ", ".join(f"{name} {version}" for name, version in manifest["tools"].items())
    return f"<p>Bundle <code>{text(manifest['bundle_id'])}</code><br>Made with {text(tools)}.</p>"

"""Rows as JSON and as the tables of docs/benchmarks.md."""

import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import sgfd

from .ceilings import Ceilings
from .compare import AIMED_SHARE_OF_STEP, Measured, Row
from .timing import Spread


def machine() -> dict[str, Any]:
    """Where and with what was measured."""
    names = ("torch", "numpy", "scipy", "torch-geometric", "torch-sparse")
    packages = {"sgfd": sgfd.__version__} | {name: _version(name) for name in names}
    found = None
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": found.group(1) if found else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: number for name, number in packages.items() if number},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def as_json(rows: Sequence[Row], ceilings: Ceilings) -> list[dict[str, Any]]:
    """Plain dicts, with the names of every field."""

    def named(value: Any) -> Any:
        if not hasattr(value, "_asdict"):
            return value
        fields = {name: named(field) for name, field in value._asdict().items()}
        if isinstance(value, Measured):
            fields["share_of_ceilings"] = value.share_of(ceilings)
        return fields

    return [named(row) for row in rows]


def headline(where: dict[str, Any], ceilings: Ceilings, repeats: int) -> str:
    """One paragraph for above the tables."""
    packages = ", ".join(f"{name} {number}" for name, number in where["packages"].items())
    return (
        f"{where['processor']}, {where['cores']} cores, {where['threads']} threads, "
        f"{where['vector_instructions']}; Python {where['python']}, {packages}. Medians of "
        f"{repeats}. Ceilings: dense products {ceilings.product / 1e9:.0f} GFLOP/s, copy "
        f"{ceilings.copy / 1e9:.1f} GB/s, row gather {ceilings.gather / 1e9:.1f} GB/s."
    )


def tables(rows: Sequence[Row], ceilings: Ceilings) -> str:
    """Markdown."""
    timed = [row for row in rows if row.case.part != "sampling"]
    drawn = [row for row in rows if row.case.part == "sampling"]
    parts = []
    if timed:
        head = ["", "ours, ms", "plainly, ms", "ratio", "aim", "MB", "plainly, MB"]
        parts.append(_table(head, [_times(row, ceilings) for row in timed]))
        head = ["", "GFLOP", "GB gathered", "GB moved"]
        parts.append(_table([*head, *(f"plainly: {name}" for name in head[1:])], _works(timed)))
    if drawn:
        head = ["", "a batch, ms", "plainly, ms", "ratio", "share of the shortest step", "aim"]
        parts.append(_table(head, [_sampling(row) for row in drawn]))
    return "\n\n".join(parts)


def name_of(row: Row) -> str:
    """ "BM3 distilled, release" or "ranking BM3"."""
    case = row.case
    backbone = case.backbone.upper()
    if case.part != "step":
        return f"{case.part} {backbone}"
    kernels = "" if case.kernels == "torch" else f", {case.kernels}"
    return f"{backbone} {case.arm}, {case.mathematics}{kernels}"


def _times(row: Row, ceilings: Ceilings) -> list[str]:
    aim = "" if row.aim is None else f"{row.aim:g}"
    return [
        name_of(row),
        _milliseconds(row.ours, ceilings),
        _milliseconds(row.straightforward, ceilings),
        _ratio(row.ratio),
        aim,
        *("" if x.peak_mb is None else f"{x.peak_mb:.0f}" for x in (row.ours, row.straightforward)),
    ]


def _works(rows: Sequence[Row]) -> list[list[str]]:
    return [[name_of(row), *_work(row.ours), *_work(row.straightforward)] for row in rows]


def _work(measured: Measured) -> list[str]:
    if measured.work is None:
        return [""] * 3
    return [f"{amount / 1e9:.2f}" for amount in measured.work]


def _sampling(row: Row) -> list[str]:
    share = "" if row.share_of_step is None else f"{row.share_of_step:.2%}"
    ours, other = (x.seconds.median * 1e3 for x in (row.ours, row.straightforward))
    aim = f"{AIMED_SHARE_OF_STEP:.0%}"
    return [row.case.backbone.upper(), f"{ours:.2f}", f"{other:.1f}", _ratio(row.ratio), share, aim]


def _milliseconds(measured: Measured, ceilings: Ceilings) -> str:
    share = measured.share_of(ceilings)
    said = "" if share is None else f" ({share:.0%})"
    return f"{measured.seconds.median * 1e3:.0f}{said}"


def _ratio(ratio: Spread) -> str:
    return f"{ratio.median:.1f} ({ratio.low:.1f}-{ratio.high:.1f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)

"""Figures as people and programs read them: medians of several runs, a table, and JSON."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class Figure:
    """One question's answer: the runs' values, and what was hoped for."""

    name: str
    unit: str
    runs: list[float]
    target: float | None = None
    lower_is_better: bool = False
    note: str = ""
    median: float = field(init=False)

    def __post_init__(self) -> None:
        self.median = statistics.median(self.runs)

    @property
    def reached(self) -> bool | None:
        if self.target is None:
            return None
        return self.median <= self.target if self.lower_is_better else self.median >= self.target


def repeat(runs: int, measure: Callable[[], float]) -> list[float]:
    """That many values of `measure`, after one that is not counted."""
    measure()
    return [measure() for _ in range(runs)]


def percentile(values: list[float], fraction: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(fraction * (len(ordered) - 1)))]


def show(title: str, figures: list[Figure]) -> None:
    """The table to stderr, the JSON to stdout."""
    table = Table(title=title)
    for column in ("figure", "median", "unit", "runs", "target", ""):
        table.add_column(column, justify="left" if column in ("figure", "unit", "") else "right")
    for figure in figures:
        mark = {True: "[green]reached[/]", False: "[red]not reached[/]", None: ""}[figure.reached]
        target = "" if figure.target is None else f"{figure.target:,.6g}"
        spread = f"{min(figure.runs):,.5g} - {max(figure.runs):,.5g}"
        table.add_row(
            figure.name, f"{figure.median:,.5g}", figure.unit, spread, target, f"{mark} {figure.note}".strip()
        )
    Console(stderr=True, width=max(100, Console(stderr=True).width)).print(table)
    machine = {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
    json.dump({"title": title, "machine": machine, "figures": [asdict(figure) for figure in figures]}, sys.stdout)
    sys.stdout.write("\n")
    sys.stdout.flush()

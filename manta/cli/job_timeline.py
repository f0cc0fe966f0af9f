"""When a job's tasks ran, node by node, as SVG: a bar for each attempt or, for many, how many ran at a time. Pure.

Tasks are read once, as they come; what is kept of them is bounded whatever their number.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Final

from manta.cli.job_rows import duration
from manta.cli.job_tasks import end_text, is_lost, moment_s, ranged
from manta.sdk.following import Line

BARS_MAX: Final = 2000
"""Attempts that are drawn one by one."""
NODES_MAX: Final = 64
_LANES_MAX: Final = 48
_BINS: Final = 240
_WIDTH: Final = 960.0
_LANE: Final = 9.0
_STRIP: Final = 44.0
_TICKS: Final = 6
_COLORS: Final = 5
_STEPS_S: Final = (
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    300,
    600,
    1200,
    1800,
    3600,
    7200,
    14_400,
)
STYLE: Final = """
.line { overflow-x: auto; } svg { display: block; width: 100%; min-width: 36rem; height: auto; margin: .2rem 0 .9rem; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); } svg .tick { stroke: var(--line); stroke-width: 1; }
svg .back { fill: var(--panel); } .p0 { fill: #3f8f5f; background: #3f8f5f; }
.p1 { fill: #4a7fc1; background: #4a7fc1; } .p2 { fill: #b98a2f; background: #b98a2f; }
.p3 { fill: #8d6bbf; background: #8d6bbf; }
.p4 { fill: #3f9aa3; background: #3f9aa3; } .no { fill: var(--bad); background: var(--bad); }
.lost { fill: var(--wait); background: var(--wait); } .now { opacity: .55; }
.legend { margin: .2rem 0 .8rem; } .legend span { margin-right: 1.1rem; white-space: nowrap; }
.legend i { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .35rem; }
h3 { font-size: .95rem; margin: .4rem 0 0; font-weight: 600; } h3 .soft { font-weight: 400; }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One attempt, in seconds since the epoch. `kind`: the CSS classes it is drawn by."""

    node: str
    began_s: float
    ended_s: float
    kind: str
    words: str


@dataclass(slots=True)
class _Bins:
    """Seconds of attempts that ran in each part of the time: those that were good, and the others."""

    good_s: list[float] = field(default_factory=lambda: [0.0] * _BINS)
    bad_s: list[float] = field(default_factory=lambda: [0.0] * _BINS)


def timeline(tasks: Iterable[Line], began_s: float, ended_s: float) -> str:
    """The section of the page; "" when nothing has run. Times outside of the job's own, by a node's clock, are cut."""
    ended_s = max(ended_s, began_s + 0.001)
    bars: list[Bar] = []
    bins: dict[str, _Bins] = {}
    unnamed: set[str] = set()
    count, phases = 0, 0
    for bar, phase in _attempts(tasks, ended_s):
        cut = _cut(bar, began_s, ended_s)
        count, phases = count + 1, max(phases, phase + 1)
        if cut.node not in bins and len(bins) >= NODES_MAX:
            unnamed.add(cut.node) if len(unnamed) < BARS_MAX else None
            continue
        _add(bins.setdefault(cut.node, _Bins()), cut, began_s, ended_s)
        if count <= BARS_MAX:
            bars.append(cut)
    if not count:
        return ""
    axis = _Axis(began_s, ended_s)
    lanes = {node: _lanes([bar for bar in bars if bar.node == node]) for node in bins} if count <= BARS_MAX else {}
    one_by_one = bool(lanes) and max(map(len, lanes.values())) <= _LANES_MAX
    told = "Each bar is an attempt." if one_by_one else f"{count:,} attempts: how many ran at a time."
    more = f" Further nodes, not shown: {len(unnamed)}." if unnamed else ""
    drawn = {node: _bars(lanes[node], axis) if one_by_one else _strip(bins[node], axis) for node in sorted(bins)}
    most = {node: "" if one_by_one else f", at most {_most(bins[node], axis):.1f} at a time" for node in drawn}
    rows = "".join(f'<h3>{escape(node)}<span class="soft">{most[node]}</span></h3>{row}' for node, row in drawn.items())
    legend = _legend(phases, one_by_one)
    return f'<h2>Timeline</h2><p class="soft">{told}{more}</p>{legend}<div class="line">{rows}</div>'


def _attempts(tasks: Iterable[Line], now_s: float) -> Iterator[tuple[Bar, int]]:
    """Every attempt that is known of, with the number of its phase."""
    for task in tasks:
        for earlier in task["earlier"]:
            yield _bar(task, earlier, "running", now_s), task["phase"]
        if task["node"] is not None:
            yield _bar(task, task, task["state"], now_s), task["phase"]


def _kind(phase: int, why: str | None, state: str) -> str:
    good = f"p{phase % _COLORS}"
    if why is not None:
        return "lost" if is_lost(why) else "no"
    return {"committed": good, "running": f"{good} now", "failed": "no"}.get(state, "lost")


def _bar(task: Line, attempt: Line, state: str, now_s: float) -> Bar:
    """`state`: of an attempt that nothing has ended but maybe a commit."""
    why = attempt.get("why")
    began_s = moment_s(attempt["started"]) or moment_s(attempt.get("leased")) or now_s
    ended_s = max(moment_s(attempt["ended"]) or now_s, began_s)
    words = f"task {task['task']}, attempt {attempt['attempt']}, {end_text(why, state)}, {_short(ended_s - began_s)}"
    name = ranged(task["input"] or "reducer", task)
    return Bar(attempt["node"], began_s, ended_s, _kind(task["phase"], why, state), f"{words}: {name}")


def _cut(bar: Bar, began_s: float, ended_s: float) -> Bar:
    low = min(max(bar.began_s, began_s), ended_s)
    return Bar(bar.node, low, min(max(bar.ended_s, low), ended_s), bar.kind, bar.words)


def _add(bins: _Bins, bar: Bar, began_s: float, ended_s: float) -> None:
    width_s = (ended_s - began_s) / _BINS
    parts = bins.good_s if bar.kind.startswith("p") else bins.bad_s
    first = min(int((bar.began_s - began_s) / width_s), _BINS - 1)
    last = min(int((bar.ended_s - began_s) / width_s), _BINS - 1)
    for number in range(first, last + 1):
        left_s, right_s = began_s + number * width_s, began_s + (number + 1) * width_s
        parts[number] += max(0.0, min(bar.ended_s, right_s) - max(bar.began_s, left_s))


def _lanes(bars: list[Bar]) -> list[list[Bar]]:
    """Bars that do not overlap share a lane, as tasks do."""
    lanes: list[list[Bar]] = []
    for bar in sorted(bars, key=lambda bar: (bar.began_s, bar.ended_s)):
        lane = next((lane for lane in lanes if lane[-1].ended_s <= bar.began_s), None)
        if lane is None:
            lanes.append(lane := [])
        lane.append(bar)
    return lanes


class _Axis:
    """Time from left to right, with a few round ticks."""

    def __init__(self, began_s: float, ended_s: float) -> None:
        self.began_s = began_s
        self.span_s = ended_s - began_s
        wanted_s = self.span_s / _TICKS
        self.step_s = next((step for step in _STEPS_S if step >= wanted_s), 86_400.0 * max(1, round(wanted_s / 86_400)))

    def x(self, moment_s: float) -> float:
        return (moment_s - self.began_s) / self.span_s * _WIDTH

    def drawn(self, height: float) -> str:
        """The whole image's frame up to that height, ticks and words; what is drawn on it follows."""
        ticks = [number * self.step_s for number in range(int(self.span_s / self.step_s) + 1)]
        lines = "".join(
            f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height:.0f}"/>'
            f'<text x="{min(x + 3, _WIDTH - 30):.1f}" y="{height + 12:.0f}">{_short(tick)}</text>'
            for tick in ticks
            if (x := tick / self.span_s * _WIDTH) <= _WIDTH
        )
        size = f'viewBox="0 0 {_WIDTH:.0f} {height + 16:.0f}"'
        return f'<svg {size} role="img"><rect class="back" width="{_WIDTH:.0f}" height="{height:.0f}"/>{lines}'


def _bars(lanes: list[list[Bar]], axis: _Axis) -> str:
    drawn = [axis.drawn(len(lanes) * _LANE)]
    for number, lane in enumerate(lanes):
        for bar in lane:
            x = min(axis.x(bar.began_s), _WIDTH - 1)
            width = max(axis.x(bar.ended_s) - x, 1.0)
            drawn.append(
                f'<rect class="{bar.kind}" x="{x:.1f}" y="{number * _LANE + 1:.0f}" width="{width:.1f}" '
                f'height="{_LANE - 2:.0f}" rx="1"><title>{escape(bar.words)}</title></rect>'
            )
    return "".join(drawn) + "</svg>"


def _strip(bins: _Bins, axis: _Axis) -> str:
    """How many ran at a time, from the bottom up, the failed ones on top."""
    width_s = axis.span_s / _BINS
    most = max(_most(bins, axis), 1e-9)
    drawn = [axis.drawn(_STRIP)]
    for number, (good_s, bad_s) in enumerate(zip(bins.good_s, bins.bad_s, strict=True)):
        at = f'x="{number * _WIDTH / _BINS:.1f}" width="{_WIDTH / _BINS:.1f}"'
        low, high = good_s / width_s / most * _STRIP, bad_s / width_s / most * _STRIP
        words = f"{_short(number * width_s)}: {(good_s + bad_s) / width_s:.1f} at a time"
        if good_s:
            drawn.append(_column("p0", at, _STRIP - low, low, words))
        if bad_s:
            drawn.append(_column("no", at, _STRIP - low - high, high, words))
    return "".join(drawn) + "</svg>"


def _most(bins: _Bins, axis: _Axis) -> float:
    """At a time, in whichever part of the time it was most."""
    return max(good + bad for good, bad in zip(bins.good_s, bins.bad_s, strict=True)) / axis.span_s * _BINS


def _column(kind: str, at: str, y: float, height: float, words: str) -> str:
    return f'<rect class="{kind}" {at} y="{y:.1f}" height="{height:.1f}"><title>{words}</title></rect>'


def _legend(phases: int, one_by_one: bool) -> str:
    kinds = [("p0", "ran well")]
    if one_by_one:
        kinds = [(f"p{phase % _COLORS}", f"phase {phase}") for phase in range(min(phases, _COLORS))]
    kinds.append(("no", "failed"))
    if one_by_one:
        kinds.append(("lost", "lost or cancelled"))
    return (
        '<p class="legend soft">' + "".join(f'<span><i class="{k}"></i>{words}</span>' for k, words in kinds) + "</p>"
    )


def _short(seconds: float) -> str:
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.1f}s" if seconds < 10 and seconds % 1 else duration(seconds)

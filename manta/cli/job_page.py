"""A job as one HTML page that stands alone: no script, nothing loaded from elsewhere, every word escaped,
also what would move the cursor of a terminal. Pure."""

import json
from collections.abc import Iterable, Iterator
from html import escape
from itertools import islice

from manta.cli.job_tasks import end_text, moment_s, ranged
from manta.cli.job_timeline import STYLE, timeline
from manta.cli.output import size_text
from manta.cli.plain import is_harmless, plain, plain_json
from manta.sdk.following import Line
from manta.sdk.jobs import JobStatus, PhaseStatus

LINES_MAX = 1000
_STYLE = """
:root { color-scheme: light dark; --text: #1c2024; --soft: #60646c; --line: #d9dadd; --back: #fff; --panel: #f6f7f8;
  --good: #2b7a4b; --bad: #c4322f; --wait: #b7bac0; }
@media (prefers-color-scheme: dark) { :root { --text: #e8e9eb; --soft: #a0a4ab; --line: #34373d; --back: #16181b;
  --panel: #1f2226; --good: #4fb37a; --bad: #f0706c; --wait: #565a62; } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: var(--text); background: var(--back);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; } .soft { color: var(--soft); }
pre, code { font: 13px/1.45 ui-monospace, monospace; } pre { background: var(--panel); padding: .6rem .8rem;
  margin: .4rem 0; border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; } td.n { white-space: nowrap; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.6rem, 1fr)); gap: .8rem; margin: 1rem 0; }
dt { color: var(--soft); font-size: 13px; } dd { margin: 0; font-size: 1.15rem; }
.bar { display: flex; height: .6rem; border-radius: 3px; overflow: hidden; background: var(--wait); margin: .4rem 0; }
.good { background: var(--good); } .bad { background: var(--bad); } .failed { color: var(--bad); }
"""


def page(
    status: JobStatus,
    document: Line,
    tasks: Iterable[Line],
    outputs: Iterable[Line],
    errors: Iterable[Line],
    now_s: float,
) -> str:
    """How a job's phases went and when, its failures, its outputs, LINES_MAX of these, and what it was asked to do.

    `document`: with whether there are inputs besides those in it, as the store tells it.
    `now_s`: the time, seconds since the epoch, for a job that still runs.
    """
    began_s, ended_s = moment_s(status.created) or now_s, moment_s(status.ended) or now_s
    others = _Others()
    name = status.name or f"Job {status.id}"
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(name)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<style>{_STYLE}{STYLE}</style><h1>{escape(name)}</h1>",
        f'<p class="soft">{escape(status.id)} · {escape(status.state)} · {_moment(status.created)}'
        f" to {_moment(status.ended) or 'now'} UTC</p>",
        f'<p class="failed">{escape(status.cancel_reason)}</p>' if status.cancel_reason else "",
        _totals(status),
        "<h2>Phases</h2>",
        *(_phase(number, phase) for number, phase in enumerate(status.phases)),
        timeline(others.seen(tasks), began_s, ended_s),
        others.table(),
        _failures(errors, status.errors),
        _outputs(outputs, status.outputs),
        _document(document),
    ]
    text = "\n".join(part for part in parts if part).replace("\r\n", "\n")
    return "\n".join(plain(line, is_harmless) for line in text.split("\n")) + "\n"


def _moment(text: str | None) -> str:
    """`2026-11-30 12:00:00` of the store's form."""
    return escape(text[:19].replace("T", " ")) if text else ""


def _totals(status: JobStatus) -> str:
    facts = {
        "inputs": f"{status.inputs:,}",
        "outputs": f"{status.outputs:,}",
        "errors": f"{status.errors:,}",
        "read in place": size_text(status.input_bytes_in_place),
        "input moved": size_text(status.input_bytes_moved),
        "shuffled": size_text(status.shuffle_bytes_moved),
        "output copied": size_text(status.output_bytes_copied),
        "task seconds": f"{status.task_seconds:,.1f}",
        "memory used": f"{status.byte_seconds / (1 << 30) / 3600:,.3f} GiB h",
    }
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items()) + "</dl>"


def _phase(number: int, phase: PhaseStatus) -> str:
    counts = phase.tasks
    whole = max(counts.total, 1)
    bad = counts.failed + counts.cancelled
    told = f"{counts.committed:,} of {counts.total:,} tasks done"
    told += f', <span class="failed">{counts.failed:,} failed</span>' if counts.failed else ""
    told += f", {counts.cancelled:,} cancelled" if counts.cancelled else ""
    return (
        f"<p><b>{number} {escape(phase.type)}</b> <span>{told}</span></p><pre>{escape(phase.work)}</pre>"
        f'<div class="bar"><div class="good" style="width:{100 * counts.committed / whole:.2f}%"></div>'
        f'<div class="bad" style="width:{100 * bad / whole:.2f}%"></div></div>'
    )


class _Others:
    """Attempts beside the last ones of their tasks, told one by one also where the timeline has too many to draw."""

    def __init__(self) -> None:
        self._rows: list[str] = []
        self._count = 0

    def seen(self, tasks: Iterable[Line]) -> Iterator[Line]:
        """The tasks, as they are read."""
        for task in tasks:
            for attempt in task["earlier"]:
                self._count += 1
                if self._count <= LINES_MAX:
                    self._rows.append(_attempt_row(task, attempt))
            yield task

    def table(self) -> str:
        return _table("Other attempts", ("task", "attempt", "node", "from", "to", "end"), self._rows, self._count)


def _attempt_row(task: Line, attempt: Line) -> str:
    cells = [
        f"{task['task']} {ranged(task['input'] or 'reducer', task)}", str(attempt["attempt"]), str(attempt["node"]),
        (attempt["started"] or "")[11:19], (attempt["ended"] or "")[11:19], end_text(attempt["why"], "running"),
    ]  # fmt: skip
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _failures(errors: Iterable[Line], count: int) -> str:
    rows = []
    for entry in islice(errors, LINES_MAX):
        said = "\n".join(str(entry.get("stderr") or "").rstrip().splitlines())
        name = ranged(str(entry.get("input") or entry.get("task")), entry)
        rows.append(
            f"<tr><td>{escape(name)}</td><td>{escape(str(entry['code']))}</td>"
            f"<td>{escape(str(entry['message']))}{f'<pre>{escape(said)}</pre>' if said else ''}</td>"
            f"<td>{escape(str(entry.get('node') or ''))}</td></tr>"
        )
    return _table("Failures", ("input", "code", "message", "node"), rows, count)


def _outputs(outputs: Iterable[Line], count: int) -> str:
    rows = [
        f"<tr><td>s3://{escape(str(entry['bucket']))}/{escape(str(entry['key']))}</td>"
        f'<td class="n">{size_text(int(entry["size"]))}</td></tr>'
        for entry in islice(outputs, LINES_MAX)
    ]
    return _table("Outputs", ("object", "size"), rows, count)


def _document(told: Line) -> str:
    lines = json.dumps(told["document"], indent=2, ensure_ascii=False).split("\n")
    text = "\n".join(plain_json(line, is_harmless) for line in lines)
    more = '<p class="soft">It has more inputs than these.</p>' if told["more_inputs"] else ""
    return f"<h2>Document</h2>{more}<pre>{escape(text)}</pre>"


def _table(title: str, heads: tuple[str, ...], rows: list[str], count: int) -> str:
    if not rows:
        return ""
    more = f'<p class="soft">The first {len(rows):,} of {count:,}.</p>' if count > len(rows) else ""
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<h2>{title}</h2>{more}<table><tr>{head}</tr>{''.join(rows)}</table>"

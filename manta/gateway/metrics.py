"""Counters of this process, in Prometheus' text form: requests by operation and status, bytes, and time."""

import time
from dataclasses import dataclass


@dataclass(slots=True)
class _Series:
    requests: int = 0
    seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0


_COUNTERS = (
    ("manta_requests_total", "requests", "Requests answered."),
    ("manta_request_seconds_total", "seconds", "Time from the head of a request to the end of its reply, summed."),
    ("manta_received_bytes_total", "bytes_in", "Bytes of request bodies as declared."),
    ("manta_sent_bytes_total", "bytes_out", "Bytes of reply bodies."),
)


class Metrics:
    """Bounded by the operations in the routing table and the statuses they answer with."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, int], _Series] = {}
        self._started = time.time()

    def count(self, operation: str, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        series = self._series.get((operation, status))
        if series is None:
            series = self._series[operation, status] = _Series()
        series.requests += 1
        series.seconds += seconds
        series.bytes_in += bytes_in
        series.bytes_out += bytes_out

    def text(self, gauges: dict[str, float]) -> str:
        """https://prometheus.io/docs/instrumenting/exposition_formats/"""
        lines: list[str] = []
        for name, field, what in _COUNTERS:
            lines += [f"# HELP {name} {what}", f"# TYPE {name} counter"]
            for (operation, status), series in sorted(self._series.items()):
                lines.append(f'{name}{{operation="{operation}",status="{status}"}} {getattr(series, field)}')
        for name, value in {"manta_start_time_seconds": self._started, **gauges}.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value}"]
        return "\n".join(lines) + "\n"

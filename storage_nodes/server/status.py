"""What a node says of itself."""

import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from storage_nodes.api import NodeStatus
from storage_nodes.disk.volume import Volume

AgentStatus = Callable[[], dict[str, object]]


class StatusBoard:
    """Gathers the status. `agent` is set by whoever composes the node."""

    def __init__(self, volume: Volume, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._volume = volume
        self._monotonic_s = monotonic_s
        self._started_s = monotonic_s()
        self._version = _version()
        self.agent: AgentStatus = dict
        self.served_bytes = 0

    def read(self) -> NodeStatus:
        space = self._volume.space()
        reason = self._volume.why_not_writable()
        return NodeStatus(
            node_id=self._volume.identity.node_id,
            version=self._version,
            total_bytes=space.total_bytes,
            free_bytes=space.free_bytes,
            writable=not reason,
            reason=reason,
            blobs_quarantined=self._volume.quarantined,
            uptime_s=self._monotonic_s() - self._started_s,
            agent=self.agent(),
            served_bytes=self.served_bytes,
        )


def _version() -> str:
    try:
        return version("manta-store")
    except PackageNotFoundError:
        return "unknown"

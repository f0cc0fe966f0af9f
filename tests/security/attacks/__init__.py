"""What a hostile task tries, one table per family, and how each attack ends: read these to see what is held."""

from tests.security.attacks import on_agent, on_host, on_input, on_kernel, on_neighbours, on_network
from tests.security.attacks.attack import Attack

FAMILIES: dict[str, tuple[Attack, ...]] = {
    "input": on_input.ATTACKS,
    "neighbours": on_neighbours.ATTACKS,
    "host": on_host.ATTACKS,
    "kernel": on_kernel.ATTACKS,
    "network": on_network.ATTACKS,
    "agent": on_agent.ATTACKS,
}

__all__ = ["FAMILIES", "Attack"]

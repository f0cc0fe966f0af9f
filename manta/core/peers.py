"""How nodes are reached and how one call, or one blob, is entrusted to whoever makes it."""

from dataclasses import dataclass, field

import msgspec


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """`url` is `http://host:port` or `unix:/path/to/socket`; `key` signs every call to this node."""

    node_id: str
    url: str
    key: bytes = field(repr=False)


class PeerSource(msgspec.Struct, frozen=True):
    """Where a blob can be read, or written, by whoever holds `token`: signed by a gateway for that blob and purpose."""

    node_id: str
    url: str
    token: str

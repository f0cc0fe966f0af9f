"""Attacks by the network: there is none, whichever way it is asked for."""

from tests.security.attacks.attack import Attack

_FAMILIES = {
    "packet": (17, 3),
    "netlink": (16, 3),
    "vsock": (40, 1),
    "crypto": (38, 5),
    "xdp": (44, 3),
    "bluetooth": (31, 3),
    "can": (29, 3),
    "key": (15, 3),
    "tipc": (30, 1),
    "rds": (21, 5),
}
_ADDRESSES = {
    "the gateway's port": "('127.0.0.1', FACTS['port'])",
    "a service on the host's loopback": "('127.0.0.1', FACTS['listener'])",
    "the host by its own address": "(FACTS['address'], FACTS['listener'])",
    "the cloud's metadata": "('169.254.169.254', 80)",
    "another machine": "('192.0.2.1', 80)",
}

ATTACKS = (
    *(
        Attack(f"connect to {name}", f"socket.create_connection({address}, timeout=5)", "ENETUNREACH|ECONNREFUSED")
        for name, address in _ADDRESSES.items()
    ),
    Attack(
        "connect by IPv6",
        "socket.create_connection(('::1', FACTS['listener']), timeout=5)",
        "ENETUNREACH|EADDRNOTAVAIL|ECONNREFUSED",
    ),
    Attack(
        "send a datagram",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', (FACTS['address'], FACTS['udp']))",
        "ENETUNREACH|EPERM",
    ),
    Attack(
        "send a datagram to the host's loopback",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', FACTS['udp']))\nheld('its own loopback')",
        "its own loopback|ENETUNREACH",
    ),
    Attack(
        "resolve a name",
        "socket.getaddrinfo('example.com', 80)",
        "EPERM|ENETUNREACH|[Errno -3] Temporary failure in name resolution|[Errno -2] Name or service not known",
    ),
    *(
        Attack(f"a {name} socket", f"socket.socket({family}, {kind})", "EAFNOSUPPORT")
        for name, (family, kind) in _FAMILIES.items()
    ),
    Attack("a raw socket", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "EPERM"),
    Attack("a raw IPv6 socket", "socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)", "EPERM"),
    Attack(
        "see an interface",
        "names = [line.split(':')[0].strip() for line in open('/proc/net/dev').readlines()[2:]]\nheld('its own loopback') if names == ['lo'] else 0",
        "its own loopback",
    ),
    Attack("see the host's connections", "held('none') if len(open('/proc/net/tcp').readlines()) == 1 else 0", "none"),
    Attack(
        "a socket of the host by its abstract name",
        "socket.socket(socket.AF_UNIX).connect('\\0' + FACTS['abstract'])",
        "ECONNREFUSED",
    ),
    Attack("a socket of the host by its path", "socket.socket(socket.AF_UNIX).connect(FACTS['path'])", "ENOENT"),
    Attack(
        "the node's own socket",
        "socket.socket(socket.AF_UNIX).connect(FACTS['node'] or held('it has a port'))",
        "ENOENT|it has a port",
    ),
    Attack(
        "the node's port",
        "socket.create_connection(('127.0.0.1', FACTS['node_port'] or held('it has a socket')), timeout=5)",
        "ENETUNREACH|ECONNREFUSED|it has a socket",
    ),
    Attack("the gateway's own socket", "socket.socket(socket.AF_UNIX).connect(FACTS['gateway'])", "ENOENT"),
    Attack("bring the loopback up", "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 1))", "EPERM"),
)

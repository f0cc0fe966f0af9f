"""Attacks by the agent's socket and the programs on it: beyond the job's rights, and past the protocol.

The job is of the account eve. Of the account alice there are the object `s3://alice/secret` and a job's bucket.
"""

from tests.security.attacks.attack import Attack

_SAY = """
def say(*frames, timeout=10):
    channel = socket.socket(socket.AF_UNIX)
    channel.settimeout(timeout)
    channel.connect('/run/manta.sock')
    channel.sendall(b''.join(frames))
    said = b''
    while len(said) < 5 or len(said) < 5 + int.from_bytes(said[1:5], 'big'):
        more = channel.recv(65536)
        if not more:
            held('hung up')
        said += more
    if said[0] == 5:
        held(said[5:].split(b'\\0')[0].decode())
    return said[5:]
def frame(kind, payload=b''):
    return bytes([kind]) + len(payload).to_bytes(4, 'big') + payload
def ask(*fields):
    return frame(1, b'\\0'.join(fields))
def output(name, *more):
    say(ask(b'output', b'name=' + name, *more), frame(2, b'data'), frame(3))
"""


_PEER = """
channel = socket.socket(socket.AF_UNIX)
channel.connect('/run/manta.sock')
peer = struct.unpack('i', channel.getsockopt(1, 77, 4))[0]
"""
"""A descriptor of the agent's process, by SO_PEERPIDFD."""


def _attack(name: str, code: str, ends: str) -> Attack:
    return Attack(name, _SAY + code, ends)


_BAD_BUCKETS = (
    "..",
    ".",
    "",
    "a",
    "UPPER",
    "a/../b",
    "alice%2Fsecret",
    "-x-",
    "x" * 64,
    "aaa\\nbbb",
    "\\xff\\xff\\xff",
)

ATTACKS = (
    _attack("read an object of another account", "say(ask(b'get', b'alice/secret'))", "AccessDenied"),
    _attack("read an object of another account by URL", "say(ask(b'get', b's3://alice/secret'))", "AccessDenied"),
    _attack("read what is not there", "say(ask(b'get', b'alice/none'))", "AccessDenied"),
    _attack("list a bucket of another account", "say(ask(b'list', b'alice/', b''))", "AccessDenied"),
    _attack("list another job's bucket", "say(ask(b'list', FACTS['job'].encode() + b'/', b''))", "AccessDenied"),
    _attack("read another job's output", "say(ask(b'get', FACTS['output'].encode()))", "AccessDenied"),
    _attack("refer to an object of another account", "say(ask(b'refer', b'alice/secret'), frame(3))", "AccessDenied"),
    _attack("put into a bucket of another account", "output(b'alice/planted')", "AccessDenied"),
    _attack("put beside into a bucket of another account", "output(b'alice/planted', b'side')", "AccessDenied"),
    _attack("put into another job's bucket", "output(FACTS['job'].encode() + b'/planted')", "AccessDenied"),
    _attack("overwrite an object of another account", "output(b'alice/secret')", "AccessDenied"),
    _attack("put into a bucket that is not there", "output(b'nobodys-bucket/x')", "NoSuchBucket|AccessDenied"),
    _attack(
        "put by a public program into another's bucket",
        "run('/bin/sh', '-c', 'echo x | mpipe alice/planted')",
        "refused",
    ),
    _attack("get by a public program from another's bucket", "run('mget', 'alice/secret')", "refused"),
    *(
        _attack(
            f"a bucket named {name!r}",
            f"output(b'{name}/x')",
            "InvalidBucketName|InvalidArgument|NoSuchBucket|AccessDenied|InvalidURI",
        )
        for name in _BAD_BUCKETS
    ),
    _attack("a key that is too long", "output(b'eve/' + b'x' * 1025)", "KeyTooLongError|KeyTooLong"),
    _attack("a key that is no text", "output(b'eve/\\xff\\xfe')", "InvalidArgument"),
    _attack(
        "a header that breaks its line", "output(b'eve/x', b'header=content-type: a\\r\\nx-evil: 1')", "InvalidArgument"
    ),
    _attack(
        "a header that nobody may set",
        "output(b'eve/x', b'header=x-amz-acl: public-read')",
        "InvalidArgument|NotImplemented",
    ),
    _attack("a call that there is not", "say(ask(b'delete', b'eve/in'))", "InvalidArgument"),
    _attack("a path instead of a call", "say(ask(b'../../etc/passwd'))", "InvalidArgument"),
    _attack("an option that there is not", "say(ask(b'output', b'blob_id=00'), frame(3))", "InvalidArgument"),
    _attack("a reducer that there is not", "say(ask(b'output', b'reducer=-1'), frame(3))", "InvalidArgument"),
    _attack(
        "a frame longer than any", "say(b'\\x01' + (1 << 31).to_bytes(4, 'big') + b'x')", "InvalidArgument|hung up"
    ),
    _attack("a frame of no kind", "say(b'\\x63' + bytes(4))", "InvalidArgument|hung up"),
    _attack(
        "HTTP to the agent", "say(b'GET / HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n' + bytes(100))", "InvalidArgument|hung up"
    ),
    _attack(
        "a pickle to the agent", "import pickle\nsay(frame(1, pickle.dumps(os.system)))", "InvalidArgument|hung up"
    ),
    _attack("fields without end", "say(frame(1, b'get' + b'\\0x' * 5000))", "InvalidArgument"),
    _attack(
        "names by the thousand",
        "say(ask(b'refer', *[b'eve/in'] * 4000), *[ask(b'refer', *[b'eve/in'] * 4000)] * 3, frame(3))",
        "InvalidArgument",
    ),
    _attack(
        "a descriptor to the agent",
        "channel = socket.socket(socket.AF_UNIX)\nchannel.settimeout(10)\nchannel.connect('/run/manta.sock')\nsocket.send_fds(channel, [ask(b'nothing')], [0, 1, 2])\nheld('InvalidArgument') if b'InvalidArgument' in channel.recv(1000) else 0",
        "InvalidArgument",
    ),
    _attack(
        "more connections than any program needs",
        "doors = []\nfor _ in range(400):\n    channel = socket.socket(socket.AF_UNIX)\n    channel.settimeout(10)\n    channel.connect('/run/manta.sock')\n    doors.append(channel)\nheld('hung up') if any(channel.recv(1) == b'' for channel in doors[-1:]) else 0",
        "hung up|EAGAIN|BlockingIOError",
    ),
    _attack(
        "signal to the agent by its socket", _PEER + "call('pidfd_send_signal', peer, 9, 0, 0)", "EINVAL|ENOPROTOOPT"
    ),
    *(
        _attack(
            f"the agent's {name} namespace by its socket",
            _PEER + f"fcntl.ioctl(peer, 0xFF00 | {number})",
            "EACCES|ENOPROTOOPT|ENOTTY",
        )
        for number, name in ((3, "mount"), (4, "network"), (5, "pid"), (9, "user"))
    ),
)

"""Tricks with outputs: what stands behind a stream or a name. All run in one task, one after another."""

TRICKS: tuple[tuple[str, str | None, bytes], ...] = (
    # command, the key that it makes in the bucket eve (none: it fails), what the object holds
    ("ln -s /etc/passwd link; mpipe eve/symlink < link", "symlink", b"nobody:x:65534"),
    ("ln -s /etc/shadow gone; mpipe eve/planted-1 < gone", None, b""),
    ("mkfifo fifo; (echo through the fifo > fifo &); mpipe eve/fifo < fifo", "fifo", b"through the fifo"),
    ("mpipe eve/device < /dev/null", "device", b""),
    ("mknod disk b 8 0; mpipe eve/planted-2 < disk", None, b""),
    ('ln "$MANTA_INPUT_FILE" hard; mpipe eve/planted-3 < hard', None, b""),
    ("mpipe eve/folder < /scratch", None, b""),
    ("echo up | mpipe eve/../alice/planted", "../alice/planted", b"up"),
    ("echo up | mpipe eve/../../../../tmp/planted", "../../../../tmp/planted", b"up"),
    ("echo encoded | mpipe eve/%2e%2e/planted", "%2e%2e/planted", b"encoded"),
    ("echo lines | mpipe \"$(printf 'eve/two\\nlines')\"", "two\nlines", b"lines"),
    ("echo root | mpipe eve//etc/planted", "/etc/planted", b"root"),
    ("echo other | mpipe alice/planted", None, b""),
    ("echo none | mpipe ../planted", None, b""),
    ("echo first | mpipe eve/twice; echo second | mpipe eve/twice", "twice", b"first"),
    ("mcat alice/secret", None, b""),
    ("mput eve/planted-4 < /proc/1/environ", None, b""),
)

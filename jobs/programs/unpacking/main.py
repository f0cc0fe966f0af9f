"""The program: an archive into a folder, and what a node has to know of it."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import sys
import tarfile
import zlib

from jobs.programs.unpacking.archive import PIECE, Archive
from jobs.programs.unpacking.layers import Inflated
from jobs.programs.unpacking.manifest import Layer, find_image
from jobs.programs.unpacking.refusal import Bad, NotHere
from jobs.programs.unpacking.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def unpack(archive_path: str, root: str, bytes_max: int, entries_max: int, machine: str) -> dict[str, object]:
    """What a node has to know of the image."""
    tree = Tree(root, bytes_max, entries_max)
    with contextlib.closing(Archive(archive_path)) as archive:
        config, layers = find_image(archive, machine)
        left = 2 * bytes_max
        for layer in layers:
            left = _apply(archive, layer, tree, left)
    tree.finish()
    if not tree.has_shell():
        raise Bad("it has neither /bin/bash nor /bin/sh to run commands with")
    env = [one for one in config.get("Env") or () if isinstance(one, str)]
    workdir = config.get("WorkingDir")
    return {
        "env": env,
        "workdir": workdir if isinstance(workdir, str) else "",
        "bytes": tree.bytes,
        "entries": tree.entries,
    }


def _apply(archive: Archive, layer: Layer, tree: Tree, left: int) -> int:
    """How much of `left` bytes of plain tar is left then."""
    source = archive.open(layer.name)
    with contextlib.closing(Inflated(source, left, archive.magic(layer.name))) as stream:
        tree.apply(stream)
        while stream.read(PIECE):
            pass
    if f"sha256:{stream.digest.hexdigest()}" != layer.plain_digest:
        raise Bad(f"the layer {layer.plain_digest[:19]}… does not have that digest")
    if layer.digest is not None:
        source.check(layer.digest)
    return stream.left


def main() -> NoReturn:
    archive, root, bytes_max, entries_max, machine = sys.argv[1:]
    os.umask(0o022)
    try:
        print(json.dumps(unpack(archive, root, int(bytes_max), int(entries_max), machine)))
    except Bad as error:
        sys.exit(str(error))
    except NotHere as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile, json.JSONDecodeError, UnicodeError) as error:
        sys.exit(f"it is damaged: {error}")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE):
            print(error, file=sys.stderr)
            sys.exit(2)
        sys.exit(f"its files cannot be made: {error.strerror}")
    except MemoryError:
        sys.exit("that needs too much memory")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError) as error:
        sys.exit(f"its manifest or configuration is odd: {type(error).__name__} {error}")
    sys.exit(0)

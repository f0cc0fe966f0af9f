"""Small blobs' files, made without waiting for the disk, since the journal already holds their bytes.

The file is made under its final name: bytes first, checksums last. Until it has its checksums no reader takes it for a
blob, and no catalog row names it before it is acknowledged, so nobody ever reads a part of it (D3).
"""

import os

from manta.core.checksums import Buffer
from manta.core.errors import BlobDamaged, NoSuchBlob
from storage_nodes.disk import sums
from storage_nodes.disk.incoming import FILE_MODE, is_complete, remove
from storage_nodes.disk.layout import sums_of
from storage_nodes.disk.outlet import write_all
from storage_nodes.disk.sums import Sums
from storage_nodes.disk.verify import load_sums, read_block

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def create(path: str, data: Buffer, written: Sums, *, xattrs: bool, chmod: bool) -> None:
    """Make the file. Making the same blob twice is fine; AlreadyExists if the id is taken by other bytes."""
    try:
        descriptor = os.open(path, _FLAGS, FILE_MODE)
    except FileExistsError:
        if is_complete(path, written):
            return
        remove(path)
        descriptor = os.open(path, _FLAGS, FILE_MODE)
    try:
        if chmod:
            os.fchmod(descriptor, FILE_MODE)
        if os.write(descriptor, data) != len(data):
            write_all(descriptor, [data], 0)
        _attach(descriptor, path, written, xattrs=xattrs)
    except BaseException:
        remove(path)
        raise
    finally:
        os.close(descriptor)


def restore(path: str, data: Buffer, written: Sums, *, xattrs: bool, chmod: bool) -> None:
    """Make the file anew unless it has these very bytes: a power cut may have left it short, empty or not at all."""
    try:
        with open(path, "rb") as file:
            found = load_sums(file.fileno(), path, written.blob_id)
            if found == written and all(read_block(file.fileno(), found, index) for index in range(len(found.blocks))):
                return
    except (FileNotFoundError, NoSuchBlob, BlobDamaged):
        pass
    remove(path)
    create(path, data, written, xattrs=xattrs, chmod=chmod)


def _attach(descriptor: int, path: str, written: Sums, *, xattrs: bool) -> None:
    if xattrs:
        os.setxattr(descriptor, sums.XATTR, written.encode())
        return
    sidecar = os.open(sums_of(path), _FLAGS, FILE_MODE)
    try:
        write_all(sidecar, [written.encode()], 0)
    finally:
        os.close(sidecar)

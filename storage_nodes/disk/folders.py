"""The two levels of folders that blobs lie in: made when first needed, remembered, made durable in the right order."""

import threading

from storage_nodes.disk import durable
from storage_nodes.disk.layout import Layout


class Folders:
    """Which folders exist, and which of them survive a power cut. At most 65,536 and their parents."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._known: set[str] = set()
        self._fresh: set[str] = set()
        self._lock = threading.Lock()

    def ensure(self, blob_id: str) -> str:
        """The blob's folder, made if need be."""
        folder = self._layout.blob_folder(blob_id)
        if folder not in self._known:
            self._make(folder)
        return folder

    def sync(self, blob_id: str) -> None:
        """Names in the blob's folder, and the folder itself, reach the disk."""
        folder = self._layout.blob_folder(blob_id)
        durable.sync_folder(folder)
        if folder in self._fresh:
            durable.sync_folder(folder[:-3])
            durable.sync_folder(folder[:-6])
            self._fresh.discard(folder)

    def _make(self, folder: str) -> None:
        with self._lock:
            durable.make_folder(folder[:-3])
            durable.make_folder(folder)
            # A folder that was there may have been made just before a crash: only our own fsync says otherwise.
            self._fresh.add(folder)
            self._known.add(folder)

"""Where everything of a volume lies. Every path of the node's own files is made here, from ids that were checked."""

from pathlib import Path

from manta.core.names import check_id


class Layout:
    """The folders and files below `root`; a blob's folder is named by the random end of its id."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs"
        self.growing = root / "growing"
        self.tmp = root / "tmp"
        self.quarantine = root / "quarantine"
        self.journal = root / "journal"
        self.identity = root / "identity"
        self._blobs_text = str(self.blobs)

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.blobs, self.growing, self.tmp, self.quarantine, self.journal)

    def blob_folder(self, blob_id: str) -> str:
        check_id(blob_id)
        return f"{self._blobs_text}/{blob_id[30:32]}/{blob_id[28:30]}"

    def blob(self, blob_id: str) -> str:
        """The object's own file: raw bytes."""
        return f"{self._blobs_text}/{blob_path(blob_id)}"

    def growing_blob(self, blob_id: str) -> str:
        return f"{self.growing}/{check_id(blob_id)}"

    def temporary(self, blob_id: str, number: int) -> str:
        return f"{self.tmp}/{check_id(blob_id)}.{number}"

    def quarantined(self, blob_id: str, number: int) -> str:
        return f"{self.quarantine}/{check_id(blob_id)}.{number}"

    def segment(self, number: int) -> str:
        return f"{self.journal}/{number:04d}.journal"


def blob_path(blob_id: str) -> str:
    """The blob's path below the blobs folder, as the sandbox names it."""
    check_id(blob_id)
    return f"{blob_id[30:32]}/{blob_id[28:30]}/{blob_id}"


def slots_of(path: str) -> str:
    """The checksum file of the growing blob at `path`."""
    return path + ".slots"


def sums_of(path: str) -> str:
    """The sidecar that holds the checksums of the file at `path`."""
    return path + ".sum"

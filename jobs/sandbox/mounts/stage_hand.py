"""Which stage hand a root's node has: the C one, compiled once and kept; without a compiler the Python one."""

import sys
from pathlib import Path

from jobs.sandbox.building.blueprint import SealedFile, StageHand
from manta.core.compiled import compiled


def stage_hand(state_dir: Path, wanted: str | None = None) -> StageHand:
    """`wanted` is "c", "python" or None for the best there is."""
    folder = Path(__file__).parent
    binary = compiled(state_dir, "stage", [folder / "stage.c"]) if wanted != "python" else None
    if binary is not None:
        return StageHand(SealedFile("stage", binary.read_bytes()))
    return StageHand(SealedFile("stage", (folder / "stage.py").read_bytes()), (sys.executable, "-I", "-S"))

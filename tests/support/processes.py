"""How processes that tests start are ended."""

import signal
import subprocess


def end(process: "subprocess.Popen[str] | subprocess.Popen[bytes]", timeout_s: float) -> None:
    """Asked to, and killed if it does not in that time."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""What tasks said on stderr: kept on this node, and followed while they run."""

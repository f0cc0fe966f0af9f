"""Login sessions on this node: a shell at a real terminal in a sandbox, on objects that lie here."""

"""Object files on this disk: layout, durability, checksums, journal. Blocking; nothing here knows HTTP."""

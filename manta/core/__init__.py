"""Words and rules shared by every floor: errors, limits, names, checksums, placement, clock, configuration."""

"""The agent's way to the gateways: leases in, results out."""

"""Bytes between gateway and nodes: who is alive, K copies written at once, reads without a seam."""

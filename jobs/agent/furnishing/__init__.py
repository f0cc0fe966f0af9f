"""What phases bring into their zones, and what of it a node keeps: assets, images, Python functions."""

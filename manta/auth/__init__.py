"""Who signed a request and what it may do: pure SigV4, pure chunk decoding, one verifier that refuses by default."""

"""Unpacks an image, an OCI archive or one of `docker save`, into a folder: runs inside a zone, on what a client sent.

A program of its own for `python -I -S`, put together by `jobs.programs.install`: `ARCHIVE FOLDER BYTES_MAX ENTRIES_MAX
MACHINE`. Digests are verified, whiteouts honoured, names resolved below FOLDER. Files become readable for all and lose
their owners, setuid bits and attributes; devices and pipes are left out. It says what it found as JSON on stdout, and
exits with 1 and the reason when the archive is at fault, with 2 when the machine is, with 3 when the machine lacks
something that other machines may have. https://github.com/opencontainers/image-spec
"""

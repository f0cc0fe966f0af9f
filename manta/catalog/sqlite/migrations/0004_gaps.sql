-- Spans of time whose commits this catalog has lost, since it was restored from a backup: blobs born in one are kept.

CREATE TABLE gaps (
    since_ms INTEGER PRIMARY KEY,
    until_ms INTEGER NOT NULL
);

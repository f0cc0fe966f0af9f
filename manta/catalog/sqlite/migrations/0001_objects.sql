-- Ids of blobs, versions and uploads are 16 bytes (32 hexadecimal digits outside). Node numbers are 2 bytes each in
-- `blobs.nodes`, in placement order. Packed columns are msgpack: see manta/catalog/packing.py.

CREATE TABLE accounts (
    account_id   TEXT PRIMARY KEY NOT NULL,
    name         TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    email        TEXT NOT NULL,
    created_ms   INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE access_keys (
    access_key TEXT PRIMARY KEY NOT NULL,
    secret_key TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX access_keys_by_account ON access_keys (account_id);

CREATE TABLE buckets (
    bucket_id  INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    owner_id   TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    kind       TEXT NOT NULL
);
CREATE INDEX buckets_by_owner ON buckets (owner_id, kind, name);

-- The current version of each key. Noncurrent versions get a table of their own when versioning comes.
CREATE TABLE objects (
    bucket_id   INTEGER NOT NULL REFERENCES buckets,
    key         BLOB NOT NULL,
    version_id  BLOB NOT NULL,
    size        INTEGER NOT NULL,
    etag        TEXT NOT NULL,
    modified_ms INTEGER NOT NULL,
    algorithms  INTEGER NOT NULL,
    blob_id     BLOB,
    attributes  BLOB NOT NULL,
    PRIMARY KEY (bucket_id, key)
) WITHOUT ROWID;

-- `size` is null while the blob is growing. A row lives as long as `refs` is above zero.
CREATE TABLE blobs (
    blob_id BLOB PRIMARY KEY NOT NULL,
    size    INTEGER,
    refs    INTEGER NOT NULL,
    nodes   BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE replicas (
    node_no INTEGER NOT NULL,
    blob_id BLOB NOT NULL,
    PRIMARY KEY (node_no, blob_id)
) WITHOUT ROWID;

CREATE TABLE garbage (
    node_no INTEGER NOT NULL,
    blob_id BLOB NOT NULL,
    due_ms  INTEGER NOT NULL,
    PRIMARY KEY (blob_id, node_no)
) WITHOUT ROWID;
CREATE INDEX garbage_by_due ON garbage (due_ms, blob_id);
CREATE INDEX garbage_of_node_by_due ON garbage (node_no, due_ms, blob_id);

CREATE TABLE uploads (
    upload_id     BLOB PRIMARY KEY NOT NULL,
    bucket_id     INTEGER NOT NULL REFERENCES buckets,
    key           BLOB NOT NULL,
    blob_id       BLOB NOT NULL,
    slot_bytes    INTEGER,
    initiated_ms  INTEGER NOT NULL,
    owner_id      TEXT NOT NULL,
    algorithm     TEXT,
    checksum_type TEXT,
    attributes    BLOB NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX uploads_by_key ON uploads (bucket_id, key, upload_id);
CREATE INDEX uploads_by_age ON uploads (initiated_ms, upload_id);

CREATE TABLE upload_slots (
    upload_id BLOB NOT NULL REFERENCES uploads ON DELETE CASCADE,
    number    INTEGER NOT NULL,
    PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;

CREATE TABLE upload_parts (
    upload_id   BLOB NOT NULL REFERENCES uploads ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    etag        TEXT NOT NULL,
    modified_ms INTEGER NOT NULL,
    in_slot     INTEGER NOT NULL,
    blob_id     BLOB,
    checksums   BLOB NOT NULL,
    PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;

CREATE TABLE completed_uploads (
    bucket_id    INTEGER NOT NULL REFERENCES buckets ON DELETE CASCADE,
    upload_id    BLOB NOT NULL,
    key          BLOB NOT NULL,
    completed_ms INTEGER NOT NULL,
    version      BLOB NOT NULL,
    PRIMARY KEY (bucket_id, upload_id)
) WITHOUT ROWID;
CREATE INDEX completed_uploads_by_age ON completed_uploads (completed_ms, upload_id);

-- A number is given once and never changes its meaning, so that every process may remember it.
CREATE TABLE node_numbers (
    node_no INTEGER PRIMARY KEY,
    node_id TEXT NOT NULL UNIQUE
);

CREATE TABLE nodes (
    node_id       TEXT PRIMARY KEY NOT NULL,
    url           TEXT NOT NULL,
    key           BLOB NOT NULL,
    machine_id    TEXT NOT NULL,
    volume        TEXT,
    state         TEXT NOT NULL,
    registered_ms INTEGER NOT NULL
) WITHOUT ROWID;

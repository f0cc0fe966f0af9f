-- Ids of accounts that were removed. None is given again: policies of buckets may still name it.
CREATE TABLE former_accounts (
    account_id TEXT PRIMARY KEY NOT NULL
) WITHOUT ROWID;

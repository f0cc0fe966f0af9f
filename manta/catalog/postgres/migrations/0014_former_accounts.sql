-- Ids of accounts that were removed. None is given again: policies of buckets may still name it.
CREATE TABLE former_accounts (
    account_id text COLLATE "C" PRIMARY KEY NOT NULL
);

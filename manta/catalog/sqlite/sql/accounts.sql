-- name: create_account
INSERT INTO accounts (account_id, name, display_name, email, created_ms) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING RETURNING account_id;

-- name: get_account
SELECT account_id, name, display_name, email, created_ms FROM accounts WHERE account_id = ?;

-- name: list_accounts
SELECT account_id, name, display_name, email, created_ms FROM accounts ORDER BY account_id;

-- name: owns_bucket
SELECT EXISTS (SELECT 1 FROM buckets WHERE owner_id = ?);

-- name: delete_account
DELETE FROM accounts WHERE account_id = ?;

-- name: remember_former_account
INSERT INTO former_accounts (account_id) VALUES (?) ON CONFLICT DO NOTHING;

-- name: former_account
SELECT 1 FROM former_accounts WHERE account_id = ?;

-- name: add_key
INSERT INTO access_keys (access_key, secret_key, account_id) VALUES (?, ?, ?)
ON CONFLICT DO NOTHING RETURNING access_key;

-- name: remove_key
DELETE FROM access_keys WHERE access_key = ?;

-- name: list_keys
SELECT access_key, secret_key, account_id FROM access_keys WHERE account_id = ? ORDER BY access_key;

-- name: find_key
SELECT k.access_key, k.secret_key, a.account_id, a.name, a.display_name, a.email, a.created_ms
FROM access_keys k JOIN accounts a ON a.account_id = k.account_id WHERE k.access_key = ?;

-- name: account_for_change
SELECT account_id FROM accounts WHERE account_id = ?;

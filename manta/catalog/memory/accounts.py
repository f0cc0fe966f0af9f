"""Accounts, keys and buckets in memory."""

from dataclasses import replace

from manta.catalog.memory.state import MemoryState
from manta.catalog.records import AccessKey, Account, Bucket, BucketKind
from manta.catalog.rules import former_account
from manta.core.errors import AlreadyExists, BucketAlreadyExists, BucketAlreadyOwnedByYou, BucketNotEmpty, NoSuchAccount


class MemoryAccounts:
    state: MemoryState

    async def create_account(self, account: Account) -> None:
        taken = any(account.id == other.id or account.name == other.name for other in self.state.accounts.values())
        if taken:
            raise AlreadyExists(f"An account with the id {account.id!r} or the name {account.name!r} exists already.")
        if account.id in self.state.former_accounts:
            raise former_account(account.id)
        self.state.accounts[account.id] = account

    async def get_account(self, account_id: str) -> Account | None:
        return self.state.accounts.get(account_id)

    async def list_accounts(self) -> list[Account]:
        return sorted(self.state.accounts.values(), key=lambda account: account.id.encode())

    async def delete_account(self, account_id: str) -> None:
        self._check_account(account_id)
        if any(bucket.owner_id == account_id for bucket in self.state.buckets.values()):
            raise BucketNotEmpty(f"The account {account_id!r} still owns buckets: remove them first.")
        del self.state.accounts[account_id]
        self.state.former_accounts.add(account_id)
        self.state.keys = {name: key for name, key in self.state.keys.items() if key.account_id != account_id}

    async def add_key(self, key: AccessKey) -> None:
        self._check_account(key.account_id)
        if key.access_key in self.state.keys:
            raise AlreadyExists(f"The access key {key.access_key!r} is taken.")
        self.state.keys[key.access_key] = key

    async def remove_key(self, access_key: str) -> None:
        self.state.keys.pop(access_key, None)

    async def list_keys(self, account_id: str) -> list[AccessKey]:
        mine = [key for key in self.state.keys.values() if key.account_id == account_id]
        return sorted(mine, key=lambda key: key.access_key.encode())

    async def find_key(self, access_key: str) -> tuple[AccessKey, Account] | None:
        key = self.state.keys.get(access_key)
        return None if key is None else (key, self.state.accounts[key.account_id])

    def _check_account(self, account_id: str) -> None:
        if account_id not in self.state.accounts:
            raise NoSuchAccount(f"The account {account_id!r} does not exist.")


class MemoryBuckets:
    state: MemoryState

    async def create_bucket(
        self, name: str, owner_id: str, created_ms: int, kind: BucketKind = BucketKind.USER
    ) -> Bucket:
        taken = self.state.buckets.get(name)
        if taken is not None:
            raise BucketAlreadyOwnedByYou if taken.owner_id == owner_id else BucketAlreadyExists
        self.state.last_bucket_id += 1
        bucket = Bucket(self.state.last_bucket_id, name, owner_id, created_ms, kind)
        self.state.buckets[name] = bucket
        self.state.objects[bucket.id] = {}
        return bucket

    async def get_bucket(self, name: str) -> Bucket:
        return self.state.bucket(name)

    async def list_buckets(self, owner_id: str) -> list[Bucket]:
        mine = [b for b in self.state.buckets.values() if b.owner_id == owner_id and b.kind is BucketKind.USER]
        return sorted(mine, key=lambda bucket: bucket.name)

    async def set_bucket_policy(self, name: str, policy: str | None, *, bucket_id: int | None = None) -> None:
        self.state.buckets[name] = replace(self.state.bucket(name, bucket_id), policy=policy)

    async def delete_bucket(self, name: str) -> None:
        bucket = self.state.bucket(name)
        if self.state.objects[bucket.id] or any(row.bucket_id == bucket.id for row in self.state.uploads.values()):
            raise BucketNotEmpty
        del self.state.buckets[name], self.state.objects[bucket.id]
        self.state.completed = {at: row for at, row in self.state.completed.items() if at[0] != bucket.id}

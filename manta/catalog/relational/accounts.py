"""Accounts and their keys, in tables."""

from typing import Any

from manta.catalog.ops import Op, Script
from manta.catalog.records import AccessKey, Account
from manta.catalog.relational.shared import Part
from manta.catalog.rules import former_account
from manta.core.errors import AlreadyExists, BucketNotEmpty, NoSuchAccount


class Accounts(Part):
    async def create_account(self, account: Account) -> None:
        await self.engine.change(lambda: _create_account(account))

    async def get_account(self, account_id: str) -> Account | None:
        rows = await self.engine.look(lambda: _rows(Op("get_account", (account_id,))))
        return Account(*rows[0]) if rows else None

    async def list_accounts(self) -> list[Account]:
        return [Account(*row) for row in await self.engine.look(lambda: _rows(Op("list_accounts")))]

    async def delete_account(self, account_id: str) -> None:
        await self.engine.change(lambda: _delete_account(account_id))

    async def add_key(self, key: AccessKey) -> None:
        await self.engine.change(lambda: _add_key(key))

    async def remove_key(self, access_key: str) -> None:
        await self.engine.change(lambda: _rows(Op("remove_key", (access_key,))))

    async def list_keys(self, account_id: str) -> list[AccessKey]:
        return [AccessKey(*row) for row in await self.engine.look(lambda: _rows(Op("list_keys", (account_id,))))]

    async def find_key(self, access_key: str) -> tuple[AccessKey, Account] | None:
        rows = await self.engine.look(lambda: _rows(Op("find_key", (access_key,))))
        if not rows:
            return None
        name, secret, account_id, *rest = rows[0]
        return AccessKey(name, secret, account_id), Account(account_id, *rest)


def _rows(op: Op) -> Script[list[Any]]:
    return (yield op)


def _create_account(account: Account) -> Script[None]:
    values = (account.id, account.name, account.display_name, account.email, account.created_ms)
    if not (yield Op("create_account", values)):
        raise AlreadyExists(f"An account with the id {account.id!r} or the name {account.name!r} exists already.")
    # Looked up last: a removal that this has waited for is seen.
    if (yield Op("former_account", (account.id,))):
        raise former_account(account.id)


def _delete_account(account_id: str) -> Script[None]:
    yield from _check_account(account_id)
    if (yield Op("owns_bucket", (account_id,)))[0][0]:
        raise BucketNotEmpty(f"The account {account_id!r} still owns buckets: remove them first.")
    yield Op("delete_account", (account_id,))
    yield Op("remember_former_account", (account_id,))


def _add_key(key: AccessKey) -> Script[None]:
    yield from _check_account(key.account_id)
    if not (yield Op("add_key", (key.access_key, key.secret_key, key.account_id))):
        raise AlreadyExists(f"The access key {key.access_key!r} is taken.")


def _check_account(account_id: str) -> Script[None]:
    if not (yield Op("account_for_change", (account_id,))):
        raise NoSuchAccount(f"The account {account_id!r} does not exist.")

"""Accounts and their keys, for the root account: `/_manta/v1/accounts…`, JSON."""

import re
import secrets
from typing import TypeVar

import msgspec

from manta.catalog.records import ROOT_ACCOUNT, AccessKey, Account
from manta.core.errors import AccessDenied, Conflict, InvalidArgument, NoSuchAccount
from manta.core.limits import JSON_MAX_BYTES, KEYS_PER_ACCOUNT
from manta.gateway.context import Context
from manta.gateway.credentials import KeyRing
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, json_response
from manta.gateway.http.xml import timestamp
from manta.gateway.router import Access, ApiRoute

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ACCESS_KEY = re.compile(r"[A-Za-z0-9._-]{3,128}")
_SECRET_KEY = re.compile(r"[\x21-\x7e]{8,128}")


class KeyDocument(msgspec.Struct, forbid_unknown_fields=True):
    """Both or neither; what is not given is made."""

    access_key: str | None = None
    secret_key: str | None = None


class AccountDocument(KeyDocument, forbid_unknown_fields=True, kw_only=True):
    name: str
    id: str | None = None
    display_name: str = ""
    email: str = ""


Document = TypeVar("Document", KeyDocument, AccountDocument)


async def create_account(context: Context, request: Request) -> Response:
    """201 with the account and its first key: the only time that the secret is shown beside `add_key`."""
    wanted = await _read(request, AccountDocument)
    account = Account(
        id=_check("id", wanted.id, _NAME) if wanted.id is not None else secrets.token_hex(32),
        name=_check("name", wanted.name, _NAME),
        display_name=wanted.display_name[:256] or wanted.name,
        email=wanted.email[:256],
        created_ms=context.now_ms(),
    )
    key = _key(wanted, account.id)
    if await context.catalog.find_key(key.access_key) is not None:
        raise InvalidArgument(f"The access key {key.access_key!r} is taken.")
    await context.catalog.create_account(account)
    await context.catalog.add_key(key)
    return json_response(_shown(account, [key]) | {"secret_key": key.secret_key, "access_key": key.access_key}, 201)


async def list_accounts(context: Context, _request: Request) -> Response:
    accounts = await context.catalog.list_accounts()
    return json_response({"accounts": [_shown(one, await context.catalog.list_keys(one.id)) for one in accounts]})


async def get_account(context: Context, request: Request) -> Response:
    account = await find_account(context, request)
    return json_response(_shown(account, await context.catalog.list_keys(account.id)))


async def delete_account(context: Context, request: Request) -> Response:
    account = await find_account(context, request)
    if account.id == ROOT_ACCOUNT:
        raise AccessDenied("The root account cannot be removed.")
    if await context.catalog.jobs.list_jobs(account.id, limit=1):
        # They would run on without an owner.
        raise Conflict(f"The account {account.name!r} still has jobs: cancel and delete them first.")
    await context.catalog.delete_account(account.id)
    await context.catalog.jobs.forget_usage(account.id)
    context.extra(KeyRing).forget()
    return Response(204)


async def add_key(context: Context, request: Request) -> Response:
    account = await find_account(context, request)
    key = _key(await _read(request, KeyDocument), account.id)
    if len(await context.catalog.list_keys(account.id)) >= KEYS_PER_ACCOUNT:
        raise InvalidArgument(f"An account has at most {KEYS_PER_ACCOUNT} keys: remove one first.")
    await context.catalog.add_key(key)
    return json_response({"account": account.id, "access_key": key.access_key, "secret_key": key.secret_key}, 201)


async def remove_key(context: Context, request: Request) -> Response:
    account = await find_account(context, request)
    name = request.params["access_key"]
    held = [key.access_key for key in await context.catalog.list_keys(account.id)]
    if name not in held:
        raise NoSuchAccount(f"The account {account.name!r} has no key {name[:128]!r}.")
    if account.id == ROOT_ACCOUNT and held == [name]:
        raise AccessDenied("The last key of the root account cannot be removed.")
    await context.catalog.remove_key(name)
    context.extra(KeyRing).forget()
    return Response(204)


async def find_account(context: Context, request: Request) -> Account:
    """By id, or by name."""
    wanted = request.params["account"]
    account = await context.catalog.get_account(wanted)
    if account is None:
        account = next((one for one in await context.catalog.list_accounts() if one.name == wanted), None)
    if account is None:
        raise NoSuchAccount(f"The account {wanted[:80]!r} does not exist.")
    return account


async def _read(request: Request, kind: type[Document]) -> Document:
    body = await request.body.read(JSON_MAX_BYTES)
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"The JSON of the request is not valid: {error}.") from None


def _key(wanted: KeyDocument, account_id: str) -> AccessKey:
    if (wanted.access_key is None) != (wanted.secret_key is None):
        raise InvalidArgument("access_key and secret_key are given both, or neither.")
    if wanted.access_key is None or wanted.secret_key is None:
        return AccessKey(f"MANTA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30), account_id)
    if not _SECRET_KEY.fullmatch(wanted.secret_key):
        raise InvalidArgument("A secret_key has 8 to 128 printable ASCII characters without blanks.")
    return AccessKey(_check("access_key", wanted.access_key, _ACCESS_KEY), wanted.secret_key, account_id)


def _check(what: str, text: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(text):
        raise InvalidArgument(f"The {what} {text[:80]!r} is not valid: letters, digits and . _ - are.")
    return text


def _shown(account: Account, keys: list[AccessKey]) -> dict[str, object]:
    return {
        "id": account.id,
        "name": account.name,
        "display_name": account.display_name,
        "email": account.email,
        "created": timestamp(account.created_ms),
        "keys": [key.access_key for key in keys],
    }


API_ROUTES = (
    ApiRoute("CreateAccount", create_account, "POST", "v1/accounts", Access.ROOT),
    ApiRoute("ListAccounts", list_accounts, "GET", "v1/accounts", Access.ROOT),
    ApiRoute("GetAccount", get_account, "GET", "v1/accounts/{account}", Access.ROOT),
    ApiRoute("DeleteAccount", delete_account, "DELETE", "v1/accounts/{account}", Access.ROOT),
    ApiRoute("AddKey", add_key, "POST", "v1/accounts/{account}/keys", Access.ROOT),
    ApiRoute("RemoveKey", remove_key, "DELETE", "v1/accounts/{account}/keys/{access_key}", Access.ROOT),
)

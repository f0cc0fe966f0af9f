"""What a first start writes into the catalog: the root account with its key, and the storage nodes."""

import contextlib
import time
from collections.abc import Iterable, Mapping

from manta.catalog.records import ROOT_ACCOUNT, AccessKey, Account, Node
from manta.catalog.store import AccountStore, NodeStore
from manta.core.errors import AlreadyExists


async def ensure_root(catalog: AccountStore, access_key: str, secret_key: str) -> None:
    """The root account exists and has this key. Repeating it is fine; a key with another secret is replaced."""
    if await catalog.get_account(ROOT_ACCOUNT) is None:
        now_ms = int(time.time() * 1000)
        # Gateways of a new cluster start side by side: one of them is quicker.
        with contextlib.suppress(AlreadyExists):
            await catalog.create_account(Account(ROOT_ACCOUNT, ROOT_ACCOUNT, ROOT_ACCOUNT, "", now_ms))
    found = await catalog.find_key(access_key)
    if found is not None:
        if found[0].secret_key == secret_key and found[0].account_id == ROOT_ACCOUNT:
            return
        await catalog.remove_key(access_key)
    with contextlib.suppress(AlreadyExists):
        await catalog.add_key(AccessKey(access_key, secret_key, ROOT_ACCOUNT))


async def ensure_named_root(catalog: AccountStore, environment: Mapping[str, str]) -> None:
    """The root keys that the environment of a gateway gives, if it does: a cluster gets its first ones so."""
    access_key, secret_key = environment.get("MANTA_ROOT_ACCESS_KEY"), environment.get("MANTA_ROOT_SECRET_KEY")
    if access_key and secret_key:
        await ensure_root(catalog, access_key, secret_key)


async def register_nodes(catalog: NodeStore, nodes: Iterable[Node]) -> None:
    """Insert or bring up to date; a node that has not changed costs no write."""
    known = {node.node_id: node for node in await catalog.list_nodes()}
    for node in nodes:
        if known.get(node.node_id) != node:
            await catalog.register_node(node)

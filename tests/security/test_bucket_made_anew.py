"""A bucket removed, and made again by somebody else, while a request on the first one is under way."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from manta.catalog.records import AccessKey, Account
from tests.support.gateway import RunningGateway, Wire, running_gateway, signed_request, wire

ACCOUNTS = ("mallory", "bob")
POLICY = json.dumps(
    {
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": "mallory"},
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::name/*",
        }
    }
).encode()
Ask = Callable[..., Awaitable[int]]


@pytest.fixture
async def gateway() -> AsyncIterator[RunningGateway]:
    async with running_gateway() as running:
        for name in ACCOUNTS:
            await running.context.catalog.create_account(Account(name, name, name, "", 1))
            await running.context.catalog.add_key(AccessKey(name.upper(), f"secret-of-{name}", name))
        yield running


@pytest.fixture
async def ask(gateway: RunningGateway) -> AsyncIterator[Ask]:
    async with wire(gateway) as line:

        async def _ask(who: str, method: str, target: str, body: bytes = b"") -> int:
            return (await line.ask(_signed(gateway, who, method, target, body))).status

        yield _ask


def _signed(
    gateway: RunningGateway,
    who: str,
    method: str,
    target: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> bytes:
    keys = {"access_key": who.upper(), "secret_key": f"secret-of-{who}"}
    return signed_request(gateway, method, target, body, headers, **keys)


async def _begin(gateway: RunningGateway, slow: Wire, method: str, target: str, body: bytes) -> None:
    """A request of mallory's whose body is awaited: whose the bucket is was asked by then."""
    headers = {"Expect": "100-continue", "Content-Length": str(len(body))}
    await slow.send(_signed(gateway, "mallory", method, target, headers=headers))
    assert (await slow.reply()).status == 100


@pytest.mark.invariant("S1")
@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("PUT", "/name/planted", b"planted"),
        ("PUT", "/name/planted", bytes(5 << 20)),
        ("POST", "/name?delete", b"<Delete><Object><Key>bobs</Key></Object></Delete>"),
        ("PUT", "/name?policy", POLICY),
    ],
    ids=["put", "large put", "delete", "policy"],
)
async def test_s1_it_changes_nothing_in_the_other_ones(
    gateway: RunningGateway, ask: Ask, method: str, target: str, body: bytes
) -> None:
    assert await ask("mallory", "PUT", "/name") == 200
    async with wire(gateway) as slow:
        await _begin(gateway, slow, method, target, body)
        assert await ask("mallory", "DELETE", "/name") == 204
        assert await ask("bob", "PUT", "/name") == 200
        assert await ask("bob", "PUT", "/name/bobs", b"bob's") == 200
        await slow.send(body)
        answer = await slow.reply()
    assert (answer.status, answer.code) == (404, "NoSuchBucket")
    bucket = await gateway.context.catalog.get_bucket("name")
    page = await gateway.context.catalog.list_objects("name")
    assert (bucket.owner_id, bucket.policy) == ("bob", None)
    assert [one.key for one in page.objects] == ["bobs"]
    assert await ask("mallory", "GET", "/name/bobs") == 403

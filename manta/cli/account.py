"""`manta account …`: tenants, their keys and what they used (root only, but for an account's own usage)."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from manta.cli import output
from manta.core.errors import NoSuchAccount
from manta.sdk import connect

app = typer.Typer(no_args_is_help=True, help="Tenants, their keys and what they used (root only, but `usage`).")
key_app = typer.Typer(no_args_is_help=True, help="Keys of an account.")
app.add_typer(key_app, name="key")
Json = Annotated[bool, typer.Option("--json", help="JSON lines.")]


@app.command()
def create(
    name: str,
    account_id: Annotated[str | None, typer.Option("--id", help="Canonical id; made when left out.")] = None,
    display_name: Annotated[str | None, typer.Option(help="Shown in listings.")] = None,
    email: Annotated[str | None, typer.Option(help="For your own records.")] = None,
    access_key: Annotated[str | None, typer.Option(help="Made when left out.")] = None,
    secret_key: Annotated[str | None, typer.Option(help="Made when left out.")] = None,
) -> None:
    """Make an account and print its keys, once, in the format of ~/.aws/credentials."""
    body = {
        "name": name,
        "id": account_id,
        "display_name": display_name,
        "email": email,
        "access_key": access_key,
        "secret_key": secret_key,
    }
    with connect() as store:
        made = store.api("POST", "/accounts", body={key: value for key, value in body.items() if value is not None})
    _print_keys(name, made)


@app.command("list")
def list_(json: Json = False) -> None:
    """All accounts."""
    with connect() as store:
        for account in _accounts(store.api("GET", "/accounts")):
            output.json_line(account) if json else output.line(f"{account['id']}  {account['name']}")


@app.command()
def usage(
    name: Annotated[str | None, typer.Argument(metavar="[ACCOUNT]", help="Your own when left out.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every account's total (root only).")] = False,
    first: Annotated[str | None, typer.Option("--from", help="First day, like 2026-11-01.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day.")] = None,
    json: Json = False,
) -> None:
    """What an account's tasks cost, day by day (UTC), of jobs that are gone too."""
    query = {"from": first, "to": last}
    with connect() as store:
        if everyone:
            for account in _accounts(store.api("GET", "/accounts")):
                found = store.api("GET", f"/accounts/{account['id']}/usage", query=query)
                _print_usage("account", account["name"], found["total"], json)
            return
        path = "/usage" if name is None else f"/accounts/{quote(name, safe='')}/usage"
        found = store.api("GET", path, query=query)
    for day in found["days"]:
        _print_usage("day", day["day"], day, json)
    if not json:
        _print_usage("day", "total", found["total"], json)


def _print_usage(label: str, head: str, used: dict[str, Any], json: bool) -> None:
    if json:
        output.json_line({label: head} | used)
        return
    gib_hours = used["byte_seconds"] / (1 << 30) / 3600
    output.line(
        f"{head:<12}{used['attempts']:>12,} attempts {used['task_seconds']:>14,.1f} task seconds "
        f"{gib_hours:>12,.3f} GiB hours {output.size_text(used['input_bytes_in_place']):>12} in place "
        f"{output.size_text(used['input_bytes_moved']):>12} moved "
        f"{output.size_text(used['output_bytes_copied']):>12} copied"
    )


@app.command("rm")
def remove(name: str) -> None:
    """Remove an account that has no buckets and no jobs, with its keys."""
    with connect() as store:
        store.api("DELETE", f"/accounts/{_id_of(store.api('GET', '/accounts'), name)}")


@key_app.command("add")
def add_key(
    name: str,
    access_key: Annotated[str | None, typer.Option(help="Made when left out.")] = None,
    secret_key: Annotated[str | None, typer.Option(help="Made when left out.")] = None,
) -> None:
    """Add a key to an account and print it, once."""
    given = {"access_key": access_key, "secret_key": secret_key}
    with connect() as store:
        account_id = _id_of(store.api("GET", "/accounts"), name)
        body = {key: value for key, value in given.items() if value is not None}
        _print_keys(name, store.api("POST", f"/accounts/{account_id}/keys", body=body))


@key_app.command("rm")
def remove_key(name: str, access_key: str) -> None:
    """Remove a key; requests signed with it are refused within a second."""
    with connect() as store:
        store.api("DELETE", f"/accounts/{_id_of(store.api('GET', '/accounts'), name)}/keys/{access_key}")


def _accounts(answer: object) -> list[dict[str, str]]:
    assert isinstance(answer, dict)
    return list(answer["accounts"])


def _id_of(answer: object, name: str) -> str:
    for account in _accounts(answer):
        if name in (account["name"], account["id"]):
            return account["id"]
    raise NoSuchAccount(f"There is no account {name}: see `manta account list`.")


def _print_keys(name: str, made: object) -> None:
    assert isinstance(made, dict)
    output.line(f"[{name}]")
    output.line(f"aws_access_key_id = {made['access_key']}")
    output.line(f"aws_secret_access_key = {made['secret_key']}")

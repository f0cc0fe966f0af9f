"""What accounts' tasks cost, day by day: `GET /usage` for the caller's own, `/accounts/{account}/usage`; JSON."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from manta.catalog.job_records import UsageDay
from manta.core.clock import day_of
from manta.core.errors import InvalidArgument, NoSuchAccount
from manta.core.limits import USAGE_KEEP_DAYS
from manta.gateway.context import Context
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, json_response
from manta.gateway.ops.accounts import find_account
from manta.gateway.router import ApiRoute

_EPOCH = date(1970, 1, 1)


async def own_usage(context: Context, request: Request) -> Response:
    return await _usage(context, request, request.account_id)


async def account_usage(context: Context, request: Request) -> Response:
    """An account sees its own, the root account every one's; another's is NoSuchAccount."""
    if not request.principal.is_root:
        if request.params["account"] != request.account_id:
            raise NoSuchAccount(f"The account {request.params['account'][:80]!r} does not exist, or is not yours.")
        return await own_usage(context, request)
    return await _usage(context, request, (await find_account(context, request)).id)


async def _usage(context: Context, request: Request, account_id: str) -> Response:
    """From day `from` to day `to`, both included; by default what is known."""
    today = day_of(context.now_ms())
    first = _day(request, "from", today - USAGE_KEEP_DAYS)
    last = _day(request, "to", today)
    if last < first and {"from", "to"} <= request.query.keys():
        raise InvalidArgument("`from` is a day after `to`: exchange them.")
    days = await context.catalog.jobs.usage(account_id, max(first, today - USAGE_KEEP_DAYS), last)
    return json_response({"account": account_id, "total": _sums(days), "days": [_shown(day) for day in days]})


def _day(request: Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    try:
        return (datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date() - _EPOCH).days
    except ValueError:
        raise InvalidArgument(f"`{name}` is a day like 2026-11-30, not {text[:40]!r}.") from None


def _shown(day: UsageDay) -> dict[str, object]:
    return {"day": (_EPOCH + timedelta(days=day.day)).isoformat(), **_sums([day])}


def _sums(days: Iterable[UsageDay]) -> dict[str, object]:
    counts = [sum(column) for column in zip(*(day[1:] for day in days), strict=True)] or [0] * 7
    tasks, task_ms, byte_seconds, in_place, moved, shuffled, copied = counts
    return {
        "attempts": tasks,
        "task_seconds": task_ms / 1000,
        "byte_seconds": byte_seconds,
        "input_bytes_in_place": in_place,
        "input_bytes_moved": moved,
        "shuffle_bytes_moved": shuffled,
        "output_bytes_copied": copied,
    }


API_ROUTES = (
    ApiRoute("OwnUsage", own_usage, "GET", "v1/usage"),
    ApiRoute("AccountUsage", account_usage, "GET", "v1/accounts/{account}/usage"),
)

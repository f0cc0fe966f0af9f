"""What a session costs is charged as it goes on, once, also when the catalog was away for a while."""

import asyncio
from typing import cast

import pytest

from manta.catalog.job_store import JobStore
from manta.core.errors import ServiceUnavailable
from manta.gateway.metering import Meter, Meters
from tests.support.catalog import StandingClock
from tests.support.waiting import eventually


class _Charges:
    """The part of the job store that a meter uses."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int, int]] = []
        self.refused = 0
        self.away = False

    async def charge(self, owner_id: str, task_ms: int, byte_seconds: int) -> None:
        if self.away:
            self.refused += 1
            raise ServiceUnavailable("The catalog is away.")
        self.taken.append((owner_id, task_ms, byte_seconds))


def _begin(charges: _Charges, clock: StandingClock, meters: Meters) -> Meter:
    return meters.begin(Meter(cast(JobStore, charges), clock, "alice", 1000))


async def test_the_time_until_the_end_is_charged() -> None:
    charges, clock, meters = _Charges(), StandingClock(), Meters()
    meter = _begin(charges, clock, meters)
    clock.advance(2.5)
    meter.end()
    clock.advance(60)
    meter.end()
    await meters.settled()
    assert charges.taken == [("alice", 2500, 2500)]


async def test_each_second_is_charged_once_and_none_is_lost_while_the_catalog_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("manta.gateway.metering.LOGIN_CHARGE_S", 0.001)
    charges, clock, meters = _Charges(), StandingClock(), Meters()
    meter = _begin(charges, clock, meters)
    await eventually(lambda: bool(charges.taken))
    charges.away = True
    clock.advance(7)
    await eventually(lambda: charges.refused > 2)
    charges.away = False
    clock.advance(3)
    await eventually(lambda: sum(ms for _, ms, _ in charges.taken) == 10_000)
    clock.advance(1)
    meter.end()
    await asyncio.wait_for(meters.settled(), 10)
    assert sum(ms for _, ms, _ in charges.taken) == 11_000
    assert sum(held for _, _, held in charges.taken) == 11_000

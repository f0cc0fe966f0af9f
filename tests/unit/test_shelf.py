"""The bound of a node's caches: what is in use stays, no account uses more than its share, the rest goes by its age."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.agent.furnishing.shelf import OverShareError, Shelf
from manta.core.limits import GIB

MAX_BYTES = 40
ALICE, BOB, CAROL = "alice", "bob", "carol"


def test_the_longest_unused_goes_first_and_what_is_held_stays() -> None:
    shelf = Shelf(10)
    for name in "abc":
        shelf.put(name, 3)
    assert shelf.hold("a", ALICE)
    assert not shelf.hold("z", ALICE)
    assert shelf.make_room(4) == ["b"]
    assert shelf.make_room(8) is None
    assert shelf.used_bytes == 6
    shelf.release("a", ALICE)
    assert shelf.make_room(8) == ["c", "a"]


@pytest.mark.invariant("S5")
def test_s5_an_account_holds_half_and_less_beside_others() -> None:
    shelf = Shelf(8 * GIB)
    shelf.put("a", 4 * GIB, ALICE)
    with pytest.raises(OverShareError, match="4096 MiB now, and 1 MiB more") as refused:
        shelf.require_share(ALICE, 1)
    assert not refused.value.lasting
    shelf.require_share(BOB, 3 * GIB)
    shelf.put("b", 3 * GIB, BOB)
    assert [shelf.allowance(one) for one in (ALICE, BOB, CAROL)] == [0, 0, 3 * GIB // 4]
    shelf.release("a", ALICE)
    assert shelf.allowance(BOB) == GIB
    with pytest.raises(OverShareError, match="may take 4096 MiB") as refused:
        shelf.require_possible(4 * GIB + 1)
    assert refused.value.lasting


@pytest.mark.invariant("S5")
def test_s5_what_another_holds_counts_for_whoever_holds_it_too() -> None:
    shelf = Shelf(10)
    shelf.put("a", 4, ALICE)
    shelf.put("b", 3, BOB)
    with pytest.raises(OverShareError):
        shelf.hold("a", BOB)
    assert shelf.hold("b", BOB)
    shelf.release("b", BOB)
    shelf.release("b", BOB)
    assert shelf.hold("a", CAROL)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fetch", "hold", "release", "room"]),
        st.sampled_from("abcdef"),
        st.sampled_from([ALICE, BOB, CAROL]),
        st.integers(0, 12),
    )
)


@pytest.mark.invariant("S5")
@given(STEPS)
def test_s5_the_bounds_hold_and_nothing_in_use_goes(steps: list[tuple[str, str, str, int]]) -> None:
    shelf = Shelf(MAX_BYTES)
    held: Counter[tuple[str, str]] = Counter()
    sizes: dict[str, int] = {}
    for step, name, account, size in steps:
        try:
            if step == "fetch" and name not in sizes:
                shelf.require_share(account, size)
                going = shelf.make_room(size)
                assert going is not None, "who has the share for it finds the room"
                _gone(going, held, sizes)
                shelf.put(name, size, account)
                held[name, account] += 1
                sizes[name] = size
            elif step == "hold" and shelf.hold(name, account):
                held[name, account] += 1
            elif step == "release":
                shelf.release(name, account)
                held[name, account] = max(0, held[name, account] - 1)
            elif step == "room" and (going := shelf.make_room(size)) is not None:
                _gone(going, held, sizes)
                assert shelf.used_bytes + size <= MAX_BYTES
        except OverShareError:
            assert step in ("fetch", "hold")
            assert not held[name, account], "what an account holds it may hold again"
        in_use = {one for (one, _), times in held.items() if times}
        total = sum(sizes[one] for one in in_use)
        assert (shelf.held_bytes(), shelf.used_bytes <= MAX_BYTES) == (total, True)
        for one in (ALICE, BOB, CAROL):
            own = sum(sizes[what] for what in in_use if held[what, one])
            assert shelf.held_bytes(one) == own <= shelf.share_bytes


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12))
@pytest.mark.invariant("S5")
def test_s5_however_many_accounts_take_their_share_the_next_has_one(wishes: list[int]) -> None:
    """None of them alone, and not all of them, can take it all."""
    shelf = Shelf(1 << 40)
    for number, wish in enumerate(wishes):
        account = f"account {number}"
        assert shelf.allowance(account) > 0
        shelf.put(account, shelf.allowance(account) * wish // 1000, account)


def _gone(going: list[str], held: Counter[tuple[str, str]], sizes: dict[str, int]) -> None:
    for name in going:
        assert not any(held[name, account] for account in (ALICE, BOB, CAROL))
        del sizes[name]

"""Whose image is unpacked next: no account's many keep another's one waiting, and the bounds hold."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.agent.furnishing.turns import Turn, Turns
from manta.core.limits import IMAGE_ACCOUNT_UNPACKS_MAX, IMAGE_UNPACKS_MAX

ACCOUNTS = "abc"
STEPS = st.lists(st.tuples(st.sampled_from(["join", "begin", "end", "give up"]), st.integers(0, 20), st.booleans()))


@pytest.mark.invariant("S3")
@given(STEPS)
def test_few_go_on_at_a_time_and_one_may_always_begin(steps: list[tuple[str, int, bool]]) -> None:
    turns = Turns()
    waiting: list[Turn] = []
    going: list[Turn] = []
    for step, number, room in steps:
        if step == "join":
            waiting.append(turns.join(ACCOUNTS[number % 3]))
        elif step == "begin" and (turn := turns.next(room=room)) is not None:
            turns.begin(turn)
            waiting.remove(turn)
            going.append(turn)
        elif step == "end" and going:
            turns.leave(going.pop(number % len(going)))
        elif step == "give up" and waiting:
            turns.leave(waiting.pop(number % len(waiting)))
        assert len(going) <= IMAGE_UNPACKS_MAX
        assert max(Counter(turn.account for turn in going).values(), default=0) <= IMAGE_ACCOUNT_UNPACKS_MAX
        if not going:
            assert (turns.next(room=False) is not None) is bool(waiting)


@given(st.integers(1, 50), st.integers(0, 20), st.booleans())
def test_one_image_waits_for_one_of_the_many_at_most(many: int, before: int, room: bool) -> None:
    """Also of an account that asks again and again: each comes next when the other's has ended."""
    turns = Turns()
    for _ in range(many + before + 2):
        turns.join("many")
    for _ in range(before):
        _run(turns, room=room)
    for _ in range(3):
        turns.join("one")
        assert "one" in (_run(turns, room=room), _run(turns, room=room))


def test_of_one_account_the_first_to_ask_is_first() -> None:
    turns = Turns()
    asked = [turns.join("a") for _ in range(5)]
    served = []
    while (turn := turns.next(room=False)) is not None:
        turns.begin(turn)
        served.append(turn)
        turns.leave(turn)
    assert served == asked


def _run(turns: Turns, *, room: bool) -> str:
    """The next one from its beginning to its end."""
    turn = turns.next(room=room)
    assert turn is not None
    turns.begin(turn)
    turns.leave(turn)
    return turn.account

"""The bound of a node's caches: what is in use stays, and the rest goes by its last use."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.agent.furnishing.shelf import Shelf


def test_the_longest_unused_goes_first_and_what_is_held_stays() -> None:
    shelf = Shelf(10)
    for name in "abc":
        shelf.put(name, 3)
    assert shelf.hold("a")
    assert not shelf.hold("z")
    assert shelf.make_room(4) == ["b"]
    assert shelf.make_room(8) is None
    assert shelf.used_bytes == 6
    shelf.release("a")
    assert shelf.make_room(8) == ["c", "a"]


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "hold", "release", "room"]), st.sampled_from("abcde"), st.integers(0, 12))
)


@given(STEPS)
def test_the_bound_holds_and_nothing_in_use_is_evicted(steps: list[tuple[str, str, int]]) -> None:
    shelf = Shelf(20)
    held: dict[str, int] = {}
    for step, name, size in steps:
        if step == "put" and shelf.make_room(size) is not None and not held.get(name):
            shelf.put(name, size)
        elif step == "hold" and shelf.hold(name):
            held[name] = held.get(name, 0) + 1
        elif step == "release":
            shelf.release(name)
            held[name] = max(0, held.get(name, 0) - 1)
        elif step == "room":
            going = shelf.make_room(size)
            assert not any(held.get(one) for one in going or ())
            assert going is None or shelf.used_bytes + size <= 20
        assert shelf.used_bytes <= 20

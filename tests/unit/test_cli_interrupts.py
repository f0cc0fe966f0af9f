"""Ctrl-C at the moments of a command that leave no room for it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from manta.cli import job, main
from manta.cli.held_interrupts import held_interrupts


def _press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class _Store:
    """Its user presses Ctrl-C once the job is made, before the answer is there."""

    def submit(self, *_args: object, **_more: object) -> SimpleNamespace:
        _press()
        return SimpleNamespace(id="made")

    def job(self, _job_id: str) -> SimpleNamespace:
        return SimpleNamespace(clone=self.submit)


@contextmanager
def _connect() -> Iterator[_Store]:
    yield _Store()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "-m", "cat", "s3://books/a"], "manta job wait made"),
        (["run", "-m", "cat", "-"], "manta job end made"),
        (["create", "-m", "cat"], "made\n"),
        (["clone", "other"], "made\n"),
    ],
)
def test_a_job_is_named_though_its_making_was_interrupted(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "connect", _connect)
    monkeypatch.setattr(sys, "argv", ["manta", "job", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 130
    assert said in "".join(capsys.readouterr())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("presses", "reached"), [(1, 1), (2, 1)])
def test_one_is_held_back_to_the_end_and_the_second_is_not(presses: int, reached: int) -> None:
    pressed = 0

    def hold() -> None:
        nonlocal pressed
        with held_interrupts():
            for _ in range(presses):
                _press()
                pressed += 1

    with pytest.raises(KeyboardInterrupt):
        hold()
    assert pressed == reached


def test_an_interrupt_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_interrupts() as release:
            _press()
            release()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_while_a_class_is_made_is_no_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def __set_name__(self, *_owner: object) -> None:
            raise KeyboardInterrupt

    def build(_arguments: object) -> None:
        type("Made", (), {"field": Interrupted()})

    monkeypatch.setattr(main, "build", build)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "")

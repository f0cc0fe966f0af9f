"""Which store, as whom: arguments, environment, the AWS chain, the store last started here, in this order."""

from pathlib import Path

import pytest

from manta.core.errors import AccessDenied, InvalidArgument, ServiceUnavailable
from manta.sdk.objects import Selection
from manta.sdk.session import find_session


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment in which a store was started at port 1."""
    credentials = tmp_path / "credentials"
    credentials.write_text("[default]\naws_access_key_id = LAST\naws_secret_access_key = last%secret\n")
    folder = tmp_path / "state" / "manta"
    folder.mkdir(parents=True)
    (folder / "last-store").write_text(f"url=http://last:1\ncredentials={credentials}\nregion=eu-west-1\n")
    return {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}


def test_the_last_started_store_is_the_default(home: dict[str, str]) -> None:
    session = find_session(environment=home)
    assert (session.url, session.access_key, session.secret_key) == ("http://last:1", "LAST", "last%secret")
    assert session.region == "eu-west-1"


def test_the_environment_wins_over_the_last_store_and_arguments_over_both(
    home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env")
    environment = home | {"AWS_ACCESS_KEY_ID": "ENV", "MANTA_URL": "http://env:2/", "AWS_ENDPOINT_URL": "http://aws:3"}
    assert find_session(environment=environment).url == "http://env:2"
    assert find_session(environment=environment).access_key == "ENV"
    session = find_session("https://given:4", "A", "S", environment=environment)
    assert (session.url, session.access_key, session.secret_key) == ("https://given:4", "A", "S")


def test_the_last_store_written_with_a_slash_is_the_same(home: dict[str, str]) -> None:
    session = find_session("http://last:1/", environment=home)
    assert (session.url, session.access_key) == ("http://last:1", "LAST")


def test_the_last_stores_keys_are_not_sent_elsewhere(home: dict[str, str]) -> None:
    with pytest.raises(AccessDenied, match="No keys for http://other:5"):
        find_session("http://other:5", environment=home)


@pytest.mark.parametrize(("profile", "looked_for"), [(None, "default"), ("bob", "bob")])
def test_missing_keys_are_told_with_the_file_and_the_profile(
    home: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    profile: str | None,
    looked_for: str,
) -> None:
    file = tmp_path / "alices"
    file.write_text("[alice]\naws_access_key_id = A\naws_secret_access_key = S\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    if profile is not None:
        monkeypatch.setenv("AWS_PROFILE", profile)
    with pytest.raises(AccessDenied) as refused:
        find_session("http://other:5", environment=home)
    assert f"{file} holds none for the profile {looked_for};" in refused.value.message
    assert "AWS_PROFILE=NAME" in refused.value.message
    monkeypatch.setenv("AWS_PROFILE", "alice")
    assert find_session("http://other:5", environment=home).access_key == "A"


def test_a_missing_file_of_keys_is_told(home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(AccessDenied, match=r"none is not there, or not readable; .*AWS_ACCESS_KEY_ID"):
        find_session("http://other:5", environment=home)


def test_without_any_store_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="manta serve"):
        find_session(environment={"XDG_STATE_HOME": str(tmp_path)})


def test_an_endpoint_is_http(home: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="http"):
        find_session("file:///etc/passwd", environment=home)


def test_a_session_hides_its_secret(home: dict[str, str]) -> None:
    assert "last%secret" not in repr(find_session(environment=home))


@pytest.mark.parametrize(
    ("uri", "single", "matching", "other"),
    [
        ("s3://bkt/a/b", True, "a/b", None),
        ("s3://bkt/a/", False, "a/anything", None),
        ("s3://bkt", False, "anything", None),
        ("s3://bkt/a*.txt", False, "a1.txt", "b1.txt"),
        ("s3://bkt/[ab]?", False, "a1", "c1"),
        ("s3://bkt/*.txt", False, "a.txt", "deep/a.txt"),
        ("s3://bkt/**.txt", False, "deep/a.txt", "deep/a.md"),
    ],
)
def test_what_a_uri_selects(uri: str, single: bool, matching: str, other: str | None) -> None:
    selection = Selection.parse(uri)
    assert selection.is_single == single
    assert selection.matches(matching)
    assert other is None or not selection.matches(other)

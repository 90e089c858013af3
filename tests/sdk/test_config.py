import os
import stat
from pathlib import Path

import pytest

from sampan.sdk import Client, Credentials, NotConfigured, UnsafeCredentials
from sampan.sdk.config import credentials_file, look_up, read_file, resolve, state_directory, write_file

WRITTEN = Credentials(
    endpoint="http://127.0.0.1:9000",
    registry="127.0.0.1:5000",
    access_key_id="file-id",
    access_key_secret='se"cr\\et',
    account="1",
    region="local",
)


def test_what_is_written_is_read_back_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = credentials_file(tmp_path / "state")
    write_file(path, WRITTEN)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert resolve({}, {}, path.parent) == WRITTEN
    assert os.listdir(path.parent) == [path.name]


def test_arguments_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    write_file(credentials_file(tmp_path), WRITTEN)
    found = look_up({"endpoint": "http://argument"}, {"SAMPAN_ACCESS_KEY_ID": "from-environment"}, tmp_path)
    assert (found["endpoint"].value, found["endpoint"].source) == ("http://argument", "argument")
    assert found["access_key_id"].source == "SAMPAN_ACCESS_KEY_ID"
    assert (found["registry"].value, found["registry"].source) == (
        "127.0.0.1:5000",
        str(credentials_file(tmp_path)),
    )


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = credentials_file(tmp_path)
    write_file(path, WRITTEN)
    path.chmod(mode)
    with pytest.raises(UnsafeCredentials, match="chmod 600"):
        read_file(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_file_of_another_user_is_refused_but_to_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = credentials_file(tmp_path)
    write_file(path, WRITTEN)
    os.chown(path, 12345, 12345)
    assert read_file(path)["access_key_id"] == "file-id"
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(UnsafeCredentials, match="12345"):
        read_file(path)


def test_an_unsafe_file_does_not_matter_when_everything_is_given(tmp_path: Path) -> None:
    credentials_file(tmp_path).write_text("")
    credentials_file(tmp_path).chmod(0o666)
    given = {"endpoint": "http://here", "access_key_id": "a", "access_key_secret": "b"}
    assert resolve(given, {}, tmp_path).access_key_id == "a"


def test_what_is_missing_is_named_with_the_places_it_can_be_put(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match=r"endpoint.*SAMPAN_ACCESS_KEY_SECRET"):
        resolve({}, {}, tmp_path)


def test_a_broken_file_is_not_quoted_in_its_error(tmp_path: Path) -> None:
    path = credentials_file(tmp_path)
    write_file(path, WRITTEN)
    path.write_text('access_key_secret = "hidden-away\n')
    with pytest.raises(NotConfigured) as caught:
        read_file(path)
    assert "hidden-away" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_no_repr_holds_the_secret() -> None:
    client = Client("http://127.0.0.1:1", "an-id", "top-secret", environment={})
    for shown in (
        client,
        client.credentials,
        client.credentials.key,
        look_up({}, {"SAMPAN_ACCESS_KEY_SECRET": "top-secret"}, Path("/none")),
    ):
        assert "top-secret" not in repr(shown)
    client.close()


def test_the_state_directory_is_argument_then_environment_then_default() -> None:
    assert state_directory("/a", {"SAMPAN_STATE": "/b"}) == Path("/a")
    assert state_directory(None, {"SAMPAN_STATE": "/b"}) == Path("/b")
    assert state_directory(None, {}) == Path("/var/lib/sampan")

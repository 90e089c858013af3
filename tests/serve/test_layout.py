import os
import stat
from pathlib import Path

import pytest

from sampan.serve import layout
from sampan.serve.layout import Layout
from sampan.settings import Platform, Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    shared = tmp_path / "shm"
    shared.mkdir()
    monkeypatch.setattr(layout, "SHARED_MEMORY", shared)
    monkeypatch.setattr(os.path, "ismount", lambda path: path == shared)
    return Settings(platform=Platform(state=str(tmp_path / "state"), run=str(tmp_path / "run")))


def test_journals_lie_in_memory_and_are_for_their_owner_alone(settings: Settings) -> None:
    for _ in range(2):
        made = Layout(settings)
        made.make(os.getuid(), os.getgid())
        assert made.journals is not None
        assert made.journals.parent == layout.SHARED_MEMORY
        assert stat.S_IMODE(made.journals.stat().st_mode) == 0o700


def test_somebody_elses_place_is_not_used_for_journals(settings: Settings) -> None:
    ours = Layout(settings).journals
    assert ours is not None
    ours.symlink_to(layout.SHARED_MEMORY)
    assert Layout(settings).journals is None
    ours.unlink()
    ours.mkdir(mode=0o777)
    ours.chmod(0o777)
    assert Layout(settings).journals is None


def test_without_shared_memory_there_are_no_journals(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: False)
    assert Layout(settings).journals is None

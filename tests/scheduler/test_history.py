"""The list of instances whose logs can be found."""

from pathlib import Path

import pytest

from sampan.model.names import InstanceId, VersionKey
from sampan.scheduler import history
from sampan.scheduler.history import History


def note(into: History, *instances: str, of: str = "web@1#1") -> None:
    for instance in instances:
        into.note(InstanceId(instance), VersionKey(of))


def test_it_outlives_who_wrote_it(tmp_path: Path) -> None:
    before = History(tmp_path / "instances")
    note(before, "c-1", "c-2", "c-1")
    note(before, "c-3", of="other@LATEST#4")
    after = History(tmp_path / "instances")
    assert after.of("web") == [("c-1", "web@1#1"), ("c-2", "web@1#1")]
    assert after.of("other") == [("c-3", "other@LATEST#4")]


def test_the_oldest_are_forgotten_and_the_file_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST", 10)
    kept = History(tmp_path / "instances")
    note(kept, *(f"c-{n}" for n in range(100)))
    assert len((tmp_path / "instances").read_text().splitlines()) <= 20
    again = History(tmp_path / "instances")
    assert [id_ for id_, _ in again.of("web")] == [f"c-{n}" for n in range(90, 100)]


def test_a_line_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "instances").write_text("c-1 web@1#1\nc-2 we")
    found = History(tmp_path / "instances")
    note(found, "c-3")
    assert [id_ for id_, _ in History(tmp_path / "instances").of("web")] == ["c-1", "c-3"]


def test_a_full_disk_keeps_nothing_from_being_known(tmp_path: Path) -> None:
    known = History(tmp_path / "missing" / "instances")
    note(known, "c-1")
    assert known.of("web") == [("c-1", "web@1#1")]

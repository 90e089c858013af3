"""What is written about the house is true of it."""

import re
from pathlib import Path

from tests.house.settings_page import PAGE, render

ROOT = Path(__file__).parents[2]


def test_every_setting_is_described() -> None:
    assert PAGE.read_text() == render(), "run: python -m tests.house.settings_page"


def test_every_room_has_a_door_that_says_what_lives_there() -> None:
    for room in (ROOT / "src" / "sampan").rglob("__init__.py"):
        if "containerd_api" not in room.parts and "migrations" not in room.parts:
            assert room.read_text().lstrip().startswith('"""'), f"{room} has no docstring"


def test_the_architecture_names_every_room() -> None:
    told = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {path.parent.name for path in (ROOT / "src" / "sampan").glob("*/__init__.py")}
    assert {room for room in rooms if f"`{room}/`" not in told} == set()


def test_every_promise_names_a_test_or_a_bench_that_exists() -> None:
    for line in (ROOT / "SPEC.md").read_text().splitlines():
        for path in re.findall(r"`((?:tests|bench)/[\w/.]+\.py)", line):
            assert (ROOT / path).exists(), f"SPEC.md names {path}"


def test_every_decision_record_says_context_decision_and_cost() -> None:
    for record in (ROOT / "docs" / "adr").glob("*.md"):
        text = record.read_text()
        assert all(word in text for word in ("**Context.**", "**Decision.**", "**What it costs.**")), record

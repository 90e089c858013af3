"""How grave a line says it is."""

import pytest

from sampan.output.levels import Level, level_of


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ('{"level": "error", "msg": "x"}', Level.ERROR),
        ('{"msg":"x","severity":"WARNING"}', Level.WARNING),
        ('{"level":50,"time":1,"msg":"pino"}', Level.ERROR),
        ('{"levelname": "CRITICAL", "message": "x"}', Level.FATAL),
        ('{"a":{"level":"error"}}', Level.UNKNOWN),
        ('{"level": {"deep": 1}}', Level.UNKNOWN),
        ('{"level": "error"', Level.UNKNOWN),
        ('{"level": null, "severity": "info"}', Level.INFO),
        ("ERROR something broke", Level.ERROR),
        ("[ERROR] something broke", Level.ERROR),
        ("2026-11-27 10:00:00,123 WARNING slow", Level.WARNING),
        ("2026-11-27T10:00:00.000Z INFO up", Level.INFO),
        ("[2026-11-27 10:00:00 +0000] [12] [CRITICAL] boom", Level.FATAL),
        ("INFO:root:message", Level.INFO),
        ("warning: unused variable", Level.WARNING),
        ('level=debug msg="hi"', Level.DEBUG),
        ("time=2026-11-27T10:00:00Z level=error msg=x", Level.ERROR),
        ("time=1 nothing", Level.UNKNOWN),
        ("error handling is a chapter of its own", Level.UNKNOWN),
        ("Informal greetings", Level.UNKNOWN),
        ("ERRORS: 0", Level.UNKNOWN),
        ("", Level.UNKNOWN),
        ("{" * 60_000, Level.UNKNOWN),
        ('{"level":' + "[" * 60_000, Level.UNKNOWN),
    ],
)
def test_a_line_says_its_level(text: str, level: Level) -> None:
    assert level_of(text) is level

"""What docs/access.md shows works as it is shown."""

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import msgspec
import pytest

from sampan.catalog.guards import cors, guard
from sampan.model.trigger import ClaimPass, Cors, Jwt
from sampan.wire.shapes import CorsConfig
from sampan.wire.tokens import read_keys

PAGE = (Path(__file__).parents[2] / "docs" / "access.md").read_text()


def test_the_key_it_makes_signs_tokens_that_the_trigger_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, issue = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shown = io.StringIO()
    with redirect_stdout(shown):
        exec(compile(keys, "keys.py", "exec"), {})
        exec(compile(issue, "issue.py", "exec"), {})
    _, check = guard("jwt", Path("jwt.json").read_text(), "triggerConfig")
    assert isinstance(check, Jwt)
    assert check.claims == (ClaimPass("header", "sub", "X-User"),)
    token = shown.getvalue().strip().encode()
    assert read_keys(msgspec.json.decode(check.jwks), "jwks").claims(token)["sub"] == "me"


def test_the_configurations_it_shows_are_good() -> None:
    users = re.search(r"echo '(\{\"users\".*?)' \|", PAGE)
    tokens = re.search(r'echo "(\{\\"tokens.*?)" >', PAGE)
    rules = re.search(r"<<END\n(.*?)\nEND", PAGE, re.DOTALL)
    assert users is not None and tokens is not None and rules is not None  # noqa: PT018
    guard("basic", users[1], "triggerConfig")
    guard("bearer", tokens[1].replace("\\", "").replace("$TOKEN", "0" * 64), "triggerConfig")
    made = cors(msgspec.json.decode(rules[1], type=CorsConfig), "corsConfig")
    assert made is not None
    assert made.origins == ("https://app.example.org",)
    assert made != Cors(origins=made.origins)
    assert set(json.loads(rules[1])) == set(re.findall(r"^\| `(allow\w+|expose\w+|maxAge)` \|", PAGE, re.MULTILINE))

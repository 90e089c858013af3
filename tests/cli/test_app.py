import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sampan.cli.app import COMMANDS, app
from sampan.cli.failures import BY_API_CODE, BY_FAMILY, Code, CommandFailed, ending
from sampan.sdk import errors
from sampan.wire.errors import ANSWERS, FAILURES
from tests.cli.conftest import Run
from tests.sdk.loopback import KEY, Answer, Loopback, function, refusal

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]+)")


@pytest.mark.parametrize("command", [each.name for each in COMMANDS])
def test_every_command_has_help_and_every_option_of_it_is_documented(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0
    section = DOCS.partition(f"\n### sampan {command}\n")[2].partition("\n### ")[0]
    assert section, f"docs/cli.md says nothing about {command}"
    for option in set(OPTION.findall(result.stdout)) - {"--help", "--output"}:
        assert f"`{option}" in section, f"{command} {option}"


def test_help_shows_every_command_in_its_group() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).stdout
    for command in COMMANDS:
        assert command.panel in shown
        assert re.search(rf"\b{command.name}\b", shown)


def test_every_exit_code_is_documented() -> None:
    for code in Code:
        assert f"| {code.value} |" in DOCS


def test_every_code_and_family_in_the_table_of_endings_exists() -> None:
    codes = {code for _, code in (*ANSWERS.values(), *FAILURES.values())}
    assert set(BY_API_CODE) <= codes
    for family in set(BY_FAMILY) - {"BadSettings", "CannotRun"}:
        assert hasattr(errors, family)


def test_what_is_not_found_or_denied_ends_by_its_code_whatever_its_name() -> None:
    for status, code in (*ANSWERS.values(), *FAILURES.values()):
        end = ending(errors.api_error(code, status, "why"))
        assert end is not None
        expected = {403: Code.DENIED, 404: Code.NOT_FOUND}.get(status)
        assert expected is None or end.code is expected, code


def test_a_fault_of_ours_is_not_dressed_up() -> None:
    assert ending(ZeroDivisionError()) is None
    assert ending(CommandFailed("x", Code.USAGE)) == (Code.USAGE, "")


def test_nobody_listening_ends_with_5_and_says_how_to_start(sampan: Run, environment: dict[str, str]) -> None:
    environment["SAMPAN_ENDPOINT"] = "http://127.0.0.1:1"
    result = sampan("ls")
    assert result.exit_code == Code.UNREACHABLE
    assert "sampan up" in result.stderr
    assert result.stdout == ""


def test_no_credentials_end_with_5_and_say_where_they_could_be(sampan: Run, environment: dict[str, str]) -> None:
    environment["SAMPAN_ACCESS_KEY_SECRET"] = ""
    result = sampan("ls")
    assert result.exit_code == Code.UNREACHABLE
    assert "credentials.toml" in result.stderr
    assert "SAMPAN_ACCESS_KEY_SECRET" in result.stderr


def test_a_wrong_key_ends_with_4(sampan: Run, environment: dict[str, str], server: Loopback) -> None:
    server.script["GET", "/2023-03-30/functions"] = refusal(403, "SignatureNotMatch", "does not match")
    result = sampan("ls")
    assert result.exit_code == Code.DENIED
    assert "sampan config" in result.stderr
    assert KEY.secret not in result.output


def test_an_unknown_function_ends_with_3_and_names_the_next_step(sampan: Run, server: Loopback) -> None:
    server.script["GET", "/sampan/v1/functions/nope"] = refusal(
        404, "FunctionNotFound", "function 'nope' does not exist"
    )
    result = sampan("describe", "nope")
    assert result.exit_code == Code.NOT_FOUND
    assert "sampan ls" in result.stderr
    assert "1-refused" in result.stderr


def test_a_hint_repeats_the_functions_name(sampan: Run, server: Loopback) -> None:
    server.script["GET", "/2023-03-30/functions/web/aliases/prod"] = refusal(404, "AliasNotFound")
    assert "sampan alias web" in sampan("alias", "web", "prod").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("invoke",),
        ("invoke", "web", "--data", "a", "--file", "/dev/null"),
        ("invoke", "web", "--method", "PUT"),
        ("invoke", "web", "--path", "/", "-H", "no colon"),
        ("alias", "web", "prod", "1", "--weight", "2=1.5"),
        ("alias", "web", "prod", "1", "--weight", "2"),
        ("deploy", "web", "--env", "NOVALUE"),
        ("deploy", "web", "--registry-password-stdin"),
        ("config", "elsewhere"),
        ("ls", "-o", "yaml"),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_asked(
    sampan: Run, server: Loopback, arguments: tuple[str, ...]
) -> None:
    assert sampan(*arguments).exit_code == Code.USAGE
    assert server.asked == []


def test_ctrl_c_ends_with_130(sampan: Run, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sampan.cli.functions.table", interrupted)
    server.script["GET", "/2023-03-30/functions"] = Answer(200, {"functions": [function()]})
    assert sampan("ls").exit_code == Code.INTERRUPTED


def test_the_shell_completes_commands_and_functions(server: Loopback, environment: dict[str, str]) -> None:
    server.script["GET", "/2023-03-30/functions"] = Answer(200, {"functions": [function("web"), function("wiki")]})

    def complete(words: str) -> set[str]:
        asked = {"_SAMPAN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        command = [
            sys.executable,
            "-c",
            "import sys; sys.argv[0] = 'sampan'; from sampan.cli.app import main; main()",
        ]
        done = subprocess.run(
            command, env=os.environ | environment | asked, capture_output=True, text=True, timeout=60, check=False
        )
        return set(done.stdout.split())

    assert {"deploy", "describe", "domain", "down"} == complete("sampan d")
    assert complete("sampan logs w") == {"web", "wiki"}
    assert server.asked[0].query["prefix"] == "w"


def test_a_command_does_not_load_the_command_line_of_its_http_client(environment: dict[str, str]) -> None:
    code = """
import sys
from sampan.cli.app import main
sys.argv = ["sampan", "config", "-o", "json"]
try:
    main()
except SystemExit as end:
    assert end.code == 0
print("httpx" in sys.modules, "click" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.strip() == "True False"


def test_asking_for_help_does_not_load_the_client() -> None:
    heavy = ("httpx", "aiohttp", "sqlalchemy", "grpc", "rich.progress")
    code = f"import sampan.cli.app, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"

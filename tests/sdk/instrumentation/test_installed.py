"""How the instrumentation gets into a program, seen from a program's side."""

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from tests.sdk.loopback import KEY, Answer, Loopback

BIN = Path(sys.executable).parent
INVOKE = "/2023-03-30/functions/web/invocations"
OURS = """
from sampan.sdk import Client
with Client() as sampan:
    sampan.invoke("web")
"""
VENDORS = """
import os
from alibabacloud_fc20230330 import models as fc
from alibabacloud_fc20230330.client import Client
from alibabacloud_tea_openapi.utils_models import Config
config = Config(
    access_key_id=os.environ["SAMPAN_ACCESS_KEY_ID"],
    access_key_secret=os.environ["SAMPAN_ACCESS_KEY_SECRET"],
    endpoint=os.environ["SAMPAN_ENDPOINT"].removeprefix("http://"),
    protocol="HTTP",
)
Client(config).invoke_function("web", fc.InvokeFunctionRequest())
"""


def with_configurator(directory: Path) -> None:
    """What the package opentelemetry-distro registers, so that OpenTelemetry sets itself up from its variables."""
    info = directory / "configurator-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: configurator\nVersion: 1\n")
    where = "opentelemetry.sdk._configuration:_OTelSDKConfigurator"
    (info / "entry_points.txt").write_text(f"[opentelemetry_configurator]\nconfigurator = {where}\n")


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(code: str, *options: str) -> str:
    return run(sys.executable, *options, "-c", code)


@pytest.mark.parametrize("code", [OURS, VENDORS], ids=["ours", "vendors"])
def test_opentelemetry_instrument_covers_a_program_that_says_nothing(
    server: Loopback, tmp_path: Path, code: str
) -> None:
    with_configurator(tmp_path)
    server.script["POST", INVOKE] = Answer(200, b"ok")
    told = run(
        str(BIN / "opentelemetry-instrument"),
        sys.executable,
        "-c",
        code,
        PYTHONPATH=str(tmp_path),
        OTEL_TRACES_EXPORTER="console",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        SAMPAN_ENDPOINT=server.url,
        SAMPAN_ACCESS_KEY_ID=KEY.id,
        SAMPAN_ACCESS_KEY_SECRET=KEY.secret,
    )
    span = json.loads(told)
    assert (span["name"], span["kind"]) == ("invoke web", "SpanKind.CLIENT")
    ids = (span["context"]["trace_id"].removeprefix("0x"), span["context"]["span_id"].removeprefix("0x"))
    assert tuple(server.asked[0].headers["traceparent"].split("-")[1:3]) == ids


def test_each_library_has_its_entry_point() -> None:
    ours = [each for each in entry_points(group="opentelemetry_instrumentor") if "sampan" in each.value]
    assert {each.name for each in ours} == {"sampan", "alibabacloud_fc20230330", "aliyun_fc2"}
    for each in ours:
        assert isinstance(each.load()().instrumentation_dependencies(), tuple)
        assert issubclass(each.load(), BaseInstrumentor)


def test_the_sdk_imports_no_opentelemetry() -> None:
    code = "import sys, sampan.sdk; print({'opentelemetry', 'wrapt'} & sys.modules.keys() or 'none')"
    assert python(code, "-W", "error") == "none\n"


def test_instrumenting_imports_no_library_that_the_program_does_not_use() -> None:
    code = """
import sys
import sampan.sdk
sampan.sdk.instrument()
print({"fc2", "requests", "darabonba", "alibabacloud_fc20230330"} & sys.modules.keys() or "none")
"""
    assert python(code) == "none\n"


def test_a_library_imported_later_is_instrumented_then_and_once() -> None:
    code = """
import sampan.sdk
for _ in range(2):
    sampan.sdk.instrument()
    sampan.sdk.uninstrument()
sampan.sdk.instrument()
import fc2
wrapped = fc2.Client.invoke_function.__wrapped__
print(hasattr(wrapped, "__wrapped__"))
sampan.sdk.uninstrument()
print(fc2.Client.invoke_function is wrapped)
"""
    assert python(code) == "False\nTrue\n"


def test_a_version_that_is_built_otherwise_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "fc2").mkdir()
    (tmp_path / "fc2" / "__init__.py").write_text("from fc2.client import Client")
    (tmp_path / "fc2" / "client.py").write_text("class Client:\n    def invoke_function(self): return 'called'")
    code = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
import sampan.sdk
sampan.sdk.instrument()
import fc2
print(fc2.Client().invoke_function(), hasattr(fc2.Client.invoke_function, "__wrapped__"))
"""
    told = run(sys.executable, "-c", code, PYTHONPATH=str(tmp_path))
    assert told == (
        "fc2 makes no spans, its version is not known here: "
        "type object 'Client' has no attribute '_build_common_headers'\ncalled False\n"
    )


def test_without_opentelemetry_the_sdk_says_what_to_install() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
import sampan.sdk
for wish in (sampan.sdk.instrument, sampan.sdk.uninstrument):
    try:
        wish()
    except sampan.sdk.MissingPackage as error:
        print(error)
"""
    told = "OpenTelemetry is not installed; run: pip install 'sampan[otel]'\n"
    assert python(code) == told * 2

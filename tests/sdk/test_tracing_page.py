"""What `docs/tracing.md` says of the client is so."""

import re
from pathlib import Path

from sampan.sdk import shapes
from sampan.sdk.instrumentation.fc2 import Fc2Instrumentor
from sampan.sdk.instrumentation.fc3 import Fc3Instrumentor
from sampan.sdk.instrumentation.spans import SHOWN
from sampan.settings import Telemetry

PAGE = (Path(__file__).parents[2] / "docs" / "tracing.md").read_text()


def test_its_python_compiles_and_imports_what_there_is() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        compile(block, "docs/tracing.md", "exec")
        exec("\n".join(re.findall(r"^(?:from|import) .*$", block, re.MULTILINE)), {})


def test_its_settings_exist() -> None:
    named = set(re.findall(r"telemetry\.(\w+)", PAGE))
    assert named
    assert named <= set(Telemetry.__struct_fields__)


def test_its_versions_are_those_that_are_instrumented() -> None:
    told = set(re.findall(r"`([\w-]+)`, from ([\d.]+)", PAGE))
    (fc3,), (fc2,) = Fc3Instrumentor.requirements, Fc2Instrumentor.requirements
    assert told == {tuple(each.partition(",")[0].split(" >= ")) for each in (fc3, fc2)}


def test_it_names_what_of_a_query_is_shown() -> None:
    assert all(f"`{name}`" in PAGE for name in SHOWN)


def test_its_tracing_config_is_what_the_wire_takes() -> None:
    config = shapes.TracingConfig(type="Jaeger", params={"endpoint": "http://jaeger.example.org:14268/api/traces"})
    written = shapes.write(shapes.UpdateFunctionInput(tracing_config=config))
    assert b'"tracingConfig":{"type":"Jaeger","params":{"endpoint":' in written

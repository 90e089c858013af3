"""Client spans for calls of functions, through OpenTelemetry; imported by nobody who does not ask for them.

A file per library: `ours` (`sampan.sdk`), `fc3` (`alibabacloud_fc20230330`), `fc2` (`aliyun-fc2`), each an
instrumentor that `opentelemetry-instrument` finds by its entry point. `spans` says what a span tells and how the
context gets into a request; `library` puts wrappers in and takes them out. This door works without OpenTelemetry.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from sampan.sdk.errors import MissingPackage

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from sampan.sdk.instrumentation.library import Library


def instrument(tracer_provider: "TracerProvider | None" = None) -> None:
    """From now on every call of a function, and of the API, makes a span and carries its context.

    Covers `sampan.sdk` and the vendor's clients `alibabacloud_fc20230330` and `fc2`, as far as they are installed,
    imported already or not. Twice is once. `tracer_provider`: None: OpenTelemetry's global one.

    Raises: MissingPackage when OpenTelemetry is not installed.
    """
    for library in _libraries():
        if find_spec(library.package) is not None and not library.is_instrumented_by_opentelemetry:
            library.instrument(tracer_provider=tracer_provider)


def uninstrument() -> None:
    """Calls are made as if `instrument` had never been called. Raises: MissingPackage."""
    for library in _libraries():
        if library.is_instrumented_by_opentelemetry:
            library.uninstrument()


def _libraries() -> "tuple[Library, ...]":
    try:
        from sampan.sdk.instrumentation.fc2 import Fc2Instrumentor
        from sampan.sdk.instrumentation.fc3 import Fc3Instrumentor
        from sampan.sdk.instrumentation.ours import SampanInstrumentor
    except ModuleNotFoundError as error:
        raise MissingPackage("OpenTelemetry", "pip install 'sampan[otel]'") from error
    return SampanInstrumentor(), Fc3Instrumentor(), Fc2Instrumentor()

"""What the instrumentors share: wrappers that are put in once a library is imported, and taken out again."""

import logging
from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any, ClassVar

import wrapt
from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

import sampan

log = logging.getLogger(__name__)
_ABSENT = object()
Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]


class Patches:
    """Attributes of modules and classes that were replaced, and what stood there."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, object]] = []

    def wrap(self, owner: Any, name: str, wrapper: Wrapper) -> None:
        """Put `wrapper(what is there)` there. What a class inherits is wrapped for that class alone."""
        before = vars(owner).get(name, _ABSENT)
        wrapped: object = wrapper(getattr(owner, name))
        self._before.append((owner, name, before))
        setattr(owner, name, staticmethod(wrapped) if isinstance(before, staticmethod) else wrapped)  # type: ignore[arg-type]

    def restore(self) -> None:
        while self._before:
            owner, name, before = self._before.pop()
            if before is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


class Library(BaseInstrumentor):  # type: ignore[misc]
    """One library. It is not imported for this, which would take up to half a second; it is waited for."""

    package: ClassVar[str]  # that is imported
    module: ClassVar[str]  # that is patched
    requirements: ClassVar[tuple[str, ...]]  # distributions and their versions

    _tracer: trace.Tracer | None = None
    _patches: Patches | None = None

    def patch(self, module: ModuleType, tracer: trace.Tracer, patches: Patches) -> None:
        """Wrap what sends."""
        raise NotImplementedError

    def instrumentation_dependencies(self) -> Collection[str]:
        return self.requirements

    def _instrument(self, **kwargs: Any) -> None:
        self._tracer = trace.get_tracer(type(self).__module__, sampan.__version__, kwargs.get("tracer_provider"))
        wrapt.register_post_import_hook(self._imported, self.module)

    def _uninstrument(self, **kwargs: Any) -> None:
        self._tracer = None
        if self._patches is not None:
            self._patches.restore()
            self._patches = None

    def _imported(self, module: ModuleType) -> None:
        """Once for every time that `_instrument` found the library not imported, so it may come late or often.

        Runs within the program's own import, which nothing here may break.
        """
        if self._tracer is None or self._patches is not None:
            return
        self._patches = Patches()
        try:
            self.patch(module, self._tracer, self._patches)
        except AttributeError as error:
            self._patches.restore()
            log.warning("%s makes no spans, its version is not known here: %s", self.package, error)

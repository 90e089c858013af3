"""What a trace is found by: five bytes for each thing that can be asked for, all in one string per trace.

Search looks for five bytes in that string (`instr`), newest trace first, so there is no index to keep for
attributes, which are many and rarely asked for. Of 10⁹ traces with 1000 tokens, five are found by mere chance.
"""

import functools
import hashlib
from collections.abc import Iterator

from sampan.model.trace import AttributeValue, Scalar, Span, Status

SIZE = 5
MOST = 1000  # tokens of a trace; what is beyond is kept and shown, but not found
OWN = 200  # beyond that, of the platform's spans: an invocation has some fifty
LONGEST = 256  # characters of a value that is found


@functools.lru_cache(maxsize=65536)
def attribute(key: str, value: str) -> bytes:
    """`key`=`value`, as text (`text`)."""
    return _token("=", key, value)


@functools.lru_cache(maxsize=4096)
def function(name: str) -> bytes:
    return _token("f", name, "")


@functools.lru_cache(maxsize=4096)
def service(name: str) -> bytes:
    return _token("s", name, "")


@functools.lru_cache(maxsize=16384)
def operation(service: str, name: str) -> bytes:
    """An operation of a service; of any, where that is ""."""
    return _token("o", service, name)


def _token(kind: str, one: str, two: str) -> bytes:
    words = f"{kind}\0{one}\0{two}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(words, digest_size=SIZE).digest()


def number(request: str) -> int:
    """A request id as a signed number of 64 bits."""
    words = request.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "big", signed=True)


def text(value: Scalar) -> str:
    """An attribute's value as it is asked for."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def tokens(span: Span) -> Iterator[bytes]:
    """Everything that this span is found by."""
    yield service(span.service)
    yield operation(span.service, span.name)
    yield operation("", span.name)
    if span.function:
        yield function(span.function)
    if span.kind:
        yield attribute("span.kind", span.kind.name.lower())
    if span.status is Status.ERROR:
        yield attribute("error", "true")
    for attributes in (span.attributes, span.resource, *(event.attributes for event in span.events)):
        for key, value in attributes.items():
            yield from _values(key, value)


def _values(key: str, value: AttributeValue) -> Iterator[bytes]:
    if isinstance(value, bytes):
        return
    for each in value if isinstance(value, list) else (value,):
        told = text(each)
        if len(told) <= LONGEST:
            yield attribute(key, told)

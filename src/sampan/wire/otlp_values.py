"""OTLP's attribute values in protobuf, both ways."""

from typing import Any

import msgspec

from sampan.model.trace import Attributes
from sampan.wire import span_limits as limits

MOST = limits.ATTRIBUTES  # elements of a list, members of a map
_TEXT = msgspec.json.Encoder(enc_hook=str).encode
DEEP = 16  # lists and maps in one another; what is deeper is left out


def value(given: Any, depth: int = DEEP) -> object:
    """A list stays one where it holds scalars; what no attribute can hold becomes JSON text; None: nothing."""
    kind = given.WhichOneof("value")
    if kind == "array_value":
        elements = [value(one, depth - 1) for one in given.array_value.values[:MOST]] if depth else []
        return listed(elements)
    if kind == "kvlist_value":
        members = (
            {one.key: value(one.value, depth - 1) for one in given.kvlist_value.values[:MOST]} if depth else {}
        )
        return text(members)
    return None if kind is None else getattr(given, kind)


def listed(elements: list[object]) -> object:
    """As a list of scalars, else as text."""
    return text(elements) if any(isinstance(one, list) or one is None for one in elements) else elements


def text(given: object) -> str:
    """JSON of a list or a map."""
    return _TEXT(given).decode()


def put(to: Any, attributes: Attributes) -> None:
    """Into a repeated field of KeyValues."""
    for key, given in attributes.items():
        put_value(to.add(key=key).value, given)


def put_value(message: Any, given: object) -> None:
    if isinstance(given, str):
        message.string_value = given
    elif isinstance(given, bool):
        message.bool_value = given
    elif isinstance(given, int):
        message.int_value = given
    elif isinstance(given, float):
        message.double_value = given
    elif isinstance(given, bytes):
        message.bytes_value = given
    elif isinstance(given, list):
        message.array_value.SetInParent()
        for one in given:
            put_value(message.array_value.values.add(), one)


def identity(resource: Attributes, service: str, function: str, version: str, instance: str) -> Attributes:
    """A resource, with who sent it. Source: tracing-contract.md §6.1."""
    told = {**resource, "service.name": service}
    if function:
        told |= {"faas.name": function, "faas.version": version, "faas.instance": instance}
    return told


def key(resource: Attributes) -> bytes:
    """Equal for equal resources."""
    return msgspec.msgpack.encode(resource)


class Scopes:
    """The messages that what is given out goes into: one a resource, in it one a scope."""

    def __init__(self, resources: Any, member: str) -> None:
        """resources: the request's repeated field.  member: the field of its messages that holds their scopes."""
        self._resources, self._member = resources, member
        self._groups: dict[bytes, Any] = {}
        self._scopes: dict[tuple[bytes, str], Any] = {}

    def of(self, resource: Attributes, scope: str) -> Any:
        """resource: as `identity` tells it."""
        name = key(resource)
        scoped = self._scopes.get((name, scope))
        if scoped is None:
            group = self._groups.get(name)
            if group is None:
                group = self._groups[name] = self._resources.add()
                put(group.resource.attributes, resource)
            scoped = self._scopes[name, scope] = getattr(group, self._member).add()
            scoped.scope.name = scope
        return scoped

"""What the intake listens on: made by who may, handed over as descriptors. Source: tracing-contract.md §5.4.

Datagrams wait for the collector in queues of the kernel's, chosen by the address they come from: who sends faster
than is read fills its own, and the others' are read in turn.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

IP_FREEBIND = 15  # ip(7): bind an address that is not there yet
BACKLOG = 1024
QUEUES = 32  # of a port for datagrams, a power of two; sandboxes made in a row have different ones
RECEIVE_BUFFER = 2 << 20  # bytes that wait in one of them: 20,000 spans at once, 50 to a datagram
_RECEIVE_BUFFER_FORCE = 33  # socket(7): SO_RCVBUFFORCE, beyond net.core.rmem_max, for root
_BY_PROGRAM = 51  # socket(7): SO_ATTACH_REUSEPORT_CBPF
_BY_ADDRESS = ((0x20, -0x100000 + 12), (0x54, QUEUES - 1), (0x16, 0))
"""The queue of a datagram: the word at 12 of its IPv4 header, which is the sender, cut to its low bits. bpf(4)."""


class Ports(NamedTuple):
    """0: any that is free."""

    compact: int = 6831  # UDP, Jaeger
    binary: int = 6832
    grpc: int = 4317  # OTLP
    http: Sequence[int] = (14268, 5778, 4318, 9411)  # Jaeger, its sampling, OTLP, Zipkin: one application


@dataclass(frozen=True, slots=True)
class IntakeSockets:
    """Bound sockets by what is spoken on them."""

    compact: tuple[socket.socket, ...] = ()
    binary: tuple[socket.socket, ...] = ()
    grpc: tuple[socket.socket, ...] = ()
    http: tuple[socket.socket, ...] = ()

    def __add__(self, other: "IntakeSockets") -> "IntakeSockets":
        return IntakeSockets(*((*getattr(self, kind), *getattr(other, kind)) for kind in self.__slots__))

    def descriptors(self) -> list[int]:
        """For a child to inherit."""
        return [one.fileno() for kind in self.__slots__ for one in getattr(self, kind)]

    def arguments(self) -> list[str]:
        """For a child's command line: what each descriptor is."""
        return [f"{kind}:{one.fileno()}" for kind in self.__slots__ for one in getattr(self, kind)]

    @classmethod
    def of(cls, arguments: Iterable[str]) -> "IntakeSockets":
        """From the parent's `arguments`."""
        found: dict[str, list[socket.socket]] = {kind: [] for kind in cls.__slots__}
        for argument in arguments:
            kind, _, descriptor = argument.partition(":")
            one = socket.socket(fileno=int(descriptor))
            one.setblocking(False)
            found[kind].append(one)
        return cls(*(tuple(found[kind]) for kind in cls.__slots__))

    def close(self) -> None:
        for kind in self.__slots__:
            for one in getattr(self, kind):
                one.close()


def listen(address: str, ports: Ports | None = None) -> IntakeSockets:
    """All of them on one address, which need not be there yet. Raises: OSError, which names address and port."""
    ports = Ports() if ports is None else ports
    made: list[socket.socket] = []

    def bound(kind: socket.SocketKind, port: int, joins: bool = False) -> socket.socket:
        made.append(_bound(address, kind, port, joins))
        return made[-1]

    def queues(port: int) -> tuple[socket.socket, ...]:
        """The first is bound alone, which fails where somebody else has the port; the others join it."""
        first = bound(socket.SOCK_DGRAM, port)
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        others = [bound(socket.SOCK_DGRAM, first.getsockname()[1], joins=True) for _ in range(1, QUEUES)]
        _share(first)
        return first, *others

    try:
        return IntakeSockets(
            queues(ports.compact),
            queues(ports.binary),
            (bound(socket.SOCK_STREAM, ports.grpc),),
            tuple([bound(socket.SOCK_STREAM, port) for port in ports.http]),
        )
    except OSError:
        for one in made:
            one.close()
        raise


def _bound(address: str, kind: socket.SocketKind, port: int, joins: bool = False) -> socket.socket:
    """joins: others of ours that have the same."""
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    try:
        one.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        if kind is socket.SOCK_STREAM:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            _widen(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, joins)
        one.bind((address, port))
        if kind is socket.SOCK_STREAM:
            one.listen(BACKLOG)
        one.setblocking(False)
    except OSError as error:
        one.close()
        raise OSError(error.errno, f"{address}:{port}: {os.strerror(error.errno or 0)}") from error
    return one


def _share(one: socket.socket) -> None:
    """Of sockets that have a port together, each gets what comes from its addresses. Takes any of them."""
    if one.family is not socket.AF_INET:
        return  # the kernel chooses, by address and port
    program = b"".join(struct.pack("=HBBI", code, 0, 0, word & 0xFFFFFFFF) for code, word in _BY_ADDRESS)
    held = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HP", len(_BY_ADDRESS), ctypes.addressof(held))
    one.setsockopt(socket.SOL_SOCKET, _BY_PROGRAM, described)


def _widen(one: socket.socket) -> None:
    """As far as the kernel lets us."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    with suppress(PermissionError):
        one.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, RECEIVE_BUFFER)

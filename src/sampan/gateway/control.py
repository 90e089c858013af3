"""The gateway's end of the link to control.

Control may be away for as long as it likes: the link is tried again for ever, and when it stands everything is
said once more. Control knows a gateway from `Hello` on, but may close on one that goes on talking before it has
been told the routes; so the rest waits for them.
"""

import asyncio
import itertools
import os
from pathlib import Path

import msgspec

from sampan.gateway.health import Health
from sampan.gateway.leases import Leases
from sampan.gateway.route import RouteTable
from sampan.gateway.sessions import Sessions
from sampan.gateway.story import within
from sampan.link import channel
from sampan.link.messages import (
    DomainChanged,
    Down,
    Gone,
    Grant,
    Hello,
    Load,
    Look,
    Observed,
    Opened,
    Refuse,
    Revoke,
    RouteChanged,
    Routes,
    Tail,
    TailWanted,
    Up,
)
from sampan.link.messages import Health as HealthTold
from sampan.link.messages import Sessions as SessionsTold
from sampan.model.names import InstanceId, VersionKey

RETRY = 0.1  # seconds between attempts to reach control
BATCH = 0.05  # seconds over which the load is gathered
TAIL_WAIT = 2.0  # seconds; a log tail is a courtesy, the answer does not wait longer for it

_Connection = channel.Channel[Down, Up]


class Control:
    """The link, and what is gathered for it."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._channel: _Connection | None = None
        self._joined = False
        self.health = Health()
        self.told = asyncio.Event()  # control has told the routes at least once
        self._lost = asyncio.Event()
        self._loads: dict[VersionKey, tuple[int, int]] = {}  # since last said: invocations, ns they had a slot
        self._batch: asyncio.TimerHandle | None = None
        self._tokens = itertools.count(1)
        self._tails: dict[int, asyncio.Future[Tail]] = {}
        self._routes: RouteTable | None = None
        self._leases: Leases | None = None
        self._sessions: Sessions | None = None

    @property
    def connected(self) -> bool:
        """Control has told the routes and hears what is said."""
        return self._joined

    async def run(self, routes: RouteTable, leases: Leases, sessions: Sessions) -> None:
        """Keep the link up, for ever."""
        self._routes, self._leases, self._sessions = routes, leases, sessions
        decoder = msgspec.msgpack.Decoder(Down)
        while True:
            self._lost.clear()
            try:
                self._channel = await channel.connect(
                    self._path, lambda: channel.Channel(decoder, self._hear, self._on_lost)
                )
            except OSError:
                await asyncio.sleep(RETRY)
                continue
            self._channel.send(Hello(self._name, os.getpid(), leases.hello()))
            await self._lost.wait()
            await asyncio.sleep(RETRY)

    def send(self, message: Up) -> None:
        """Say something; while control is away nobody hears it."""
        if self._joined and self._channel is not None:
            self._channel.send(message)

    def observed(self, version: VersionKey, busy: int) -> None:
        """An invocation ended that had a slot for `busy` ns. Said with the next batch."""
        count, sum_ = self._loads.get(version, (0, 0))
        self._loads[version] = count + 1, sum_ + busy
        if self._batch is None:
            self._batch = asyncio.get_running_loop().call_later(BATCH, self._send_loads)

    async def tail(self, instance: InstanceId, since: tuple[int, int] | None) -> Tail | None:
        """An instance's log since then; None when control cannot tell in time."""
        if not self._joined:
            return None
        token = next(self._tokens)
        answer: asyncio.Future[Tail] = asyncio.get_running_loop().create_future()
        self._tails[token] = answer
        self.send(TailWanted(token, instance, since))
        try:
            return await within(TAIL_WAIT, answer)
        except TimeoutError:
            return None
        finally:
            del self._tails[token]

    def close(self) -> None:
        """Say what is left to say, and end the connection."""
        self._send_loads()
        self._joined = False
        if self._channel is not None:
            self._channel.close()

    def _send_loads(self) -> None:
        if self._batch is not None:
            self._batch.cancel()
            self._batch = None
        if self._joined and self._loads and self._channel is not None and self._channel.open:
            loads = tuple(Load(version, count, busy / 1e9) for version, (count, busy) in self._loads.items())
            self.send(Observed(loads))
            self._loads.clear()

    def _on_lost(self, connection: _Connection) -> None:
        self._joined = False
        self._lost.set()

    def _hear(self, connection: _Connection, message: Down) -> None:
        assert self._routes is not None
        assert self._leases is not None
        assert self._sessions is not None
        leases, routes = self._leases, self._routes
        match message:
            case Grant():
                leases.grant(message)
            case Opened():
                leases.opened(message)
            case Look():
                leases.saw(message)
            case Revoke():
                leases.revoke(message)
            case Gone():
                leases.gone(message)
            case Refuse():
                leases.refuse(message)
            case Routes():
                routes.replace(message)
                leases.learn({version.key: version.freeze_delay for version in routes.versions()})
                if not self._joined:
                    self._joined = True
                    self.health.joined(asyncio.get_running_loop().time())
                    self.told.set()
                    leases.reconnected()
                    self._sessions.reconnected()
                    self._send_loads()
            case RouteChanged():
                routes.change(message)
                leases.learn({version.key: version.freeze_delay for version in routes.versions()})
            case SessionsTold():
                self._sessions.hear(message)
            case DomainChanged():
                routes.change_domain(message)
            case HealthTold(parts):
                self.health.hear(parts, asyncio.get_running_loop().time())
            case Tail():
                answer = self._tails.get(message.token)
                if answer is not None and not answer.done():
                    answer.set_result(message)

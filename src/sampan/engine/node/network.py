"""Sandbox networks: a pool of namespaces, each with one routed link to this machine, and what they may reach.

A link has this machine's end, named `s<realm>…` (`s<realm>x…` without internet), and `eth0` inside. Its peer is
169.254.N.M (from the realm), an address on the empty bridge `br<realm>`, where the front door listens too.
One nftables table says for all links together what passes; nothing is done per sandbox.
A namespace is kept by an open descriptor, then by the processes in it: when those are gone the kernel removes
it with both ends of its link, also after our own end by kill -9.
"""

import asyncio
import logging
import os
import secrets
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from sampan.engine.node import kernel, netlink
from sampan.engine.node.netlink import Netlink

log = logging.getLogger(__name__)

QUARANTINE = 10.0  # seconds before a freed address is used again; its namespace is reaped asynchronously
_NFT_TIMEOUT = 10.0  # seconds
_PRIVATE = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16"
_RANGES = 64  # of sandbox addresses: 10.64.0.0/16 … 10.127.0.0/16
# The whole namespace is the sandbox's own, so any user may have any port; IPv6 leads nowhere.
_INSIDE = {"ipv4/ip_unprivileged_port_start": "0", "ipv6/conf/default/disable_ipv6": "1"}
_RETRIES = 16
_PAUSE = 1.0  # seconds before a pool that could not be filled is tried again


class NetworkFailed(Exception):
    """The machine could not be given its network; says what was refused."""


@dataclass(slots=True)
class Namespace:
    """A ready network; whoever takes it closes `fd` once a process lives in it."""

    fd: int
    address: str
    internet: bool


def door_address(realm: str) -> str:
    """Where sandboxes find the front door; the same for all of a realm.

    RFC 3927 §2.1: the first and the last 256 of 169.254.0.0/16 are reserved. Clouds answer at 169.254.169.254.
    """
    rest, third = divmod(int(realm, 16), 254)
    return f"169.254.{third + 1}.{rest % 253 + 1}"


def ranges(realm: str) -> list[IPv4Network]:
    """The address ranges a realm may use, the preferred one first."""
    first = int(realm, 16) % _RANGES
    return [IPv4Network(f"10.{64 + (first + n) % _RANGES}.0.0/16") for n in range(_RANGES)]


class DoorPorts(NamedTuple):
    """What sandboxes may reach at the door's address."""

    tcp: tuple[int, ...] = ()
    udp: tuple[int, ...] = ()


def rules(realm: str, door: str, ports: DoorPorts, resolvers: Sequence[str]) -> str:
    """The nftables table of a realm, to be loaded as a whole.

    `fib saddr` refuses packets whose sender is not the address routed to their link.
    """
    ours, offline = f'"s{realm}*"', f'"s{realm}x*"'
    names = f"ip daddr {{ {', '.join(resolvers)} }} meta l4proto {{ tcp, udp }} th dport 53" if resolvers else ""
    resolve = f"iifname {ours} iifname != {offline} {names} accept" if names else ""
    enter = "\n    ".join(
        f"iifname {ours} ip daddr {door} {protocol} dport {{ {', '.join(map(str, numbers))} }} accept"
        for protocol, numbers in (("tcp", ports.tcp), ("udp", ports.udp))
        if numbers
    )
    return f"""
table inet sampan_{realm}
delete table inet sampan_{realm}
table inet sampan_{realm} {{
  chain spoofed {{
    type filter hook prerouting priority -150; policy accept;
    iifname {ours} fib saddr . iif oif missing drop
  }}
  chain input {{
    type filter hook input priority -10; policy accept;
    iifname {ours} ct state established,related accept
    {enter}
    {resolve}
    iifname {ours} drop
  }}
  chain forward {{
    type filter hook forward priority -10; policy accept;
    iifname {ours} oifname {ours} drop
    iifname {offline} drop
    {resolve}
    iifname {ours} meta nfproto ipv6 drop
    iifname {ours} ip daddr {{ {_PRIVATE} }} drop
    oifname {ours} ct state established,related accept
    oifname {ours} drop
  }}
  chain leave {{
    type nat hook postrouting priority 100;
    iifname {ours} oifname != {ours} masquerade
  }}
}}
"""


class Network:
    """The networks of one realm."""

    def __init__(self, realm: str, given: str, ports: DoorPorts, resolvers: tuple[str, ...], pool: int) -> None:
        """given: the address range from the settings, may be empty."""
        self.door = door_address(realm)
        self.resolvers = resolvers
        self._realm, self._given, self._ports, self._size = realm, given, ports, pool
        self._mac = b"\x02\x53" + bytes.fromhex(realm) + b"\x00\x01"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._home: Netlink | None = None  # the thread's alone
        self._ready: deque[Namespace] = deque()
        self._short = asyncio.Event()
        self._used: set[str] = set()
        self._free: deque[tuple[float, str]] = deque()

    # opening and closing

    async def open(self, in_use: Iterable[str]) -> None:
        """Make the bridge and load the rules. `in_use`: addresses of adopted sandboxes. Raises: NetworkFailed."""
        self._used = set(in_use)
        try:
            with closing(Netlink()) as here:
                chosen = self._claim(here)
        except OSError as error:
            raise NetworkFailed(f"the bridge br{self._realm} could not be made: {error}") from error
        hosts = (str(address) for address in chosen.hosts())
        next(hosts)  # the bridge's own, which claims the range
        self._free.extend((-QUARANTINE, address) for address in hosts if address not in self._used)
        self._free.rotate(secrets.randbelow(len(self._free)))  # an earlier run's last ones may still be reaped
        await _nft(rules(self._realm, self.door, self._ports, self.resolvers))
        self._home = Netlink()
        self._short.set()

    def _claim(self, here: Netlink) -> IPv4Network:
        """Find a range that no other platform of this machine has, and mark it as ours on the bridge."""
        name = f"br{self._realm}"
        if name not in here.links():
            here.send([netlink.bridge(name, self._mac)])
        links = here.links()
        index = links[name]
        taken = [(IPv4Address(a.address), a.index) for a in here.addresses()]
        wanted = [IPv4Network(self._given)] if self._given else ranges(self._realm)
        for chosen in wanted:
            if self._given or not any(at in chosen and where != index for at, where in taken):
                first = str(chosen.network_address + 1)
                here.send(
                    [
                        netlink.add_address(index, self.door),
                        netlink.add_address(index, first),
                        netlink.unreachable(str(chosen.network_address), chosen.prefixlen),
                    ]
                )
                return chosen
        raise OSError(f"no range of {wanted[0]} … {wanted[-1]} is free")

    async def fill(self) -> None:
        """Keep the pool full, for ever."""
        while True:
            await self._short.wait()
            self._short.clear()
            try:
                while len(self._ready) < self._size:
                    self._ready.append(await self._make(internet=True))
            except OSError as error:  # whoever needs one meanwhile is told so
                log.warning("no network namespace can be made ready: %s", error)
                await asyncio.sleep(_PAUSE)
                self._short.set()

    def close(self) -> None:
        """Let go of the pool; sandboxes keep theirs."""
        self._thread.shutdown(wait=True)
        while self._ready:
            os.close(self._ready.popleft().fd)
        if self._home is not None:
            self._home.close()

    async def destroy(self) -> None:
        """Remove bridge, rules and links; before `close`.

        A connection that a sandbox closed and its peer never acknowledged keeps its namespace for up to 100 s
        more (tcp(7), tcp_orphan_retries), and would keep the link.
        """
        with closing(Netlink()) as here:
            self._unclaim(here)
            for name, index in here.links().items():
                if name.startswith(f"s{self._realm}"):
                    with suppress(OSError):  # the kernel took it meanwhile
                        here.send([netlink.delete_link(index)])
        table = f"table inet sampan_{self._realm}"
        await _nft(f"{table}\ndelete {table}\n")

    def _unclaim(self, here: Netlink) -> None:
        index = here.links().get(f"br{self._realm}")
        if index is None:
            return
        own = [IPv4Address(a.address) for a in here.addresses() if a.index == index]
        here.send([netlink.delete_link(index)])
        for chosen in [IPv4Network(self._given)] if self._given else ranges(self._realm):
            if any(address in chosen for address in own):
                with suppress(OSError):
                    here.send([netlink.delete_unreachable(str(chosen.network_address), chosen.prefixlen)])

    # a sandbox's network

    async def take(self, internet: bool) -> Namespace:
        """A network, from the pool if there is one. Raises: OSError."""
        if internet and self._ready:
            self._short.set()
            return self._ready.popleft()
        return await self._make(internet)

    def release(self, address: str) -> None:
        """The sandbox at this address is gone."""
        if address in self._used:
            self._used.remove(address)
            self._free.append((time.monotonic(), address))

    async def _make(self, internet: bool) -> Namespace:
        for _ in range(_RETRIES):
            with suppress(FileExistsError):  # a name, an index or a route that is still in use
                return await self._make_at(self._address(), internet)
        raise OSError("no free link name, index and address were found")

    async def _make_at(self, address: str, internet: bool) -> Namespace:
        making = asyncio.get_running_loop().run_in_executor(self._thread, self._build, address, internet)
        try:
            return await asyncio.shield(making)
        except BaseException:
            making.add_done_callback(self._unmade)
            self.release(address)
            raise

    @staticmethod
    def _unmade(making: "asyncio.Future[Namespace]") -> None:
        if not making.cancelled() and making.exception() is None:
            os.close(making.result().fd)

    def _address(self) -> str:
        if not self._free or self._free[0][0] + QUARANTINE > time.monotonic():
            raise OSError("no sandbox address is free")
        address = self._free.popleft()[1]
        self._used.add(address)
        return address

    def _build(self, address: str, internet: bool) -> Namespace:
        """In the thread: it enters the new namespace for a moment, which only a thread of its own may do."""
        with _Home():
            kernel.unshare(kernel.CLONE_NEWNET)
            fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            inside = Netlink()
            for setting, value in _INSIDE.items():
                with suppress(FileNotFoundError), open(f"/proc/sys/net/{setting}", "w") as file:
                    file.write(value)
        try:
            mac = b"\x02\x53" + IPv4Address(address).packed
            self._link(fd, address, mac, internet)
            eth0 = inside.links()["eth0"]
            inside.send(
                [
                    netlink.link_up(netlink.LOOPBACK),
                    netlink.add_address(eth0, address),
                    netlink.link_up(eth0),
                    netlink.default_route(self.door, eth0),
                    netlink.neighbour(self.door, eth0, self._mac),
                ]
            )
        except BaseException:
            os.close(fd)
            raise
        finally:
            inside.close()
        return Namespace(fd, address, internet)

    def _link(self, fd: int, address: str, mac: bytes, internet: bool) -> None:
        """This machine's end: names and indexes are freed late, so each is new. Raises: FileExistsError."""
        assert self._home is not None
        index = 0x10000 + secrets.randbelow(0x3FFF0000)
        name = f"s{self._realm}{'' if internet else 'x'}{secrets.token_hex(4)}"  # hex has no x
        self._home.send([netlink.veth(name, index, self._mac, mac, fd)])
        try:
            self._home.send(
                [
                    netlink.no_ipv6_address(index),
                    netlink.link_up(index),
                    netlink.route(address, index, self.door),
                    netlink.neighbour(address, index, mac),
                ]
            )
        except OSError:
            self._home.send([netlink.delete_link(index)])
            raise


class _Home:
    """Brings the thread back to its own network namespace."""

    def __enter__(self) -> None:
        self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def __exit__(self, *_: object) -> None:
        try:
            kernel.set_namespace(self._fd, kernel.CLONE_NEWNET)
        finally:
            os.close(self._fd)


async def _nft(script: str) -> None:
    """Load rules. Raises: NetworkFailed. Once at the start and once at the end, so a thread is no matter."""

    def run() -> None:
        try:
            subprocess.run(
                ["nft", "-f", "-"], input=script, text=True, capture_output=True, check=True, timeout=_NFT_TIMEOUT
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
            raise NetworkFailed(f"nft refused the rules: {said}") from error

    await asyncio.to_thread(run)

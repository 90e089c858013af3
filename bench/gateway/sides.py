"""What is measured: the gateway as it runs in production, the proxies beside it, and the backend of them all."""

import http.client
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.gateway import machine
from bench.gateway.machine import LOAD, PROXY, running, until
from bench.platform import free_ports
from sampan.serve.layout import Layout
from sampan.serve.privileges import ensure_user
from sampan.settings import Settings, load

HOST = "web.localhost"
BACKLOG = 4096
INSTANCES, SLOTS = 16, 20
"""Of the function: room for more requests at once than any figure sends, so that none waits for a slot."""

# One worker, upstream connections kept, nothing written. Bodies are streamed in both directions, as by the gateway;
# nginx's own defaults would write large ones to disk first.
NGINX = """
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log crit;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
    client_max_body_size 0;
    keepalive_requests 1000000000;
    upstream backend {{ server 127.0.0.1:{backend}; keepalive 512; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        server_name web.localhost;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"""


@dataclass
class Side:
    """Something that answers on a port, and the processes whose CPU time that costs."""

    name: str
    port: int
    pids: list[int] = field(default_factory=list)


@contextmanager
def backend(directory: Path, cores: Sequence[int] = LOAD) -> Iterator[Side]:
    """The function's program, without anything before it. Raises: Unmeasured."""
    [port] = free_ports(1)
    log = directory / "backend.log"
    with running(cores, str(machine.compiled("backend", directory)), str(port), log=log) as pid:
        yield _answering(Side("direct", port, [pid]), log)


@contextmanager
def nginx(directory: Path, behind: Side) -> Iterator[Side]:
    [port] = free_ports(1)
    user = "user root;" if os.geteuid() == 0 else ""
    config, log = directory / "nginx.conf", directory / "nginx.log"
    config.write_text(NGINX.format(directory=directory, backend=behind.port, port=port, user=user))
    words = (machine.program("nginx"), "-c", str(config), "-p", str(directory), "-e", str(log))
    with running(PROXY, *words, log=log) as master:
        side = _answering(Side("nginx", port), log)
        side.pids = machine.children(master)
        yield side


@contextmanager
def aiohttp(directory: Path, behind: Side) -> Iterator[Side]:
    [port] = free_ports(1)
    log = directory / "aiohttp.log"
    words = (sys.executable, "-m", "bench.gateway.aiohttp_proxy", str(port), str(behind.port))
    with running(PROXY, *words, log=log) as pid:
        yield _answering(Side("aiohttp", port, [pid]), log)


@contextmanager
def go(directory: Path, behind: Side) -> Iterator[Side]:
    """Go's httputil.ReverseProxy."""
    made = machine.built_with_go("reverse", directory)
    [port] = free_ports(1)
    log = directory / "go.log"
    with running(PROXY, str(made), str(port), str(behind.port), log=log) as pid:
        yield _answering(Side("Go", port, [pid]), log)


@contextmanager
def gateway(
    directory: Path, behind: Side, cores: Sequence[Sequence[int]] = (PROXY,), instances: int = INSTANCES,
    slots: int = SLOTS, queue: int = 1000, given: Mapping[str, object] | None = None,
) -> Iterator[Side]:  # fmt: skip
    """As many gateway processes as `cores` has parts, started as the supervisor does, with a staged control.

    instances, slots: what each of them is granted; queue: requests that may wait; given: further settings.
    """
    [port] = free_ports(1)
    directory = directory / f"gateway-{port}"
    settings = load(None, {}, {
        "platform.state": str(directory), "platform.run": str(directory / "run"), "gateway.port": port,
        "gateway.queue_length": queue, "gateway.processes": len(cores), "gateway.drain": 1.0,
        **(given or {}),
    })  # fmt: skip
    log = directory / "gateway.log"
    with ExitStack() as stack:
        file = stack.enter_context(laid_out(settings))
        words = (str(file), *map(str, (behind.port, instances, slots)))
        staged = (sys.executable, "-m", "bench.gateway.control", *words)
        stack.enter_context(running(LOAD, *staged, log=log))
        listeners = [stack.enter_context(_listener(port)) for _ in cores]
        side = Side("gateway", port)
        for number, (part, listener) in enumerate(zip(cores, listeners, strict=True), 1):
            words = (sys.executable, "-m", "sampan.serve", "gateway", str(file), f"gateway-{number}")
            fd = listener.fileno()
            pid = stack.enter_context(running(part, *words, str(fd), log=log, pass_fds=[fd]))
            side.pids.append(pid)
        for listener in listeners:
            listener.close()
        yield _answering(side, log)


@contextmanager
def laid_out(settings: Settings) -> Iterator[Path]:
    """The directories of a platform, and the file with its settings."""
    layout = Layout(settings)
    layout.state.mkdir()
    owner = ensure_user(settings.platform.user) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    layout.make(*owner)
    layout.settings.write_bytes(msgspec.json.encode(settings))
    try:
        yield layout.settings
    finally:
        if layout.journals is not None:  # beside the other directories, in memory
            shutil.rmtree(layout.journals, ignore_errors=True)


def _listener(port: int) -> socket.socket:
    """As the supervisor makes them when several processes share the port."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _answering(side: Side, log: Path) -> Side:
    """Waits until requests are answered. Raises: Unmeasured."""

    def answers() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", side.port, timeout=2)
        try:
            connection.request("GET", "/", headers={"Host": HOST})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    until(answers, f"{side.name} does not answer", log)
    return side


ORIENTATION = {"aiohttp": aiohttp, "Go": go}
"""Proxies that are measured for orientation only."""

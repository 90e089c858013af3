"""Plays a story against the scheduler's core and writes down what it decided.

A story is a text file: a line is a moment and an event (`0.0 want web 3`); lines that begin with `→` are the
decisions expected of it. Instances are named i1, i2, … in the order they are made.
"""

import itertools
import re
from pathlib import Path

from sampan.model.affinity import Affinity, AffinityKind, Session
from sampan.model.errors import Failure, FailureKind
from sampan.model.image import Image, ImageConfig
from sampan.model.instance import InstanceState
from sampan.model.names import InstanceId, VersionKey
from sampan.model.version import HealthCheck, Version
from sampan.scheduler import decisions as d
from sampan.scheduler import events as e
from sampan.scheduler.core import step
from sampan.scheduler.state import Cluster, Limits

IMAGE = Image("web:1", "sha256:00", ImageConfig())


def key(name: str) -> VersionKey:
    return VersionKey(name if "@" in name else f"{name}@LATEST#1")


def version(name: str, **settings: object) -> Version:
    full = key(name)
    return Version(full, full.partition("@")[0], "LATEST", IMAGE, **settings)  # type: ignore[arg-type]


def cluster(**limits: object) -> Cluster:
    names = (InstanceId(f"i{n}") for n in itertools.count(1))
    return Cluster(Limits(**limits), names=names)  # type: ignore[arg-type]


def _plan(words: list[str]) -> e.Planned:
    settings: dict[str, object] = {}
    targets = []
    minimum, most = 0, None
    for word in words[1:]:
        name, _, value = word.partition("=")
        if name == "minimum":
            minimum = int(value)
        elif name == "most":
            most = int(value)
        elif name == "sessions":  # that one instance takes
            settings["affinity"] = Affinity(AffinityKind.COOKIE, 21600.0, 1800.0, int(value))
        elif name == "health":  # the path that is checked
            settings["health_check"] = HealthCheck(value)
        else:
            settings[name] = float(value) if name in ("keepalive", "cpu") else int(value)
    targets = [e.Target(version(name, **settings), minimum) for name in words[0].split(",")]
    return e.Planned(targets[0].version.function, tuple(targets), most)


def _event(words: list[str]) -> e.Event:
    verb, rest = words[0], words[1:]
    match verb:
        case "plan":
            return _plan(rest)
        case "unplan":
            return e.Planned(rest[0], ())
        case "warm":
            return e.Warmed(version(rest[0]), int(rest[1]))
        case "join":
            held = (word.partition("=") for word in rest[1:])
            return e.Joined(rest[0], {InstanceId(id_): int(slots or 1) for id_, _, slots in held})
        case "leave":
            return e.Left(rest[0])
        case "settle":
            return e.Settled()
        case "want":
            options = dict(word.split("=") for word in rest[2:])
            return e.Wanted(
                options.get("at", "g"),
                key(rest[0]),
                int(rest[1]),
                float(options.get("since", "0")),
                int(options.get("seen", "0")),
                tuple(InstanceId(id_) for id_ in options.get("bound", "").split(",") if id_),
            )
        case "bind":  # bind web s=i1 at=g until=60
            options = dict(word.split("=") for word in rest[2:])
            id_, _, instance = rest[1].partition("=")
            until = float(options.get("until", "1000"))
            session = Session(key(rest[0]), id_, InstanceId(instance), 0, int(until * 1e9))
            return e.Bound(options.get("at", "g"), ((session, until),))
        case "back":
            return e.GivenBack(rest[1] if len(rest) > 1 else "g", InstanceId(rest[0]))
        case "lost":
            return e.Lost("g", InstanceId(rest[0]), "connection refused")
        case "observed":
            return e.Observed(key(rest[0]), int(rest[1]), float(rest[2]))
        case "found":
            return e.Found(InstanceId(rest[0]), key(rest[1]), InstanceState(rest[2]), "10.0.0.1", 80)
        case "created":
            return e.Created(InstanceId(rest[0]), "10.0.0.1", 80)
        case "started":
            took = float(rest[1].partition("=")[2]) if len(rest) > 1 else 0.0
            return e.Started(InstanceId(rest[0]), "10.0.0.1", 80, took=took)
        case "failed":
            kind = FailureKind(rest[1]) if len(rest) > 1 else FailureKind.EXITED
            return e.Failed(InstanceId(rest[0]), Failure(kind, "it failed"))
        case "frozen":
            return e.Frozen(InstanceId(rest[0]))
        case "thawed":
            return e.Thawed(InstanceId(rest[0]))
        case "unhealthy":
            return e.Unhealthy(InstanceId(rest[0]), "status code: 500")
        case "ended":
            return e.Ended(InstanceId(rest[0]), None)
        case "tick":
            return e.Tick()
    raise AssertionError(f"no such event in a story: {verb}")


def _told(decision: d.Decision) -> str:
    match decision:
        case d.Create(instance, version_key):
            return f"create {instance} {_short(version_key)}"
        case d.Start(instance, version_key, created):
            return f"start {instance} {_short(version_key)}" + (" from spare" if created else "")
        case d.Freeze(instance):
            return f"freeze {instance}"
        case d.Thaw(instance):
            return f"thaw {instance}"
        case d.Stop(instance, _, why, _):
            return f"stop {instance}: {why}"
        case d.Grant(gateway, instance, _, slots):
            return f"grant {instance} to {gateway}" + (f", {slots} slots" if slots > 1 else "")
        case d.Opened(gateway, instance):
            return f"tell {gateway} that {instance} is open"
        case d.Revoke(gateway, instance):
            return f"revoke {instance} from {gateway}"
        case d.Forget(gateway, instance, _):
            return f"forget {instance} at {gateway}"
        case d.Tell(gateway, sessions):
            where = ", ".join(f"{session.id} is in {session.instance}" for session in sessions)
            return f"tell {gateway}: {where}"
        case d.Refuse(gateway, version_key, failure, no_capacity, retry_after):
            why = failure.message if failure else no_capacity
            return f"refuse {_short(version_key)} at {gateway}: {why}, retry after {retry_after:g}"


def _short(version_key: VersionKey) -> str:
    return re.sub(r"@LATEST#1\Z", "", version_key)


def play(path: Path) -> str:
    """The story with the decisions as they are taken now."""
    lines: list[str] = []
    state = cluster()
    for line in path.read_text().splitlines():
        if line.startswith("→"):
            continue
        lines.append(line)
        words = [] if line.startswith("#") else line.split()
        if not words:
            continue
        if words[0] == "limits":
            limits = {
                name: float(value) if "." in value else int(value)
                for name, value in (word.split("=") for word in words[1:])
            }
            state = cluster(**limits)
            continue
        lines += [f"→ {_told(decision)}" for decision in step(state, _event(words[1:]), float(words[0]))]
    return "\n".join(lines) + "\n"

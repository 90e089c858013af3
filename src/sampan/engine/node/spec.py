"""The OCI runtime spec of one sandbox. Pure: values in, a dict out. Source: OCI runtime-spec 1.0.2, config.md."""

import msgspec

from sampan.engine.engine import SandboxSpec
from sampan.engine.node.users import User

# Docker's default set, for programs that run as root in the container; others have none.
CAPABILITIES = (
    *("CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD"),
    *("CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID"),
    "CAP_SYS_CHROOT",
)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_PERIOD = 100_000  # microseconds of a CPU accounting period, the kernel's default
_MIN_QUOTA = 1_000  # microseconds; the kernel refuses less
_SHM = 64 << 20  # bytes, as Docker


def _mount(destination: str, kind: str, *options: str) -> dict[str, object]:
    return {"destination": destination, "type": kind, "source": kind, "options": options}


_MOUNTS = (
    _mount("/proc", "proc", "nosuid", "noexec", "nodev"),
    _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
    _mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    _mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", f"size={_SHM}"),
    _mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    _mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
    _mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
)


class Place(msgspec.Struct, frozen=True):
    """What the machine gives one sandbox."""

    rootfs: str  # directory
    network: str  # path of its network namespace
    cgroup: str  # cgroupsPath
    file_limit: int  # the machine's own limit of open files


def oci_spec(spec: SandboxSpec, place: Place, user: User, seccomp: msgspec.Raw) -> dict[str, object]:
    """Everything the runtime must know."""
    return {
        "ociVersion": "1.0.2",
        "hostname": spec.hostname or spec.id,
        "root": {"path": place.rootfs, "readonly": False},
        "process": process(spec, user, place.file_limit),
        "mounts": _MOUNTS,
        "linux": {
            "cgroupsPath": place.cgroup,
            "namespaces": (
                *({"type": kind} for kind in ("mount", "pid", "ipc", "uts", "cgroup")),
                {"type": "network", "path": place.network},
            ),
            "resources": _resources(spec),
            "maskedPaths": _MASKED,
            "readonlyPaths": _READ_ONLY,
            "seccomp": seccomp,
        },
    }


def process(spec: SandboxSpec, user: User, file_limit: int) -> dict[str, object]:
    """How the program runs; `exec` runs others the same way."""
    held = CAPABILITIES if user.uid == 0 else ()
    environment = {"PATH": PATH, "HOSTNAME": spec.hostname or spec.id} | spec.env
    files = min(spec.files, file_limit)
    return {
        "terminal": False,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
        "args": spec.argv,
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": spec.cwd or "/",
        "capabilities": {"bounding": held, "effective": held, "permitted": held},
        "noNewPrivileges": True,
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": files, "hard": files}],
        "oomScoreAdj": 500,  # before the platform's own processes
    }


def _resources(spec: SandboxSpec) -> dict[str, object]:
    memory = spec.memory_mb << 20
    return {
        "memory": {"limit": memory, "swap": memory},  # equal: no swap
        "cpu": {
            "quota": max(_MIN_QUOTA, int(spec.cpu * _PERIOD)),
            "period": _PERIOD,
            "shares": max(2, int(spec.cpu * 1024)),
        },
        "pids": {"limit": spec.pids},
        "devices": [{"allow": False, "access": "rwm"}],  # the runtime adds null, zero, random, tty and their like
    }

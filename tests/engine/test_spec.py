"""What a sandbox is allowed: its OCI spec, the filter of system calls, users, files and rules."""

import json
import os
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest

from sampan.engine.engine import SandboxSpec
from sampan.engine.node import seccomp
from sampan.engine.node.bundle import etc
from sampan.engine.node.cgroup import layout
from sampan.engine.node.network import DoorPorts, door_address, ranges, rules
from sampan.engine.node.spec import CAPABILITIES, Place, oci_spec
from sampan.engine.node.users import User, resolve
from sampan.model.errors import FailureKind, StartFailed
from sampan.model.image import Image, ImageConfig
from sampan.model.names import InstanceId

SPEC = SandboxSpec(
    id=InstanceId("c-1"),
    image=Image("web", "sha256:web", ImageConfig()),
    argv=("/web",),
    port=8080,
    cpu=0.25,
    memory_mb=128,
    files=1 << 20,
)
PLACE = Place(rootfs="rootfs", network="/proc/1/fd/9", cgroup="/sampan-beef/c-1", file_limit=20000)


ROOT = User(0, 0)


def made(spec: SandboxSpec = SPEC, user: User = ROOT) -> dict:  # type: ignore[type-arg]
    encoded = msgspec.json.encode(oci_spec(spec, PLACE, user, msgspec.Raw(b"{}")))
    decoded: dict = json.loads(encoded)  # type: ignore[type-arg]
    return decoded


def test_every_namespace_is_the_sandbox_s_own() -> None:
    kinds = {entry["type"] for entry in made()["linux"]["namespaces"]}
    assert kinds == {"mount", "pid", "ipc", "uts", "network", "cgroup"}


def test_limits_are_enforced_without_swap() -> None:
    resources = made()["linux"]["resources"]
    assert resources["memory"] == {"limit": 128 << 20, "swap": 128 << 20}
    assert resources["cpu"]["quota"] / resources["cpu"]["period"] == 0.25


def test_no_limit_of_files_exceeds_the_machine_s() -> None:
    assert made()["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 20000, "hard": 20000}]


def test_only_root_has_capabilities_and_none_gains_privileges() -> None:
    assert made()["process"]["capabilities"]["bounding"] == list(CAPABILITIES)
    assert made(user=User(1000, 1000))["process"]["capabilities"]["bounding"] == []
    assert made()["process"]["noNewPrivileges"] is True


def test_the_function_s_environment_wins_over_ours() -> None:
    environment = made(msgspec.structs.replace(SPEC, env={"PATH": "/only"}))["process"]["env"]
    assert sorted(environment) == ["HOSTNAME=c-1", "PATH=/only"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_filter_names_one_architecture_and_refuses_namespaces(machine: str) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["read", "unshare", "mount"], "action": "SCMP_ACT_ALLOW", "includes": {}},
            {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
        ],
    }
    converted = seccomp.convert(profile, CAPABILITIES, machine)
    assert len(converted["architectures"]) == 1  # type: ignore[arg-type]
    rules = converted["syscalls"]
    assert isinstance(rules, list)
    allowed = {name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert allowed == {"read", "chroot", "clone"} | ({"arch_prctl"} if machine == "x86_64" else set())
    clone = next(rule for rule in rules if rule["names"] == ["clone"])
    assert clone["args"][0]["value"] & 0x10000000  # CLONE_NEWUSER


def test_a_compacted_filter_decides_the_same() -> None:
    numbers = {"read": 0, "write": 1, "socket": 41, "ptrace": 101, "bpf": 321}
    conditional = {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2}]}
    rules = [
        {"names": ["write", "chown32"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        conditional,
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ]
    compacted = seccomp.compact(
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}, lambda n: numbers.get(n, -1)
    )
    assert compacted == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            conditional,
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
            {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
    }


def test_without_a_profile_what_reaches_beyond_a_container_is_refused(tmp_path: Path) -> None:
    loaded = json.loads(msgspec.json.encode(seccomp.load(CAPABILITIES, tmp_path / "none")))
    refused = {name for rule in loaded["syscalls"] for name in rule["names"]}
    assert {"mount", "unshare", "bpf", "kexec_load", "init_module", "ptrace", "clone3"} <= refused


@pytest.fixture
def root(tmp_path: Path) -> int:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:\nweb:x:1000:1001::/:\nbroken\nodd:x:a:b::/:\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nstaff:x:50:web,root\nwww:x:1001:\n")
    return os.open(tmp_path, os.O_RDONLY)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", User(0, 0)),
        ("root", User(0, 0, (50,))),
        ("web", User(1000, 1001, (50,))),
        ("1000", User(1000, 1001, (50,))),
        ("4242", User(4242, 0)),
        ("web:staff", User(1000, 50)),
        ("7:8", User(7, 8)),
    ],
)
def test_users_are_those_of_the_image(root: int, user: str, expected: User) -> None:
    """OCI image-spec, config.md, `User`."""
    assert resolve(root, user) == expected
    os.close(root)


@pytest.mark.parametrize("user", ["ghost", "web:ghosts", "odd"])
def test_an_unknown_name_is_refused(root: int, user: str) -> None:
    with pytest.raises(StartFailed) as raised:
        resolve(root, user)
    assert raised.value.failure.kind is FailureKind.IMAGE_INVALID
    os.close(root)


def test_user_files_are_not_read_outside_the_image(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("web:x:0:0::/:\n")
    (tmp_path / "image/etc").mkdir(parents=True)
    (tmp_path / "image/etc/passwd").symlink_to(outside)
    root = os.open(tmp_path / "image", os.O_RDONLY)
    with pytest.raises(StartFailed):
        resolve(root, "web")
    os.close(root)


def test_a_sandbox_knows_its_own_name() -> None:
    files = etc("little", "10.64.0.9", ("192.0.2.53",))
    assert files["hostname"] == "little\n"
    assert "10.64.0.9\tlittle\n" in files["hosts"]
    assert files["resolv.conf"] == "nameserver 192.0.2.53\n"


def test_realms_have_their_own_door_and_prefer_different_ranges() -> None:
    doors = [IPv4Address(door_address(f"{realm:04x}")) for realm in range(0x10000)]
    assert len(set(doors)) > 0.97 * len(doors)
    assert all(IPv4Address("169.254.1.0") <= door < IPv4Address("169.254.255.0") for door in doors)
    assert IPv4Address("169.254.169.254") not in doors
    assert ranges("0000")[0] != ranges("0001")[0]
    assert len(set(ranges("beef"))) == 64


def test_rules_without_front_door_or_resolver_open_nothing() -> None:
    text = rules("beef", "169.254.1.1", DoorPorts(), ())
    assert "dport" not in text
    assert 'iifname "sbeef*" drop' in text


def test_each_protocol_opens_its_own_ports_at_the_doors_address_alone() -> None:
    text = rules("beef", "169.254.1.1", DoorPorts((80, 4318), (6831, 6832)), ())
    opened = [line.strip() for line in text.splitlines() if "dport" in line]
    assert opened == [
        'iifname "sbeef*" ip daddr 169.254.1.1 tcp dport { 80, 4318 } accept',
        'iifname "sbeef*" ip daddr 169.254.1.1 udp dport { 6831, 6832 } accept',
    ]
    alone = rules("beef", "169.254.1.1", DoorPorts(udp=(6831,)), ())
    assert "udp dport { 6831 } accept" in alone
    assert "tcp dport" not in alone


MIXED = """\
31 30 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_both_cgroup_layouts_are_recognised() -> None:
    mixed = layout(MIXED)
    assert not mixed.unified
    assert mixed.mounts["cpuacct"] == mixed.mounts["cpu"] == "/sys/fs/cgroup/cpu,cpuacct"
    assert mixed.roots == {"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"}
    assert layout(UNIFIED).unified

"""Where things lie on disk, and who may read them. One place, so that every role agrees."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from sampan.settings import Settings

SHARED_MEMORY = Path("/dev/shm")
QUERY = "query:"  # in the collector's arguments, before the descriptor of the query port
TLS = "tls:"  # in a gateway's arguments, before the descriptors of sockets that are for TLS


class Layout:
    """Paths of one platform."""

    def __init__(self, settings: Settings) -> None:
        self.state = settings.platform.state_dir
        self.run = settings.platform.run_dir
        # state: survives a reboot
        self.lock = self.state / "lock"
        self.credentials = self.state / "credentials.toml"
        self.database = self.state / "control" / "sampan.db"
        self.telemetry_database = self.state / "collector" / "telemetry.db"
        self.containerd_root = self.state / "containerd"
        self.registry_root = self.state / "registry"
        self.sandboxd_state = self.state / "sandboxd"
        self.logs = self.state / "logs"
        self.tls = self.state / "tls"
        self.certificate = self.tls / "own.crt"  # its key beside it
        # run: sockets, pids, bundles
        self.settings = self.run / "settings.json"
        self.status = self.run / "status.json"
        self.containerd_config = self.run / "containerd.toml"
        self.containerd_state = self.run / "containerd"
        self.containerd_socket = self.run / "containerd" / "containerd.sock"
        self.registry_config = self.run / "registry.yml"
        self.sandboxd_run = self.run / "sandboxd"
        self.engine_socket = self.run / "sandboxd" / "engine.sock"
        self.control_run = self.run / "control"
        self.link_socket = self.run / "control" / "link.sock"
        self.collector_run = self.run / "collector"
        self.reports_socket = self.collector_run / "reports.sock"
        self.collector_socket = self.collector_run / "api.sock"
        self.gateway_run = self.run / "gateways"
        self.journals = journals(settings)
        self.api_socket = self.run / "control" / "api.sock"

    def make(self, uid: int, gid: int) -> None:
        """Make the directories: everything root's, but what the unprivileged roles own."""
        for directory in (self.state, self.run):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o711)
        for directory in (self.containerd_root, self.containerd_state, self.sandboxd_state, self.sandboxd_run):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o711)
        self.logs.mkdir(exist_ok=True)
        self.logs.chmod(0o750)
        self.tls.mkdir(exist_ok=True)
        self.tls.chmod(0o700)
        unprivileged = (self.database.parent, self.telemetry_database.parent, self.registry_root)
        for directory in (*unprivileged, self.control_run, self.collector_run, self.gateway_run):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o700)
            os.chown(directory, uid, gid)
        if self.journals is not None:
            with suppress(FileExistsError):
                self.journals.mkdir(mode=0o700)
                os.chown(self.journals, uid, gid)


def journals(settings: Settings) -> Path | None:
    """Where gateways keep what is not reported yet: in memory that outlives them.

    None where there is no such memory, or somebody else's directory is in its place. A disk would not do: a write
    to a mapping of it waits whenever the page is being written back, and with it every request.
    """
    directory = SHARED_MEMORY / f"sampan-{settings.platform.realm}"
    try:
        found = directory.lstat()
    except FileNotFoundError:
        return directory if os.path.ismount(SHARED_MEMORY) else None
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    return directory if ours else None

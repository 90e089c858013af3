"""`python -m sampan.serve ROLE SETTINGS-FILE [ARGUMENT…]`: one process of the platform."""

import importlib
import sys
from pathlib import Path

import msgspec

from sampan.serve import compiled
from sampan.settings import Settings
from sampan.telemetry.logs import configure

ROLES = ("supervisor", "control", "collector", "sandboxd", "gateway")


def main() -> None:
    name, file, *arguments = sys.argv[1:]
    if name not in ROLES:
        sys.exit(f"no role {name!r}; there are {', '.join(ROLES)}")
    settings = msgspec.json.decode(Path(file).read_bytes(), type=Settings)
    if name == "gateway":  # before anything of it is imported
        configure(arguments[0], settings.platform.log_level)
        compiled.use()
    role = importlib.import_module(f"sampan.serve.{name}")  # a role pays for its own rooms only
    role.run(settings, *arguments)


if __name__ == "__main__":
    main()

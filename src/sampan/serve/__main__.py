"""`python -m sampan.serve ROLE SETTINGS-FILE [ARGUMENT…]`: one process of the platform."""

import sys
from pathlib import Path

import msgspec

from sampan.serve import control, gateway, sandboxd, up
from sampan.settings import Settings


def main() -> None:
    role, file, *arguments = sys.argv[1:]
    settings = msgspec.json.decode(Path(file).read_bytes(), type=Settings)
    match role:
        case "up":
            up.run(settings)
        case "control":
            control.run(settings)
        case "sandboxd":
            sandboxd.run(settings)
        case "gateway":
            gateway.run(settings, arguments[0], [int(fd) for fd in arguments[1:]])
        case _:
            sys.exit(f"no role {role!r}; there are up, control, sandboxd and gateway")


if __name__ == "__main__":
    main()

"""What the options before the command say, and the client made from it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sampan.sdk import Client
    from sampan.sdk.config import Found


@dataclass(frozen=True)
class Session:
    """Where the platform is, as far as the command line says."""

    state: str | None = None
    endpoint: str | None = None

    def client(self) -> "Client":
        """Raises: NotConfigured, UnsafeCredentials."""
        from sampan.sdk import Client

        return Client(self.endpoint, state=self.state)

    def state_directory(self) -> Path:
        from sampan.sdk.config import state_directory

        return state_directory(self.state, os.environ)

    def found(self) -> "dict[str, Found]":
        """Each setting of the client and where it comes from. Raises: NotConfigured, UnsafeCredentials."""
        from sampan.sdk.config import look_up

        return look_up({"endpoint": self.endpoint}, os.environ, self.state_directory())


def session(context: typer.Context) -> Session:
    """The session of this command."""
    found = context.find_object(Session)
    return found if found is not None else Session()

"""Who may call."""

import msgspec


class AccessKey(msgspec.Struct, frozen=True):
    """A credential calls are signed with. Never shown, never logged."""

    id: str
    secret: str
    account: str

    def __repr__(self) -> str:
        return f"AccessKey(id={self.id!r}, secret=…)"

"""Who may call."""

from typing import ClassVar

from sampan.model.secret import Guarded


class AccessKey(Guarded, frozen=True):
    """A credential calls are signed with. Never shown, never logged."""

    _hidden: ClassVar[tuple[str, ...]] = ("secret",)
    id: str
    secret: str
    account: str

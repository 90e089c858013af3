"""What an auth type and its configuration ask of callers, and which pages of other origins may call."""

from sampan.model.errors import FieldNotSupported
from sampan.model.trigger import AuthType, Check, Cors
from sampan.wire import shapes


def guard(auth_type: str, auth_config: str | None, where: str) -> tuple[AuthType, Check | None]:
    """The type, and what callers are checked against. Raises: FieldNotSupported."""
    if auth_type not in ("anonymous", "function"):
        raise FieldNotSupported(f"{where}.authType", auth_type, "supported are anonymous, function")
    return AuthType(auth_type), None


def cors(given: shapes.CorsConfig | None, where: str) -> Cors | None:
    """Raises: FieldNotSupported."""
    if given is not None:
        raise FieldNotSupported(where, given, "let the function answer CORS")
    return None

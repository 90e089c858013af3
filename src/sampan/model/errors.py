"""Everything that can go wrong, named for what happened.

Three branches that must never be mixed up: the caller's mistake, the user's function failing, the platform
failing. Statuses and codes for the outside live in `wire/errors.py` alone.
"""

from enum import Enum

import msgspec

from sampan.model.instance import Stage


class SampanError(Exception):
    """Any error that the house raises on purpose. `str()` is a sentence for a person."""


# ── the caller's mistake ──────────────────────────────────────────────────────────────────────────────


class CallerMistake(SampanError):
    """The request cannot be carried out as it stands."""


class InvalidArgument(CallerMistake):
    """A field has a value that is not allowed."""

    def __init__(self, field: str, given: object, allowed: str) -> None:
        self.field, self.given, self.allowed = field, given, allowed
        super().__init__(f"{field}: got {given!r}, allowed is {allowed}")


class Malformed(CallerMistake):
    """Bytes are not of the format they were sent as."""

    def __init__(self, format: str, what: str) -> None:
        super().__init__(f"{format}: {what}")


class NotSupported(CallerMistake):
    """The operation exists in the API but not (yet) here."""

    def __init__(self, operation: str) -> None:
        self.operation = operation
        super().__init__(f"operation '{operation}' is not supported by this platform")


class FieldNotSupported(NotSupported):
    """A field asks for something that exists in the API but not (yet) here."""

    def __init__(self, field: str, given: object, instead: str) -> None:
        self.operation = field
        CallerMistake.__init__(self, f"{field}: {given!r} is not supported by this platform; {instead}")


class PathNotSupported(CallerMistake):
    """No operation has this method and path."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"'{method}' against '{path}' is not supported")


class EntityTooLarge(CallerMistake):
    """A body is over its limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"payload size exceeds maximum allowed size ({limit} bytes)")


class TargetTooLong(InvalidArgument):
    """A call's path and query are over their limit."""


class HeadersTooLarge(InvalidArgument):
    """A call's header lines are over their limit."""


class BodyTooLarge(EntityTooLarge):
    """An HTTP call's body is over its limit."""


class ExpectationFailed(CallerMistake):
    """The caller expects something that nobody here can promise."""

    def __init__(self, given: str) -> None:
        super().__init__(f"expect: got {given!r}, all that can be met is 100-continue")


class NotFound(CallerMistake):
    """Something that was named does not exist."""


class FunctionNotFound(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"function '{name}' does not exist")


class VersionNotFound(NotFound):
    def __init__(self, function: str, version: str) -> None:
        super().__init__(f"version '{version}' of function '{function}' does not exist")


class AliasNotFound(NotFound):
    def __init__(self, function: str, alias: str) -> None:
        super().__init__(f"alias '{alias}' of function '{function}' does not exist")


class TriggerNotFound(NotFound):
    def __init__(self, function: str, trigger: str) -> None:
        super().__init__(f"trigger '{trigger}' of function '{function}' does not exist")


class InstanceNotFound(NotFound):
    def __init__(self, instance: str) -> None:
        super().__init__(f"instance '{instance}' does not exist")


class ConcurrencyConfigNotFound(NotFound):
    def __init__(self, function: str) -> None:
        super().__init__(f"function '{function}' has no concurrency config")


class DomainNotFound(NotFound):
    def __init__(self, domain: str) -> None:
        super().__init__(f"domain name '{domain}' does not exist")


class DomainRouteNotFound(NotFound):
    """The domain is ours, but none of its routes has this path."""

    def __init__(self, domain: str, path: str) -> None:
        super().__init__(f"no route found in domain '{domain}' for path '{path}'")


class CollectorAway(SampanError):
    """Telemetry's own process does not answer."""

    def __init__(self) -> None:
        super().__init__(
            "the collector, which keeps telemetry, does not answer; try again in a moment, "
            "and if that does not help see `sampan status`"
        )


class TraceNotFound(NotFound):
    def __init__(self, id: str) -> None:
        super().__init__(f"no trace has the id '{id}', and none served a request of that id")


class RouteNotFound(NotFound):
    def __init__(self, host: str, path: str) -> None:
        super().__init__(f"no function is served at host '{host}', path '{path}'")


class AlreadyExists(CallerMistake):
    """Something of this name is there already."""


class FunctionAlreadyExists(AlreadyExists):
    def __init__(self, name: str) -> None:
        super().__init__(f"function '{name}' already exists")


class AliasAlreadyExists(AlreadyExists):
    def __init__(self, function: str, alias: str) -> None:
        super().__init__(f"alias '{alias}' of function '{function}' already exists")


class TriggerAlreadyExists(AlreadyExists):
    def __init__(self, function: str, trigger: str) -> None:
        super().__init__(f"trigger '{trigger}' of function '{function}' already exists")


class DomainAlreadyExists(AlreadyExists):
    def __init__(self, domain: str) -> None:
        super().__init__(f"domain name '{domain}' already exists")


class Conflict(CallerMistake):
    """The thing is in a state that forbids this."""


class ConcurrentUpdate(Conflict):
    def __init__(self, function: str) -> None:
        super().__init__(f"function '{function}' is being updated; try again when that update has ended")


class FunctionNotEmpty(Conflict):
    def __init__(self, function: str, what: str) -> None:
        super().__init__(f"function '{function}' has {what}; delete them first")


class VersionInUse(Conflict):
    def __init__(self, function: str, version: str, user: str) -> None:
        super().__init__(f"version '{version}' of function '{function}' is used by {user}; change that first")


class DomainRoutesHere(Conflict):
    """What a domain routes to goes only after the route: who takes the name next would get the domain's calls."""

    def __init__(self, what: str, domain: str, path: str) -> None:
        super().__init__(
            f"{what} is what domain '{domain}' routes '{path}' to; change that route or delete the domain first"
        )


class FunctionNotActive(Conflict):
    def __init__(self, function: str, state: str, reason: str = "") -> None:
        super().__init__(f"function '{function}' is {state}: {reason or 'no revision of it has become active yet'}")


class NothingToPublish(Conflict):
    def __init__(self, function: str, version: str) -> None:
        super().__init__(f"function '{function}' has not changed since version '{version}' was published")


class ScalingConfigClash(Conflict):
    def __init__(self, function: str, qualifier: str, other: str) -> None:
        super().__init__(f"function '{function}', qualifier '{qualifier}', has a {other} config; delete it first")


class LimitExceeded(CallerMistake):
    """A quota on the number of resources."""


class Denied(CallerMistake):
    """The caller may not do this."""


class InvalidAccessKey(Denied):
    def __init__(self, key: str) -> None:
        super().__init__(f"invalid access key ID '{key}'")


class SignatureMismatch(Denied):
    def __init__(self) -> None:
        super().__init__(
            "The request signature we calculated does not match the signature you provided. "
            "Check your access key and signing method"
        )


class RequestTimeSkewed(Denied):
    def __init__(self, given: str, now: str) -> None:
        super().__init__(
            f"the difference between the request time '{given}' and the current time '{now}' is too large"
        )


class NonceReplayed(Denied):
    def __init__(self) -> None:
        super().__init__("the signature nonce was used before; sign each request anew")


class TokenRefused(Denied):
    """A JSON web token is missing, or not to be trusted; which of the two is all that is told."""

    def __init__(self, missing: str = "") -> None:
        """missing: where it was looked for."""
        super().__init__(f"invalid or expired jwt{missing and f': there is none in {missing}'}")


class PasswordRefused(Denied):
    """No user of the function has this name and this password."""

    def __init__(self) -> None:
        super().__init__("access denied: user name and password are missing or wrong (Authorization: Basic …)")


class MissingHeader(CallerMistake):
    def __init__(self, name: str) -> None:
        super().__init__(f"required HTTP header {name} was not specified")


class SenderUnknown(Denied):
    """Telemetry is taken only from whom it can be attributed to."""

    def __init__(self, address: str) -> None:
        super().__init__(f"no instance of a function has the address {address}; only functions report here")


class InvocationDisabled(Denied):
    def __init__(self, function: str, reason: str) -> None:
        why = f": {reason}" if reason else ""
        super().__init__(f"invocations of function '{function}' are disabled{why}")


class ProtocolNotServed(Denied):
    def __init__(self, domain: str, protocol: str, served: str) -> None:
        super().__init__(f"domain '{domain}' does not answer {protocol}; use {served}")


class MethodNotAllowed(CallerMistake):
    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        self.allowed = allowed
        super().__init__(f"method {method} is not enabled on this trigger; enabled are {', '.join(allowed)}")


class RouteMethodNotAllowed(MethodNotAllowed):
    def __init__(self, method: str, allowed: tuple[str, ...], domain: str, path: str) -> None:
        self.allowed = allowed
        CallerMistake.__init__(
            self,
            f"method {method} is not enabled on route '{path}' of domain '{domain}'; enabled are "
            f"{', '.join(allowed)}",
        )


# ── a limit was reached ───────────────────────────────────────────────────────────────────────────────


class Throttled(SampanError):
    """A limit of the caller's own: 429. Names the limit."""

    def __init__(self, limit: str, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(limit)


class NoCapacity(SampanError):
    """The platform has no room: 503. Names what is short."""

    def __init__(self, what: str, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(what)


# ── a start failed, or the user's function did ────────────────────────────────────────────────────────


class FailureKind(Enum):
    """Why a sandbox could not be had, or ended. Travels between processes."""

    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_DENIED = "image_denied"
    IMAGE_WRONG_PLATFORM = "image_wrong_platform"
    IMAGE_INVALID = "image_invalid"
    IMAGE_PULL_FAILED = "image_pull_failed"
    DISK_FULL = "disk_full"
    NO_ROOM = "no_room"
    ENTRYPOINT_MISSING = "entrypoint_missing"
    EXITED = "exited"
    OUT_OF_MEMORY = "out_of_memory"
    PORT_NEVER_OPENED = "port_never_opened"
    INITIALIZER_FAILED = "initializer_failed"
    HEALTH_CHECK_FAILED = "health_check_failed"
    NO_SUCH_SANDBOX = "no_such_sandbox"
    ENGINE_FAILED = "engine_failed"


class Failure(msgspec.Struct, frozen=True):
    """One failure, as it travels and as it is shown."""

    kind: FailureKind
    message: str
    log_tail: str = ""  # the container's last lines, if it had any
    exit_code: int | None = None
    stages: tuple[Stage, ...] = ()  # of a start: what was done before it failed


class StartFailed(SampanError):
    """A sandbox could not be made ready."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


class ImageFailed(SampanError):
    """An image could not be found, read, fetched or pushed. An engine that needed it raises `StartFailed`."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        self.failure = Failure(kind, message)
        super().__init__(message)


class FunctionFailed(SampanError):
    """The user's function failed while it had a request."""


class FunctionExited(FunctionFailed):
    """Its process ended before it had answered; `failure` tells how, where that became known in time."""

    def __init__(self, milliseconds: int, failure: Failure | None = None) -> None:
        self.milliseconds, self.failure = milliseconds, failure
        how = f": {failure.message}" if failure is not None else ""
        super().__init__(f"Process exited unexpectedly before completing request (duration: {milliseconds}ms){how}")


class ConnectionClosed(FunctionFailed):
    """It closed the connection before it had answered, and lives."""

    def __init__(self, milliseconds: int) -> None:
        super().__init__(
            f"The function closed the connection before completing request (duration: {milliseconds}ms)"
        )


class FunctionTimedOut(FunctionFailed):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"Function time out after {seconds:g} seconds")


class BadResponse(FunctionFailed):
    """The function's answer breaks HTTP or a limit."""


class NotImplementedHere(SampanError):
    """HTTP has it, this platform does not."""

    def __init__(self, field: str, given: str, instead: str) -> None:
        super().__init__(f"{field}: {given!r} is not implemented; {instead}")


class HttpVersionNotSupported(SampanError):
    """A version of HTTP that is not spoken here."""

    def __init__(self, given: str = "") -> None:
        super().__init__(f"HTTP version{given and ' ' + given} is not spoken here; HTTP/1.1 and HTTP/1.0 are")


class PlatformFailed(SampanError):
    """Our own fault."""

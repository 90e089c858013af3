"""Every error as the outside sees it: one table from our errors to FC's statuses and codes.

Source: function-compute-api.md §3. Codes marked (ours) are not FC's own: FC has none for the case.
"""

import math

import msgspec

from sampan.model import errors as e
from sampan.model.errors import Failure, FailureKind

Answer = tuple[int, str]

ANSWERS: dict[type[BaseException], Answer] = {
    # the caller's mistake
    e.CallerMistake: (400, "InvalidArgument"),
    e.InvalidArgument: (400, "InvalidArgument"),
    e.Malformed: (400, "InvalidArgument"),
    e.NotSupported: (400, "NotSupported"),  # (ours)
    e.FieldNotSupported: (400, "NotSupported"),  # (ours)
    e.PathNotSupported: (400, "PathNotSupported"),
    e.EntityTooLarge: (400, "EntityTooLarge"),
    e.TargetTooLong: (414, "InvalidArgument"),  # RFC 9110 §15.5.15; FC's own calls get 400
    e.HeadersTooLarge: (431, "InvalidArgument"),  # RFC 6585 §5; likewise
    e.BodyTooLarge: (413, "EntityTooLarge"),  # RFC 9110 §15.5.14; likewise
    e.ExpectationFailed: (417, "ExpectationFailed"),  # (ours)
    e.LimitExceeded: (400, "LimitExceededError"),
    e.MissingHeader: (400, "MissingRequiredHeader"),
    e.MethodNotAllowed: (405, "MethodNotAllowed"),  # (ours)
    e.RouteMethodNotAllowed: (405, "MethodNotAllowed"),  # (ours)
    # what was named is not there
    e.NotFound: (404, "ResourceNotFound"),  # (ours)
    e.FunctionNotFound: (404, "FunctionNotFound"),
    e.VersionNotFound: (404, "VersionNotFound"),
    e.AliasNotFound: (404, "AliasNotFound"),
    e.TriggerNotFound: (404, "TriggerNotFound"),
    e.InstanceNotFound: (404, "InstanceNotFound"),  # (ours)
    e.ConcurrencyConfigNotFound: (404, "OnDemandConfigNotFound"),
    e.DomainNotFound: (404, "DomainNameNotFound"),
    e.DomainRouteNotFound: (404, "DomainRouteNotFound"),
    e.TraceNotFound: (404, "TraceNotFound"),  # (ours)
    e.RouteNotFound: (404, "DomainRouteNotFound"),
    # it is there, and that is in the way
    e.AlreadyExists: (409, "AlreadyExists"),  # (ours)
    e.FunctionAlreadyExists: (409, "FunctionAlreadyExists"),
    e.AliasAlreadyExists: (409, "AliasAlreadyExists"),
    e.TriggerAlreadyExists: (409, "TriggerAlreadyExists"),
    e.DomainAlreadyExists: (409, "DomainNameAlreadyExists"),
    e.Conflict: (409, "Conflict"),  # (ours)
    e.ConcurrentUpdate: (409, "ConcurrentUpdateError"),
    e.DomainRoutesHere: (409, "DomainRoutesHere"),  # (ours)
    e.FunctionNotActive: (409, "FunctionNotActive"),  # (ours)
    e.NothingToPublish: (409, "NothingToPublish"),  # (ours)
    e.ScalingConfigClash: (409, "ProvisionConfigExist"),
    e.FunctionNotEmpty: (409, "FunctionNotEmpty"),
    e.VersionInUse: (409, "VersionInUse"),  # (ours)
    # may not
    e.Denied: (403, "AccessDenied"),
    e.SenderUnknown: (403, "AccessDenied"),
    e.TokenRefused: (403, "AccessDenied"),
    e.PasswordRefused: (401, "AccessDenied"),  # (ours): 401 makes a browser ask
    e.InvalidAccessKey: (403, "InvalidAccessKeyID"),
    e.SignatureMismatch: (403, "SignatureNotMatch"),
    e.RequestTimeSkewed: (403, "RequestTimeTooSkewed"),
    e.NonceReplayed: (403, "SignatureNonceUsed"),  # (ours)
    e.ProtocolNotServed: (403, "AccessDenied"),
    e.InvocationDisabled: (403, "AccessDenied"),
    # a limit, the function, the platform
    e.Throttled: (429, "ResourceExhausted"),
    e.NoCapacity: (503, "ResourceThrottled"),
    e.CollectorAway: (503, "ServiceUnavailable"),
    e.StartFailed: (412, "FunctionNotStarted"),  # by its kind, see FAILURES
    e.ImageFailed: (412, "ImagePullFailed"),  # by its kind, too
    e.FunctionFailed: (502, "BadResponse"),
    e.FunctionExited: (502, "BadResponse"),
    e.ConnectionClosed: (502, "BadResponse"),
    e.FunctionTimedOut: (502, "BadResponse"),
    e.BadResponse: (502, "BadResponse"),
    e.NotImplementedHere: (501, "NotImplemented"),  # (ours)
    e.HttpVersionNotSupported: (505, "HttpVersionNotSupported"),  # (ours)
    e.PlatformFailed: (500, "InternalServerError"),
    e.SampanError: (500, "InternalServerError"),
}

FAILURES: dict[FailureKind, Answer] = {
    FailureKind.IMAGE_NOT_FOUND: (412, "ImageNotFound"),  # (ours), as all Image… codes
    FailureKind.IMAGE_DENIED: (412, "ImagePullDenied"),
    FailureKind.IMAGE_WRONG_PLATFORM: (412, "ImagePlatformMismatch"),
    FailureKind.IMAGE_INVALID: (412, "ImageInvalid"),
    FailureKind.IMAGE_PULL_FAILED: (412, "ImagePullFailed"),
    FailureKind.DISK_FULL: (503, "DiskFull"),  # (ours)
    FailureKind.NO_ROOM: (503, "ResourceThrottled"),
    FailureKind.ENTRYPOINT_MISSING: (412, "CAFileNotFound"),
    FailureKind.EXITED: (412, "CAExited"),
    FailureKind.OUT_OF_MEMORY: (412, "OutOfMemory"),  # (ours)
    FailureKind.PORT_NEVER_OPENED: (412, "FunctionNotStarted"),
    FailureKind.INITIALIZER_FAILED: (412, "InitializationError"),
    FailureKind.HEALTH_CHECK_FAILED: (412, "FunctionNotStarted"),
    FailureKind.NO_SUCH_SANDBOX: (500, "InternalServerError"),
    FailureKind.ENGINE_FAILED: (500, "InternalServerError"),
}


class Envelope(msgspec.Struct, frozen=True, rename="pascal"):
    """The body of every error."""

    code: str
    message: str
    request_id: str


_encode = msgspec.json.Encoder().encode


def answer(error: BaseException, request_id: str) -> tuple[int, str, bytes]:
    """Status, code and JSON body. An error that is none of ours says nothing of itself."""
    status, code = _answer_to(error)
    message = message_of(error) if isinstance(error, e.SampanError) else "internal error; see the platform's log"
    return status, code, _encode(Envelope(code, message, request_id))


def code_of(error: BaseException) -> str:
    """The code alone."""
    return _answer_to(error)[1]


def extra_headers(error: BaseException) -> list[tuple[str, str]]:
    """Headers that belong to the answer: when to try again, what would have been allowed."""
    if isinstance(error, e.Throttled | e.NoCapacity):
        return [
            ("retry-after", str(max(1, math.ceil(error.retry_after)))),
            ("x-acs-retry-after", str(max(1, math.ceil(error.retry_after * 1000)))),  # milliseconds
        ]
    if isinstance(error, e.MethodNotAllowed):
        return [("allow", ", ".join(error.allowed))]
    if isinstance(error, e.PasswordRefused):
        return [("www-authenticate", 'Basic realm="function", charset="UTF-8"')]  # RFC 7617
    return []


def message_of(error: e.SampanError) -> str:
    """What went wrong and, where a container failed, its last lines."""
    failure = error.failure if isinstance(error, e.StartFailed | e.ImageFailed | e.FunctionExited) else None
    return str(error) + (last_lines(failure) if failure is not None else "")


def last_lines(failure: Failure) -> str:
    """How a message goes on that tells a container's last lines; "" where there are none."""
    return f"\nLogs:\n{failure.log_tail}" if failure.log_tail else ""


def _answer_to(error: BaseException) -> Answer:
    if isinstance(error, e.StartFailed | e.ImageFailed):
        return FAILURES[error.failure.kind]
    return _answer_of(type(error))


def _answer_of(kind: type[BaseException]) -> Answer:
    for cls in kind.__mro__:
        if cls in ANSWERS:
            return ANSWERS[cls]
    return ANSWERS[e.SampanError]

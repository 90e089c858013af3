"""What a call can raise, named for what the caller can do about it."""

from collections.abc import Mapping

from sampan.model.errors import SampanError


class SdkError(SampanError):
    """Any error of the client."""


class NotConfigured(SdkError):
    """No endpoint or no access key was found. Says where one can be put."""


class UnsafeCredentials(NotConfigured):
    """The credentials file could be read by someone else, so it is not trusted."""


class Unreachable(SdkError):
    """No answer came: nobody listens at the endpoint, or the connection or a deadline broke."""

    def __init__(self, endpoint: str, why: str) -> None:
        self.endpoint, self.why = endpoint, why
        super().__init__(f"no answer from {endpoint}: {why}")


class BrokenOff(Unreachable):
    """The answer had begun, and broke off."""


class InvalidCall(SdkError):
    """The endpoint, a path or a header cannot be written into a request."""


class MissingPackage(SdkError):
    """Something optional is asked for that is not installed. Says how to install it."""

    def __init__(self, what: str, command: str) -> None:
        super().__init__(f"{what} is not installed; run: {command}")


class UnexpectedAnswer(SdkError):
    """Something answered, but not in the words of this API."""


class ApiError(SdkError):
    """The API refused or failed. Source: function-compute-api.md §3."""

    def __init__(
        self, code: str, status: int, message: str, request_id: str = "", retry_after: float | None = None
    ) -> None:
        self.code, self.status, self.message = code, status, message
        self.request_id = request_id
        self.retry_after = retry_after  # seconds; None: the answer named no time
        super().__init__(f"{code}: {message}")


class InvalidRequest(ApiError):
    """A field, a header or a size is not allowed. Sending the same again cannot help."""


class Denied(ApiError):
    """The access key, its signature or the function's own setting forbids this."""


class NotFound(ApiError):
    """Something that was named does not exist."""


class Conflict(ApiError):
    """The thing is in a state that forbids this."""


class AlreadyExists(Conflict):
    """Something of this name is there already."""


class StartFailed(ApiError):
    """No instance of the function could be made ready."""


class Throttled(ApiError):
    """A limit of the caller's own was reached."""


class PlatformFailed(ApiError):
    """The platform's own fault."""


class Unavailable(PlatformFailed):
    """The platform has no room or is not up yet."""


BY_STATUS: Mapping[int, type[ApiError]] = {
    400: InvalidRequest,
    401: Denied,
    403: Denied,
    404: NotFound,
    409: Conflict,
    412: StartFailed,
    429: Throttled,
    503: Unavailable,
}

BY_CODE: Mapping[str, type[ApiError]] = {
    "PreconditionFailed": Conflict,  # shares 412 with the failed starts
}


def api_error(
    code: str, status: int, message: str, request_id: str = "", retry_after: float | None = None
) -> ApiError:
    """The error of the family that `code` and `status` belong to."""
    family = BY_CODE.get(code) or BY_STATUS.get(status)
    if family is None:
        family = PlatformFailed if status >= 500 else InvalidRequest
    if family is Conflict and code.endswith("AlreadyExists"):
        family = AlreadyExists
    return family(code, status, message, request_id, retry_after)

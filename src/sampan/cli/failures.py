"""Every failure as a command ends with it: one table from errors to an exit code and a next step."""

from enum import IntEnum
from typing import NamedTuple

from sampan.model.errors import SampanError


class Code(IntEnum):
    """Exit codes. docs/cli.md tells them to users."""

    OK = 0
    FAILED = 1  # the function or the operation failed
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    UNREACHABLE = 5
    INTERRUPTED = 130


class CommandFailed(SampanError):
    """The command itself found a reason to stop."""

    def __init__(self, message: str, code: Code = Code.FAILED, hint: str = "") -> None:
        self.code, self.hint = code, hint
        super().__init__(message)


class Ending(NamedTuple):
    code: Code
    hint: str = ""


BY_API_CODE = {
    "FunctionNotFound": Ending(Code.NOT_FOUND, "`sampan ls` lists the functions there are"),
    "VersionNotFound": Ending(Code.NOT_FOUND, "`sampan describe NAME` lists the function's versions"),
    "AliasNotFound": Ending(Code.NOT_FOUND, "`sampan alias NAME` lists the function's aliases"),
    "TriggerNotFound": Ending(Code.NOT_FOUND, "`sampan deploy NAME` gives the function a URL"),
    "DomainNameNotFound": Ending(Code.NOT_FOUND, "`sampan domain ls` lists the domains there are"),
    "TraceNotFound": Ending(
        Code.NOT_FOUND, "just ended? It takes a second or two to arrive. `sampan traces` lists the traces there are"
    ),
    "DomainRoutesHere": Ending(Code.FAILED, "`sampan domain ls` shows who routes there"),
    "FunctionNotEmpty": Ending(Code.FAILED, "`sampan rm NAME --force` removes what is in the way first"),
    "FunctionNotActive": Ending(Code.FAILED, "`sampan describe NAME` shows why, or how far its image has come"),
    "ConcurrentUpdateError": Ending(Code.FAILED, "wait until `sampan describe NAME` shows the update has ended"),
    "VersionInUse": Ending(Code.FAILED, "point its user elsewhere first: `sampan alias NAME ALIAS VERSION`"),
    "InvalidAccessKeyID": Ending(Code.DENIED, "`sampan config` shows which access key is used, and why"),
    "SignatureNotMatch": Ending(Code.DENIED, "`sampan config` shows which access key is used, and why"),
    "RequestTimeTooSkewed": Ending(Code.DENIED, "set this machine's clock"),
    "ResourceExhausted": Ending(
        Code.FAILED, "a limit was reached; `sampan deploy NAME --max N` raises the function's"
    ),
    "ResourceThrottled": Ending(Code.FAILED, "the machine is full; `sampan instances NAME` shows what runs"),
    "ImageNotFound": Ending(
        Code.FAILED, "`sampan images` lists what is here; `sampan import` brings an archive in"
    ),
    "ImagePullDenied": Ending(Code.FAILED, "log in with --registry-user and --registry-password-stdin"),
    "ImagePlatformMismatch": Ending(Code.FAILED, "build the image for this machine: `docker build --platform`"),
    "FunctionNotStarted": Ending(Code.FAILED, "does it listen on the port given by --port? `sampan logs NAME`"),
    "OutOfMemory": Ending(Code.FAILED, "give it more: `sampan deploy NAME --memory MB`"),
    "CAExited": Ending(Code.FAILED, "`sampan logs NAME` shows what it wrote before"),
    "CAFileNotFound": Ending(Code.FAILED, "check --entrypoint and --command"),
}

BY_FAMILY = {
    "UnsafeCredentials": Ending(Code.DENIED),
    "NotConfigured": Ending(
        Code.UNREACHABLE, "is the platform running? `sampan up` starts it; else see `sampan config`"
    ),
    "Unreachable": Ending(Code.UNREACHABLE, "is it running? `sampan up` starts it, `sampan status` looks"),
    "InvalidCall": Ending(Code.USAGE),
    "UnexpectedAnswer": Ending(Code.UNREACHABLE, "`sampan config` shows which endpoint is asked"),
    "NotFound": Ending(Code.NOT_FOUND),
    "Denied": Ending(Code.DENIED),
    "StartFailed": Ending(Code.FAILED, "`sampan logs NAME` and `sampan describe NAME` say more"),
    "Unavailable": Ending(Code.UNREACHABLE, "`sampan status` shows what runs"),
    "PlatformFailed": Ending(Code.FAILED, "the platform's own log says more; `sampan status` shows what runs"),
    "InvalidRequest": Ending(Code.FAILED),
    "CannotRun": Ending(Code.FAILED),  # serve/machine; its sentence says what to do
    "BadSettings": Ending(Code.USAGE, "docs/settings.md lists the settings"),
}


def ending(error: Exception) -> Ending | None:
    """How a command ends that raised `error`; None for a fault of ours, which should show its traceback."""
    if isinstance(error, CommandFailed):
        return Ending(error.code, error.hint)
    known = BY_API_CODE.get(getattr(error, "code", ""))
    if known is not None:
        return known
    for family in type(error).__mro__:
        if family.__name__ in BY_FAMILY:
            return BY_FAMILY[family.__name__]
    return Ending(Code.FAILED) if isinstance(error, SampanError) else None


def tell(error: Exception, end: Ending, function: str) -> None:
    """The error, its request and the next step, on stderr. `function`: stands in for NAME where it is known."""
    from sampan.cli.screen import err, printable, say

    message, _, log = (getattr(error, "message", "") or str(error)).partition("\nLogs:\n")
    code = getattr(error, "code", "")
    label = f"{code}: " if isinstance(code, str) and code else ""
    err().print(f"error: {label}{printable(message)}", style="red")
    if log:
        say("its last output:", style="dim")
        for line in log.splitlines():
            say(f"  │ {printable(line)}", style="dim")
    if request := getattr(error, "request_id", ""):
        say(f"request {request}", style="dim")
    if end.hint:
        say(f"→ {end.hint.replace('NAME', function) if function else end.hint}", style="yellow")

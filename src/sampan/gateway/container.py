"""What the platform tells a container with each request.

Source: container-contract.md A2.1: names and order as observed; values that do not apply are sent empty.
"""

from sampan.link.messages import ServedVersion
from sampan.wire.headers import function_headers

HTTP_CALL = "/http-invoke"
EVENT_CALL = "/invoke"

_NOT_APPLICABLE = (
    "X-Fc-Access-Key-Id",
    "X-Fc-Access-Key-Secret",
    "X-Fc-Security-Token",
    "X-Fc-Service-Name",
    "X-Fc-Service-Logproject",
    "X-Fc-Service-Logstore",
    "X-Fc-Api-Server-Ip",
    "X-Fc-Eagleeye-Traceid",
    "X-Fc-Eagleeye-Rpcid",
    "X-Fc-Eagleeye-Userdata",
)


def container_headers(
    account: str, region: str, version: ServedVersion, qualifier: str, control_path: str
) -> bytes:
    """The header lines that are the same for every request of this version under this qualifier."""
    told = function_headers(account, region, version, qualifier, control_path)
    told |= {"X-Fc-Retry-Count": "0"} | dict.fromkeys(_NOT_APPLICABLE, "")
    lines = [f"{name}: {value}\r\n" for name, value in told.items()]
    return "".join(lines).encode("latin-1", "replace")

"""What a container is told of the version it runs. Source: container-contract.md A2.1."""

from sampan.model.image import Image, ImageConfig
from sampan.model.names import version_key
from sampan.model.version import Version
from sampan.wire.headers import function_headers


def _version(version: str, **given: str) -> Version:
    image = Image("local/web:1", "sha256:" + "0" * 64, ImageConfig())
    return Version(version_key("web", version, 1), "web", version, image, memory_mb=640, timeout=2.5, **given)


def test_a_published_version_is_told_its_number() -> None:
    assert function_headers("17", "local", _version("3", handler="index.handler"), "live", "/http-invoke") == {
        "X-Fc-Control-Path": "/http-invoke",
        "X-Fc-Function-Name": "web",
        "X-Fc-Function-Handler": "index.handler",
        "X-Fc-Function-Memory": "640",
        "X-Fc-Function-Timeout": "2.5",
        "X-Fc-Region": "local",
        "X-Fc-Account-Id": "17",
        "X-Fc-Qualifier": "live",
        "X-Fc-Version-Id": "3",
    }


def test_the_latest_version_has_no_number() -> None:
    told = function_headers("17", "local", _version("LATEST"), "LATEST", "/initialize")
    assert (told["X-Fc-Qualifier"], told["X-Fc-Version-Id"]) == ("LATEST", "")


def test_a_value_cannot_begin_another_header() -> None:
    told = function_headers("17", "local", _version("LATEST", handler="a\r\nX-Fc-Region: far"), "LATEST", "/invoke")
    assert told["X-Fc-Function-Handler"] == "aX-Fc-Region: far"

"""The platform's own log: one line an event, and no secret in any."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from rich.pretty import pretty_repr

from sampan.catalog.configuration import Configuration
from sampan.engine.engine import SandboxSpec
from sampan.model.access import AccessKey
from sampan.model.domain import Certificate
from sampan.model.image import Image, ImageConfig, RegistryAuth
from sampan.model.names import InstanceId, version_key
from sampan.model.secret import HIDDEN, Secret
from sampan.model.trigger import Basic, Bearer, Jwt
from sampan.model.version import Version
from sampan.sdk.config import Credentials, Found
from sampan.settings import Settings, Telemetry
from sampan.telemetry.logs import FORMATS, Log
from sampan.wire.domain_shapes import AuthConfig, CertConfig
from sampan.wire.shapes import (
    CreateFunctionInput,
    CustomContainerConfig,
    HttpTriggerConfig,
    RegistryAuthConfig,
    UpdateTriggerInput,
)

HUSH = "t0p-s3cret"
IMAGE = Image("web", "sha256:1", ImageConfig())
GUARDED = [
    AccessKey("id", HUSH, "1"),
    RegistryAuth("ann", HUSH),
    Certificate("c", "chain", HUSH),
    Jwt(HUSH, ()),
    Basic((("ann", HUSH),)),
    Bearer((HUSH,)),
    Version(version_key("web", "LATEST", 1), "web", "LATEST", IMAGE, environment={"KEY": HUSH}),
    SandboxSpec(InstanceId("c-1"), IMAGE, ("/x",), 80, env={"KEY": HUSH}),
    Configuration(CustomContainerConfig(), 1.0, 512, environment={"KEY": HUSH}),
    Credentials("http://x", access_key_id="id", access_key_secret=HUSH),
    Found(HUSH, "argument"),
    RegistryAuthConfig(user_name="ann", password=HUSH),
    CreateFunctionInput(function_name="web", environment_variables={"KEY": HUSH}),
    UpdateTriggerInput(trigger_config=HUSH),
    HttpTriggerConfig(auth_config=HUSH),
    CertConfig(cert_name="c", private_key=HUSH),
    AuthConfig(auth_info=HUSH),
]


@pytest.fixture(params=list(FORMATS))
def said(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What a room says, in each form."""
    with saying(request.param) as said:
        yield said


@contextmanager
def saying(form: str) -> Iterator[io.StringIO]:
    said = io.StringIO()
    handler, room = logging.StreamHandler(said), logging.getLogger("room")
    handler.setFormatter(FORMATS[form]("control"))
    room.addHandler(handler)
    room.setLevel("DEBUG")
    yield said
    room.removeHandler(handler)


@pytest.mark.parametrize("held", GUARDED, ids=lambda held: type(held).__name__)
def test_a_struct_shows_its_names_and_no_secret(held: msgspec.Struct, said: io.StringIO) -> None:
    Log("room").info("made", what=held, several=[held], deep={"x": (held,)})
    try:
        raise ValueError(held, f"{held}", repr(held))
    except ValueError as error:
        Log("room").failure("it broke", error, held=held)
    shown = said.getvalue() + pretty_repr(held) + f"{held} {held!r}" + str([held])
    assert HUSH not in shown
    assert HIDDEN in shown
    assert type(held).__name__ in shown


@pytest.mark.parametrize("held", GUARDED, ids=lambda held: type(held).__name__)
def test_what_travels_is_what_it_was(held: msgspec.Struct) -> None:
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(held), type=type(held))
    assert again == held
    assert HUSH in msgspec.json.encode(held).decode()


def test_what_is_absent_is_shown_as_absent() -> None:
    assert repr(RegistryAuth("ann")) == "RegistryAuth(username='ann', password='', insecure=False, ca_pem='')"
    assert repr(AccessKey("id", HUSH, "1")) == "AccessKey(id='id', secret=•••, account='1')"
    assert (
        repr(CreateFunctionInput(environment_variables={"A": "1"})).count("environment_variables={'A': •••}") == 1
    )


def test_a_secret_is_hidden_however_it_is_shown_and_is_what_it_is_otherwise() -> None:
    secret = Secret(HUSH)
    for shown in (str(secret), repr(secret), f"{secret}", f"{secret!r:>9}", "%s" % secret, f"{[secret]}"):  # noqa: UP031
        assert HUSH not in shown
        assert HIDDEN in shown
    assert secret == HUSH
    assert hash(secret) == hash(HUSH)
    assert secret.reveal() == HUSH
    assert type(secret.reveal()) is str
    assert secret.encode() == HUSH.encode()


def test_secrets_by_type_and_by_name_are_not_printed(said: io.StringIO) -> None:
    Log("room").warning(
        "refused", value=Secret(HUSH), password=HUSH, Authorization=HUSH, access_token=HUSH, tokens=3, secret=""
    )
    line = said.getvalue()
    assert HUSH not in line
    assert line.count(HIDDEN) == 4
    assert "tokens=3" in line or '"tokens":3' in line


def test_settings_do_not_show_what_a_backend_is_sent() -> None:
    assert HUSH not in repr(Settings(telemetry=Telemetry(otlp_headers=f"authorization={HUSH}")))


def test_an_event_is_one_line(said: io.StringIO) -> None:
    Log("room").info("plain", text="a b\nc", number=1.5, flag=True, none=None)
    assert said.getvalue().count("\n") == 1
    assert "1.5" in said.getvalue()


def test_json_has_members_that_programs_go_by() -> None:
    with saying("json") as said:
        Log("room").info("taken", instance="c-1", took_ms=12, role="x")
        Log("room").info("odd", text="\ud800", large=1 << 80)
        try:
            raise RuntimeError("boom")
        except RuntimeError as error:
            Log("room").failure("it broke", error)
    first, odd, last = map(json.loads, said.getvalue().splitlines())
    assert {name: first[name] for name in ("level", "role", "room", "event", "instance", "took_ms", "role_")} == {
        "level": "info",
        "role": "control",
        "room": "room",
        "event": "taken",
        "instance": "c-1",
        "took_ms": 12,
        "role_": "x",
    }
    assert (odd["text"], odd["large"]) == ("\\ud800", str(1 << 80))
    assert "RuntimeError: boom" in last["error"]


@pytest.mark.parametrize("form", FORMATS)
def test_the_log_is_set_up_in_the_form_asked_for(form: str) -> None:
    script = (
        "from sampan.telemetry.logs import Log, configure\n"
        f"configure('up', 'warning', {form!r}); Log('x').info('no'); Log('x').warning('yes')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert "yes" in done.stderr
    assert "no" not in done.stderr
    assert done.stderr.startswith("{") == (form == "json")

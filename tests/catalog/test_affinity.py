"""Session affinity as users ask for it. Source: function-compute-api.md §7.1, §7.12."""

import json

import pytest

from sampan.catalog import rules
from sampan.catalog.affinity import affinity
from sampan.catalog.configuration import first, merged
from sampan.catalog.plans import route, runnable
from sampan.model.affinity import Affinity, AffinityKind
from sampan.model.errors import FieldNotSupported, InvalidArgument
from sampan.wire.shapes import UpdateFunctionInput
from tests.catalog.making import active, function

HEADER = {"affinityHeaderFieldName": "My-Session"}


def asked(kind, config=None):
    text = None if config is None else json.dumps(config)
    return first(function(session_affinity=kind, session_affinity_config=text))


@pytest.mark.parametrize("kind", [None, "", "NONE"])
def test_none_asks_for_nothing(kind):
    configuration = asked(kind, {"sessionTTLInSeconds": 60})
    rules.configuration(configuration)
    assert affinity(configuration) is None


@pytest.mark.parametrize(
    ("kind", "config", "meant"),
    [
        ("GENERATED_COOKIE", None, Affinity(AffinityKind.COOKIE, 21600, 1800, 20)),
        ("GENERATED_COOKIE", {"sessionTTLInSeconds": 60}, Affinity(AffinityKind.COOKIE, 60, 60, 20)),
        (
            "GENERATED_COOKIE",
            {
                "sessionConcurrencyPerInstance": 200,
                "sessionTTLInSeconds": 21600,
                "sessionIdleTimeoutInSeconds": 0,
                "disableSessionIdReuse": True,
            },
            Affinity(AffinityKind.COOKIE, 21600, 0, 200, reuse=False),
        ),
        ("HEADER_FIELD", HEADER, Affinity(AffinityKind.HEADER, 21600, 1800, 20, "my-session")),
        (
            "HEADER_FIELD",
            {
                **HEADER,
                "sessionConcurrencyPerInstance": 1,
                "sessionTTLInSeconds": 1,
                "disableSessionIdReuse": False,
            },
            Affinity(AffinityKind.HEADER, 1, 1, 1, "my-session"),
        ),
    ],
)
def test_what_is_asked_for_is_carried_to_scheduler_and_gateways(kind, config, meant):
    configuration = asked(kind, config)
    rules.configuration(configuration)
    assert affinity(configuration) == meant


@pytest.mark.parametrize(
    ("member", "config"),
    [
        ("sessionConcurrencyPerInstance", {"sessionConcurrencyPerInstance": 0}),
        ("sessionConcurrencyPerInstance", {"sessionConcurrencyPerInstance": 201}),
        ("sessionTTLInSeconds", {"sessionTTLInSeconds": 0}),
        ("sessionTTLInSeconds", {"sessionTTLInSeconds": 21601}),
        ("sessionIdleTimeoutInSeconds", {"sessionIdleTimeoutInSeconds": -1}),
        ("sessionIdleTimeoutInSeconds", {"sessionIdleTimeoutInSeconds": 21601}),
        ("sessionIdleTimeoutInSeconds", {"sessionTTLInSeconds": 60, "sessionIdleTimeoutInSeconds": 61}),
        ("affinityHeaderFieldName", HEADER),
    ],
)
def test_what_a_cookies_config_cannot_be_is_refused_by_its_field(member, config):
    with pytest.raises(InvalidArgument) as refused:
        rules.configuration(asked("GENERATED_COOKIE", config))
    assert refused.value.field == f"sessionAffinityConfig.{member}"


@pytest.mark.parametrize(
    "name",
    [
        None, "four", "a" * 41, "1-session", "my session", "my-session\n", "séance", "X-Fc-Session",
        "Authorization", "Content-Length",
    ],
)  # fmt: skip
def test_a_header_that_cannot_name_sessions_is_refused(name):
    with pytest.raises(InvalidArgument) as refused:
        rules.configuration(asked("HEADER_FIELD", {"affinityHeaderFieldName": name}))
    assert refused.value.field == "sessionAffinityConfig.affinityHeaderFieldName"


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"sessionTTLInSeconds": "60"}', "\x00"])
def test_a_config_that_is_no_such_json_is_refused(text):
    given = first(function(session_affinity="GENERATED_COOKIE", session_affinity_config=text))
    with pytest.raises(Exception, match="sessionAffinityConfig"):
        rules.configuration(given)


@pytest.mark.parametrize("kind", ["MCP_SSE", "MCP_STREAMABLE_HTTP", "cookie"])
def test_a_kind_that_is_not_in_is_refused_with_those_that_are(kind):
    with pytest.raises(FieldNotSupported, match="'NONE', 'GENERATED_COOKIE', 'HEADER_FIELD'"):
        rules.configuration(asked(kind))


def test_what_an_update_does_not_name_stays():
    old = asked("HEADER_FIELD", HEADER)
    assert affinity(merged(old, UpdateFunctionInput(timeout=9))) == affinity(old)
    assert affinity(merged(old, UpdateFunctionInput(session_affinity="NONE"))) is None
    longer = UpdateFunctionInput(session_affinity_config=json.dumps({**HEADER, "sessionTTLInSeconds": 9}))
    changed = affinity(merged(old, longer))
    assert changed is not None
    assert (changed.kind, changed.ttl) == (AffinityKind.HEADER, 9)


async def test_it_reaches_the_plan_and_the_route(catalog):
    text = json.dumps(HEADER)
    made = await active(catalog, session_affinity="HEADER_FIELD", session_affinity_config=text)
    (served,) = route(made, catalog.defaults).versions
    assert served.affinity == Affinity(AffinityKind.HEADER, 21600, 1800, 20, "my-session")
    assert runnable("web", "LATEST", made.newest(), 300.0).affinity == served.affinity

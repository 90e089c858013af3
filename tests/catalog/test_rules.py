import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.catalog import rules
from sampan.catalog.configuration import first, merged, resources
from sampan.model.errors import FieldNotSupported, InvalidArgument, LimitExceeded
from sampan.wire.shapes import (
    CustomContainerConfig,
    HealthCheckConfig,
    HttpTriggerConfig,
    InstanceLifecycleConfig,
    LifecycleHook,
    RegistryAuthConfig,
    RegistryConfig,
    Tag,
    TracingConfig,
    UpdateFunctionInput,
)
from tests.catalog.making import function


def checked(**members):
    configuration = first(function(**members))
    rules.configuration(configuration)
    return configuration


REFUSED = [
    ("cpu", {"cpu": 0.33, "memory_size": 512}),
    ("cpu", {"cpu": 16.05, "memory_size": 32768}),
    ("cpu", {"cpu": 0.0}),
    ("memorySize", {"memory_size": 100}),
    ("memorySize", {"memory_size": 32832}),
    ("memorySize", {"memory_size": 65}),
    ("memorySize", {"cpu": 1, "memory_size": 512}),
    ("memorySize", {"cpu": 0.1, "memory_size": 512}),
    ("diskSize", {"disk_size": 1024}),
    ("timeout", {"timeout": 0}),
    ("timeout", {"timeout": 86401}),
    ("instanceConcurrency", {"instance_concurrency": 0}),
    ("instanceConcurrency", {"instance_concurrency": 201}),
    ("idleTimeout", {"idle_timeout": 0}),
    ("environmentVariables.FC_X", {"environment_variables": {"FC_X": "1"}}),
    ("environmentVariables.1X", {"environment_variables": {"1X": "1"}}),
    ("environmentVariables", {"environment_variables": {"X": "é" * 2048}}),
    ("environmentVariables.X", {"environment_variables": {"X": "a\0b"}}),
    ("customContainerConfig.image", {"image": ""}),
    ("customContainerConfig.image", {"image": "a b"}),
    ("customContainerConfig.port", {"container": {"port": 0}}),
    ("customContainerConfig.port", {"container": {"port": 65536}}),
    ("tracingConfig.type", {"tracing_config": TracingConfig("Zipkin", {"endpoint": "http://z:9411"})}),
    ("tracingConfig.params.endpoint", {"tracing_config": TracingConfig("Jaeger", {"endpoint": "jaeger:14268"})}),
    ("tracingConfig.params.samplingRate", {"tracing_config": TracingConfig("Jaeger", {"samplingRate": "101"})}),
]
HEALTH = [
    ("httpGetUrl", {"http_get_url": "health"}),
    ("httpGetUrl", {"http_get_url": "/" + "a" * 2048}),
    ("initialDelaySeconds", {"initial_delay_seconds": 121}),
    ("periodSeconds", {"period_seconds": 0}),
    ("timeoutSeconds", {"timeout_seconds": 4}),
    ("failureThreshold", {"failure_threshold": 121}),
    ("successThreshold", {"success_threshold": 0}),
]


@pytest.mark.parametrize(("field", "members"), REFUSED)
def test_a_value_out_of_range_is_refused_and_the_error_names_its_field(field, members):
    with pytest.raises(InvalidArgument) as refused:
        checked(**members)
    assert refused.value.field == field


@pytest.mark.parametrize(("field", "members"), HEALTH)
def test_a_health_check_out_of_range_is_refused(field, members):
    health = HealthCheckConfig(**{"http_get_url": "/", **members})
    with pytest.raises(InvalidArgument) as refused:
        checked(container={"health_check_config": health})
    assert refused.value.field.endswith(field)


@pytest.mark.parametrize(
    ("hook", "config"),
    [
        ("initializer", LifecycleHook(handler="x", timeout=301)),
        ("initializer", LifecycleHook(handler="x", command=("y",))),
        ("pre_stop", LifecycleHook(handler="x", timeout=91)),
        ("pre_stop", LifecycleHook(command=("y",))),
    ],
)
def test_a_hook_out_of_range_is_refused(hook, config):
    with pytest.raises(InvalidArgument):
        checked(instance_lifecycle_config=InstanceLifecycleConfig(**{hook: config}))


def test_a_hook_with_empty_handler_and_command_is_switched_off():
    on = checked(
        instance_lifecycle_config=InstanceLifecycleConfig(initializer=LifecycleHook(handler="x", timeout=5))
    )
    off = UpdateFunctionInput(
        instance_lifecycle_config=InstanceLifecycleConfig(initializer=LifecycleHook(handler="", command=()))
    )
    assert on.lifecycle.initializer is not None
    assert merged(on, off).lifecycle.initializer is None


@pytest.mark.parametrize(
    "members",
    [
        {"code": {"zipFile": "x"}},
        {"vpc_config": {"vpcId": "vpc-1"}},
        {"gpu_config": {"gpuType": "t", "gpuMemorySize": 1024}},
        {"layers": ("acs:fc:…",)},
        {"nas_config": {"mountPoints": [{"mountDir": "/mnt"}]}},
        {"instance_isolation_mode": "SESSION_EXCLUSIVE"},
    ],
)
def test_what_cannot_be_honoured_is_refused(members):
    with pytest.raises(FieldNotSupported):
        checked(**members)


def test_an_empty_config_asks_for_nothing():
    checked(vpc_config={"vpcId": "", "vSwitchIds": []}, nas_config={"userId": -1, "mountPoints": []}, layers=())


def test_another_runtime_is_refused():
    with pytest.raises(FieldNotSupported, match=r"runtime.*python3.*custom-container"):
        merged(checked(), UpdateFunctionInput(runtime="python3.12"))


def test_without_cpu_and_memory_the_command_lines_defaults_hold():
    configuration = checked()
    assert (configuration.cpu, configuration.memory_size) == (0.35, 512)


@given(st.integers(2, 512).map(lambda steps: steps * 64))
def test_memory_alone_gets_a_cpu_that_is_allowed(memory):
    rules.configuration(checked(memory_size=memory))


@given(st.integers(2, 320).map(lambda steps: steps / 20))
def test_cpu_alone_gets_a_memory_that_is_allowed(cpu):
    rules.configuration(checked(cpu=cpu))


@given(st.one_of(st.integers(), st.none()), st.one_of(st.floats(allow_nan=False), st.none()))
def test_any_numbers_get_an_answer_or_a_refusal(memory, cpu):
    try:
        rules.configuration(checked(memory_size=memory, cpu=cpu))
    except InvalidArgument:
        return
    given_cpu, given_memory = resources(cpu, memory)
    assert given_cpu <= given_memory / 1024 * (1 + 1e-9) <= 4 * given_cpu * (1 + 1e-6)


def test_an_update_keeps_what_it_does_not_name():
    old = checked(container={"port": 80, "command": ("-v",)}, environment_variables={"A": "1"}, timeout=9)
    new = merged(old, UpdateFunctionInput(custom_container_config=CustomContainerConfig(image="nginx:2")))
    assert new.container.image == "nginx:2"
    assert (new.container.port, new.container.command) == (80, ("-v",))
    assert (new.environment, new.timeout) == ({"A": "1"}, 9)


def test_a_reply_sent_back_keeps_the_registrys_password():
    auth = RegistryAuthConfig(user_name="me", password="secret")
    old = checked(container={"registry_config": RegistryConfig(auth_config=auth)})
    back = RegistryConfig(auth_config=RegistryAuthConfig(user_name="me"))
    update = UpdateFunctionInput(custom_container_config=CustomContainerConfig(registry_config=back))
    assert merged(old, update) == old
    other = RegistryConfig(auth_config=RegistryAuthConfig(user_name="you"))
    update = UpdateFunctionInput(custom_container_config=CustomContainerConfig(registry_config=other))
    assert merged(old, update).container.registry_config.auth_config.password is None
    assert "secret" not in repr(old)


@pytest.mark.parametrize("name", ["", "1a", "-a", "a.b", "a" * 65, "ü", "a\n", None])
def test_a_bad_function_name_is_refused(name):
    with pytest.raises(InvalidArgument):
        rules.function_name(name)


@pytest.mark.parametrize("name", ["a", "_a-9", "a" * 64])
def test_a_good_function_name_is_taken(name):
    assert rules.function_name(name) == name


@pytest.mark.parametrize("name", ["LATEST", "latest", "7", ""])
def test_an_alias_cannot_look_like_a_version(name):
    with pytest.raises(InvalidArgument):
        rules.alias_name(name)


@pytest.mark.parametrize(
    "weights", [{"1": 0.5}, {"2": -0.1}, {"2": 1.1}, {"2": 0.6, "3": 0.6}, {"LATEST": 0.1}, {"prod": 0.1}]
)
def test_bad_weights_are_refused(weights):
    with pytest.raises(InvalidArgument):
        rules.weights("1", weights)


@pytest.mark.parametrize(
    "config",
    [
        HttpTriggerConfig(methods=("GET",), auth_type="jwt"),
        HttpTriggerConfig(methods=("GET",), auth_type="basic"),
        HttpTriggerConfig(methods=("TRACE",)),
        HttpTriggerConfig(methods=()),
        HttpTriggerConfig(),
    ],
)
def test_a_bad_http_trigger_is_refused(config):
    with pytest.raises((InvalidArgument, FieldNotSupported)):
        rules.http_trigger(config)


def test_an_http_trigger_is_signed_unless_it_says_anonymous():
    assert rules.http_trigger(HttpTriggerConfig(methods=("GET",))).auth_type == "function"


@pytest.mark.parametrize("key", ["", "aliyun-x", "acs:x", "a" * 65, "see http://x"])
def test_a_bad_tag_is_refused(key):
    with pytest.raises(InvalidArgument):
        rules.tags([Tag(key=key, value="v")])


def test_more_than_twenty_tags_are_refused():
    with pytest.raises(LimitExceeded):
        rules.tags([Tag(key=f"k{n}") for n in range(21)])

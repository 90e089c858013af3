"""The vendor's own SDK, unmodified, against our API on a loopback port."""

import json

import pytest
from alibabacloud_fc20230330 import models as fc
from alibabacloud_fc20230330.client import Client
from alibabacloud_tea_openapi.exceptions import AlibabaCloudException
from alibabacloud_tea_openapi.utils_models import Config

from sampan.model.errors import Failure, FailureKind
from sampan.model.instance import InstanceState, InstanceView
from tests.api.serving import IMAGE, served
from tests.catalog.certificates import Authority
from tests.wire.keys import issuer


@pytest.fixture
def api(tmp_path):
    with served(tmp_path) as running:
        yield running


@pytest.fixture
def client(api):
    return client_of(api)


def client_of(api, secret=None, endpoint=None):
    return Client(
        Config(
            access_key_id=api.key.id,
            access_key_secret=secret or api.key.secret,
            endpoint=endpoint or f"http://127.0.0.1:{api.port}",
            protocol="HTTP",
            region_id="local",
        )
    )


def image(name="nginx:1", **members):
    return fc.CustomContainerConfig(image=name, **members)


def create(client, name="web", **members):
    given = {"runtime": "custom-container", "handler": "x", "custom_container_config": image(), **members}
    return client.create_function(
        fc.CreateFunctionRequest(body=fc.CreateFunctionInput(function_name=name, **given))
    )


def update(client, name="web", **members):
    return client.update_function(name, fc.UpdateFunctionRequest(body=fc.UpdateFunctionInput(**members)))


def publish(client, name="web"):
    request = fc.PublishFunctionVersionRequest(body=fc.PublishVersionInput(description="a version"))
    return client.publish_function_version(name, request)


def alias(client, name="prod", version="1", weights=None):
    given = fc.CreateAliasInput(alias_name=name, version_id=version, additional_version_weight=weights)
    return client.create_alias("web", fc.CreateAliasRequest(body=given))


def http_trigger(name="http", qualifier=None, **config):
    text = json.dumps({"methods": ["GET", "POST"], "authType": "anonymous", **config})
    given = fc.CreateTriggerInput(trigger_name=name, trigger_type="http", trigger_config=text, qualifier=qualifier)
    return fc.CreateTriggerRequest(body=given)


def refused(code, status=None):
    """Expect the SDK to raise what FC's clients decide by."""

    class Expect:
        def __enter__(self):
            self.raises = pytest.raises(AlibabaCloudException)
            self.info = self.raises.__enter__()
            return self.info

        def __exit__(self, *error):
            done = self.raises.__exit__(*error)
            assert self.info.value.code == code, self.info.value
            assert self.info.value.request_id or self.info.value.data
            if status is not None:
                assert self.info.value.status_code == status
            return done

    return Expect()


@pytest.fixture
def web(api, client):
    create(client)
    api.roll_out()
    return client


def two_versions(api, client):
    publish(client)
    update(client, timeout=9)
    api.roll_out()
    publish(client)


def test_a_functions_life(api, client):
    made = create(
        client,
        description="mine",
        cpu=0.5,
        memory_size=1024,
        timeout=30,
        instance_concurrency=10,
        environment_variables={"A": "ü"},
        tags=[fc.Tag(key="team", value="blue")],
        custom_container_config=image(
            port=8080,
            command=["-v"],
            health_check_config=fc.CustomHealthCheckConfig(http_get_url="/health", period_seconds=5),
            registry_config=fc.RegistryConfig(
                auth_config=fc.RegistryAuthConfig(user_name="me", password="hush"),
            ),
        ),
        instance_lifecycle_config=fc.InstanceLifecycleConfig(
            initializer=fc.LifecycleHook(handler="init", timeout=60)
        ),
    )
    assert made.headers["x-fc-request-id"].startswith("1-")
    assert (made.body.state, made.body.last_update_status) == ("Pending", "Successful")
    assert made.body.function_arn == "acs:fc:local:1:functions/web"
    api.roll_out()
    found = client.get_function("web", fc.GetFunctionRequest()).body
    assert (found.state, found.cpu, found.memory_size, found.timeout) == ("Active", 0.5, 1024, 30)
    assert (found.instance_concurrency, found.environment_variables) == (10, {"A": "ü"})
    container = found.custom_container_config
    assert (container.image, container.port, container.command) == ("nginx:1", 8080, ["-v"])
    assert container.resolved_image_uri == f"nginx@{IMAGE.digest}"
    assert container.health_check_config.period_seconds == 5
    assert container.registry_config.auth_config.user_name == "me"
    assert container.registry_config.auth_config.password is None
    assert found.instance_lifecycle_config.initializer.timeout == 60
    assert [(tag.key, tag.value) for tag in found.tags] == [("team", "blue")]

    changed = update(client, timeout=60).body
    assert (changed.state, changed.last_update_status, changed.timeout) == ("Active", "InProgress", 60)
    with refused("ConcurrentUpdateError", 409):
        update(client, timeout=61)
    api.roll_out()
    assert client.get_function("web", fc.GetFunctionRequest()).body.last_update_status == "Successful"
    assert client.delete_function("web").status_code == 204
    with refused("FunctionNotFound", 404) as error:
        client.get_function("web", fc.GetFunctionRequest())
    assert "web" in error.value.message


def test_session_affinity_travels_there_and_back(api, client):
    header = fc.HeaderFieldSessionAffinityConfig(
        affinity_header_field_name="My-Session",
        session_concurrency_per_instance=5,
        session_ttlin_seconds=600,
        session_idle_timeout_in_seconds=60,
        disable_session_id_reuse=True,
    )
    text = json.dumps(header.to_map())
    made = create(client, session_affinity="HEADER_FIELD", session_affinity_config=text).body
    assert (made.session_affinity, made.session_affinity_config) == ("HEADER_FIELD", text)
    api.roll_out()
    cookie = json.dumps(fc.CookieSessionAffinityConfig(session_ttlin_seconds=60).to_map())
    update(client, session_affinity="GENERATED_COOKIE", session_affinity_config=cookie)
    api.roll_out()
    found = client.get_function("web", fc.GetFunctionRequest()).body
    assert (found.session_affinity, found.session_affinity_config) == ("GENERATED_COOKIE", cookie)
    update(client, session_affinity="NONE")
    with refused("NotSupported", 400) as error:
        create(client, "other", session_affinity="MCP_SSE")
    assert "sessionAffinity" in error.value.message
    with refused("InvalidArgument", 400):
        create(client, "other", session_affinity="HEADER_FIELD")


def test_a_failed_image_is_told_by_its_code(api, client):
    create(client)
    api.run(api.catalog.reject("web", 1, FailureKind.IMAGE_NOT_FOUND.value, "no such image"))
    found = client.get_function("web", fc.GetFunctionRequest()).body
    assert (found.state, found.state_reason_code, found.state_reason) == (
        "Failed",
        "ImageNotFound",
        "no such image",
    )


def test_a_function_exists_once(client):
    create(client)
    with refused("FunctionAlreadyExists", 409):
        create(client)


@pytest.mark.parametrize(
    ("code", "members"),
    [
        ("InvalidArgument", {"cpu": 0.33}),
        ("InvalidArgument", {"memory_size": 100}),
        ("InvalidArgument", {"environment_variables": {"FC_X": "1"}}),
        ("InvalidArgument", {"custom_container_config": None}),
        ("NotSupported", {"runtime": "python3.12", "custom_container_config": None}),
        ("NotSupported", {"vpc_config": fc.VPCConfig(vpc_id="vpc-1")}),
        ("NotSupported", {"gpu_config": fc.GPUConfig(gpu_type="fc.gpu.tesla.1", gpu_memory_size=1024)}),
    ],
)
def test_what_cannot_be_is_refused_with_a_code(client, code, members):
    with refused(code, 400):
        create(client, **members)


def test_functions_are_listed_in_pages(client):
    for name in ("a1", "a2", "a3", "b1"):
        create(client, name, tags=[fc.Tag(key="n", value=name)])
    first = client.list_functions(fc.ListFunctionsRequest(prefix="a", limit=2)).body
    assert [function.function_name for function in first.functions] == ["a1", "a2"]
    assert first.functions[0].state is None
    rest = client.list_functions(fc.ListFunctionsRequest(prefix="a", limit=2, next_token=first.next_token)).body
    assert ([function.function_name for function in rest.functions], rest.next_token) == (["a3"], None)
    tagged = client.list_functions(fc.ListFunctionsRequest(tags=[fc.Tag(key="n", value="b1")])).body
    assert [function.function_name for function in tagged.functions] == ["b1"]
    assert client.list_functions(fc.ListFunctionsRequest(runtime="python3.12")).body.functions == []
    with refused("InvalidArgument", 400):
        client.list_functions(fc.ListFunctionsRequest(limit=101))
    with refused("InvalidArgument", 400):
        client.list_functions(fc.ListFunctionsRequest(next_token="é"))


def test_a_containers_code_cannot_be_downloaded(web):
    with refused("InvalidArgument", 400) as error:
        web.get_function_code("web", fc.GetFunctionCodeRequest())
    assert "nginx:1" in error.value.message


def test_invocation_is_switched_off_and_on(api, web):
    given = fc.DisableFunctionInvocationRequest(reason="too dear")
    assert web.disable_function_invocation("web", given).body.success
    restriction = web.get_function("web", fc.GetFunctionRequest()).body.invocation_restriction
    assert (restriction.disable, restriction.reason) == (True, "too dear")
    assert api.run(api.catalog.route("web")).disabled == "too dear"
    assert web.enable_function_invocation("web").body.success
    assert not web.get_function("web", fc.GetFunctionRequest()).body.invocation_restriction.disable
    assert web.disable_function_invocation("web", fc.DisableFunctionInvocationRequest()).body.success


def test_versions(api, web):
    assert publish(web).body.version_id == "1"
    with refused("NothingToPublish", 409):
        publish(web)
    update(web, timeout=9)
    api.roll_out()
    publish(web)
    listed = web.list_function_versions("web", fc.ListFunctionVersionsRequest(limit=1)).body
    assert [version.version_id for version in listed.versions] == ["2"]
    token = listed.next_token
    listed = web.list_function_versions("web", fc.ListFunctionVersionsRequest(limit=1, next_token=token)).body
    assert ([version.version_id for version in listed.versions], listed.next_token) == (["1"], None)
    oldest = web.list_function_versions("web", fc.ListFunctionVersionsRequest(direction="FORWARD")).body
    assert [version.version_id for version in oldest.versions] == ["1", "2"]
    assert web.get_function("web", fc.GetFunctionRequest(qualifier="1")).body.timeout == 3
    alias(web)
    with refused("VersionInUse", 409):
        web.delete_function_version("web", "1")
    web.delete_function_version("web", "2")
    with refused("VersionNotFound", 404):
        web.delete_function_version("web", "2")


def test_aliases(api, web):
    two_versions(api, web)
    assert alias(web, weights={"2": 0.25}).body.additional_version_weight == {"2": 0.25}
    with refused("AliasAlreadyExists", 409):
        alias(web)
    with refused("VersionNotFound", 404):
        alias(web, "next", "3")
    changed = web.update_alias(
        "web", "prod", fc.UpdateAliasRequest(body=fc.UpdateAliasInput(version_id="2", additional_version_weight={}))
    ).body
    assert (changed.version_id, changed.additional_version_weight) == ("2", None)
    assert web.get_alias("web", "prod").body.version_id == "2"
    alias(web, "beta")
    listed = web.list_aliases("web", fc.ListAliasesRequest(limit=1)).body
    assert [one.alias_name for one in listed.aliases] == ["beta"]
    assert listed.next_token
    with refused("FunctionNotEmpty", 409):
        web.delete_function("web")
    web.delete_alias("web", "prod")
    with refused("AliasNotFound", 404):
        web.get_alias("web", "prod")


def test_an_alias_moves_only_when_the_new_version_is_ready(api, web):
    two_versions(api, web)
    alias(web)
    api.rooms.not_ready = Failure(FailureKind.EXITED, "exited with code 1", "Traceback: boom")
    moved = fc.UpdateAliasRequest(body=fc.UpdateAliasInput(version_id="2"))
    with refused("CAExited", 412) as error:
        web.update_alias("web", "prod", moved)
    assert "boom" in error.value.message
    assert web.get_alias("web", "prod").body.version_id == "1"
    api.rooms.not_ready = None
    assert web.update_alias("web", "prod", moved).body.version_id == "2"
    assert api.rooms.shifted == [["web@1#1"], ["web@2#2"], ["web@2#2"]]


def test_triggers(web):
    made = web.create_trigger("web", http_trigger()).body
    assert made.http_trigger.url_internet == "http://web.localhost:9000"
    assert json.loads(made.trigger_config)["authType"] == "anonymous"
    assert made.qualifier == "LATEST"
    with refused("TriggerAlreadyExists", 409):
        web.create_trigger("web", http_trigger())
    with refused("Conflict", 409):
        web.create_trigger("web", http_trigger("other"))
    publish(web)
    alias(web)
    assert (
        web.create_trigger("web", http_trigger("prod", "prod")).body.http_trigger.url_internet
        == "http://prod--web.localhost:9000"
    )
    config = json.dumps({"methods": ["GET"], "authType": "function", "disableURLInternet": True})
    changed = web.update_trigger(
        "web", "http", fc.UpdateTriggerRequest(body=fc.UpdateTriggerInput(trigger_config=config))
    ).body
    assert json.loads(changed.trigger_config) == {
        "methods": ["GET"],
        "authType": "function",
        "disableURLInternet": True,
    }
    assert web.get_trigger("web", "http").body.trigger_id == made.trigger_id
    names = [trigger.trigger_name for trigger in web.list_triggers("web", fc.ListTriggersRequest()).body.triggers]
    assert names == ["http", "prod"]
    with refused("FunctionNotEmpty", 409):
        web.delete_function("web")
    web.delete_trigger("web", "http")
    with refused("TriggerNotFound", 404):
        web.get_trigger("web", "http")


def test_a_trigger_with_jwt_and_cors_comes_back_as_it_was_given(web):
    checked = {
        "JWKS": {"keys": [issuer("RSA").named("one", alg="RS256", use="sig")]},
        "TokenLookup": "header:Authorization:Bearer,cookie:AuthorizationCookie",
        "ClaimPassBy": "query:uid:uid,header:name:name",
    }
    rules = {
        "allowOrigins": ["https://app.example.org", "https://*"],
        "allowMethods": ["GET", "PUT"],
        "allowHeaders": ["x-token"],
        "exposeHeaders": ["x-total"],
        "allowCredentials": True,
        "maxAge": 600,
    }
    config = {"authType": "jwt", "authConfig": json.dumps(checked), "corsConfig": rules}
    made = web.create_trigger("web", http_trigger(**config)).body
    assert json.loads(made.trigger_config) == {"methods": ["GET", "POST"], "disableURLInternet": False, **config}
    again = web.get_trigger("web", "http").body
    typed = fc.HTTPTriggerConfig().from_map(json.loads(again.trigger_config))
    assert (typed.auth_type, json.loads(typed.auth_config)) == ("jwt", checked)
    unchanged = fc.UpdateTriggerInput(trigger_config=again.trigger_config)
    web.update_trigger("web", "http", fc.UpdateTriggerRequest(body=unchanged))
    assert web.get_trigger("web", "http").body.trigger_config == made.trigger_config


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("bearer", {"tokens": [{"enable": True, "tokenData": "t" * 32, "tokenName": "one"}]}),
        ("basic", {"users": [{"username": "me", "password": "hush"}]}),
    ],
)
def test_a_trigger_with_tokens_or_passwords_comes_back_as_it_was_given(web, kind, config):
    web.create_trigger("web", http_trigger(authType=kind, authConfig=json.dumps(config)))
    kept = json.loads(web.get_trigger("web", "http").body.trigger_config)
    assert (kept["authType"], json.loads(kept["authConfig"])) == (kind, config)


@pytest.mark.parametrize(
    ("code", "kind", "config"),
    [
        ("NotSupported", "timer", "{}"),
        ("InvalidArgument", "http", '{"methods":["GET"],"authType":"jwt"}'),
        ("InvalidArgument", "http", '{"methods":["FETCH"]}'),
        ("InvalidArgument", "http", '{"methods":["GET"],"corsConfig":{"allowOrigins":["https://*.a.org"]}}'),
        ("InvalidArgument", "http", "no json"),
        ("InvalidArgument", "http", '{"methods":"GET"}'),
    ],
)
def test_triggers_that_cannot_be(web, code, kind, config):
    given = fc.CreateTriggerInput(trigger_name="t", trigger_type=kind, trigger_config=config)
    with refused(code, 400):
        web.create_trigger("web", fc.CreateTriggerRequest(body=given))


def test_reserved_concurrency(web):
    with refused("OnDemandConfigNotFound", 404):
        web.get_concurrency_config("web")
    put = fc.PutConcurrencyConfigRequest(body=fc.PutConcurrencyInput(reserved_concurrency=90))
    assert web.put_concurrency_config("web", put).body.reserved_concurrency == 90
    with refused("InvalidArgument", 400) as error:
        over = fc.PutConcurrencyInput(reserved_concurrency=91)
        web.put_concurrency_config("web", fc.PutConcurrencyConfigRequest(body=over))
    assert "90" in error.value.message
    assert web.get_concurrency_config("web").body.reserved_concurrency == 90
    assert len(web.list_concurrency_configs(fc.ListConcurrencyConfigsRequest()).body.configs) == 1
    web.delete_concurrency_config("web")
    with refused("OnDemandConfigNotFound", 404):
        web.get_concurrency_config("web")


def test_provisioned_instances(api, web):
    get = fc.GetProvisionConfigRequest(qualifier="LATEST")
    assert web.get_provision_config("web", get).body.target == 0
    put = fc.PutProvisionConfigRequest(qualifier="LATEST", body=fc.PutProvisionConfigInput(default_target=3))
    api.rooms.instance_counts["web@LATEST#1"] = 2
    made = web.put_provision_config("web", put).body
    assert (made.default_target, made.target, made.current) == (3, 3, 2)
    listed = web.list_provision_configs(fc.ListProvisionConfigsRequest(function_name="web")).body
    assert [config.target for config in listed.provision_configs] == [3]
    web.delete_provision_config("web", fc.DeleteProvisionConfigRequest(qualifier="LATEST"))
    assert web.get_provision_config("web", get).body.target == 0
    with refused("AliasNotFound", 404):
        web.get_provision_config("web", fc.GetProvisionConfigRequest(qualifier="nope"))


def test_scaling_configs(web):
    put = fc.PutScalingConfigRequest(qualifier="LATEST", body=fc.PutScalingConfigInput(min_instances=2))
    assert web.put_scaling_config("web", put).body.target_instances == 2
    assert web.get_scaling_config("web", fc.GetScalingConfigRequest(qualifier="LATEST")).body.min_instances == 2
    assert len(web.list_scaling_configs(fc.ListScalingConfigsRequest()).body.scaling_configs) == 1
    with refused("ProvisionConfigExist", 409):
        given = fc.PutProvisionConfigInput(default_target=3)
        web.put_provision_config("web", fc.PutProvisionConfigRequest(qualifier="LATEST", body=given))
    web.delete_scaling_config("web", fc.DeleteScalingConfigRequest(qualifier="LATEST"))
    assert web.get_scaling_config("web", fc.GetScalingConfigRequest(qualifier="LATEST")).body.min_instances == 0


def test_instances_are_listed_and_filtered(api, web):
    for number, state in enumerate((InstanceState.READY, InstanceState.FROZEN, InstanceState.STARTING)):
        view = InstanceView(f"c-{number}", "web", "LATEST", 1, state, "10.0.0.1:80", 1, "", 1000 + number, 0)
        api.rooms.running.append(view)
    found = web.list_instances("web", fc.ListInstancesRequest()).body
    assert [(one.instance_id, one.version_id, one.status) for one in found.instances] == [
        ("c-0", "0", "Running"),
        ("c-1", "0", "Running"),
        ("c-2", "0", "Creating"),
    ]
    some = fc.ListInstancesRequest(instance_status=["Creating"], with_all_active=True)
    assert [one.instance_id for one in web.list_instances("web", some).body.instances] == ["c-2"]
    some = fc.ListInstancesRequest(instance_ids=["c-1"])
    assert [one.instance_id for one in web.list_instances("web", some).body.instances] == ["c-1"]


def test_tags(web):
    arn = "acs:fc:local:1:functions/web"
    put = fc.TagResourcesInput(
        resource_id=[arn], resource_type="function", tag=[fc.Tag(key="a", value="1"), fc.Tag(key="b", value="2")]
    )
    assert web.tag_resources(fc.TagResourcesRequest(body=put)).status_code == 204
    listed = web.list_tag_resources(
        fc.ListTagResourcesRequest(resource_id=[arn], resource_type="function", limit=1)
    ).body
    assert [(one.tag_key, one.tag_value) for one in listed.tag_resources] == [("a", "1")]
    assert listed.next_token
    web.untag_resources(fc.UntagResourcesRequest(resource_id=[arn], resource_type="function", tag_key=["a"]))
    some = fc.ListTagResourcesRequest(resource_id=[arn], resource_type="function")
    assert [one.tag_key for one in web.list_tag_resources(some).body.tag_resources] == ["b"]
    web.untag_resources(fc.UntagResourcesRequest(resource_id=[arn], resource_type="function", all=True))
    assert web.list_tag_resources(some).body.tag_resources == []
    with refused("FunctionNotFound", 404):
        gone = fc.TagResourcesInput(resource_id=[arn + "x"], resource_type="function", tag=[fc.Tag(key="a")])
        web.tag_resources(fc.TagResourcesRequest(body=gone))


def test_regions(client):
    regions = client.describe_regions(fc.DescribeRegionsRequest()).body.regions.region
    assert [region.region_id for region in regions] == ["local"]


def domain_routes(*given):
    return fc.RouteConfig(routes=[fc.PathConfig(path=path, function_name=name) for path, name in given])


def custom_domain(client, name="shop.example.org", **members):
    given = fc.CreateCustomDomainInput(domain_name=name, **members)
    return client.create_custom_domain(fc.CreateCustomDomainRequest(body=given)).body


def change_domain(client, name="shop.example.org", **members):
    given = fc.UpdateCustomDomainInput(**members)
    return client.update_custom_domain(name, fc.UpdateCustomDomainRequest(body=given)).body


def test_a_custom_domains_life(api, web):
    web.create_trigger("web", http_trigger())
    chain, key = Authority().issue("shop.example.org")
    rule = fc.WildcardRule(match="/api/*", replacement="/$1")
    route = fc.PathConfig(
        path="/api/*",
        function_name="web",
        methods=["GET"],
        rewrite_config=fc.RewriteConfig(wildcard_rules=[rule], equal_rules=[], regex_rules=[]),
    )
    made = custom_domain(
        web,
        "Shop.example.org",
        protocol="HTTP,HTTPS",
        route_config=fc.RouteConfig(routes=[route]),
        cert_config=fc.CertConfig(cert_name="shop", certificate=chain, private_key=key),
        tls_config=fc.TLSConfig(min_version="TLSv1.3"),
        auth_config=fc.AuthConfig(auth_type="anonymous"),
        waf_config=fc.WAFConfig(enable_waf=False),
    )
    assert (made.domain_name, made.protocol, made.account_id) == ("shop.example.org", "HTTP,HTTPS", "1")
    assert made.api_version == "2023-03-30"
    shown = made.route_config.routes[0]
    assert (shown.path, shown.function_name, shown.qualifier, shown.methods) == ("/api/*", "web", "LATEST", ["GET"])
    assert shown.rewrite_config.wildcard_rules[0].replacement == "/$1"
    assert (made.cert_config.certificate, made.cert_config.private_key) == (chain, "")
    assert (made.tls_config.max_version, made.auth_config.auth_type) == ("TLSv1.3", "anonymous")
    with refused("DomainNameAlreadyExists", 409):
        custom_domain(web)
    with refused("DomainRoutesHere", 409):
        web.delete_trigger("web", "http")
        web.delete_function("web")
    web.create_trigger("web", http_trigger())

    changed = change_domain(web, route_config=domain_routes(("/", "web")), cert_config=made.cert_config)
    assert [route.path for route in changed.route_config.routes] == ["/"]
    assert changed.protocol == "HTTP,HTTPS"
    assert api.run(api.catalog.domain("shop.example.org")).certificate.private_key == key
    assert web.get_custom_domain("shop.example.org").body.to_map() == changed.to_map()
    assert web.delete_custom_domain("shop.example.org").status_code == 204
    with refused("DomainNameNotFound", 404) as error:
        web.get_custom_domain("shop.example.org")
    assert "shop.example.org" in error.value.message


def test_custom_domains_are_listed_in_pages(client):
    for name in ("a1.org", "a2.org", "a3.org", "b.org"):
        custom_domain(client, name)
    first = client.list_custom_domains(fc.ListCustomDomainsRequest(prefix="a", limit=2)).body
    assert [one.domain_name for one in first.custom_domains] == ["a1.org", "a2.org"]
    rest = client.list_custom_domains(
        fc.ListCustomDomainsRequest(prefix="a", limit=2, next_token=first.next_token)
    ).body
    assert ([one.domain_name for one in rest.custom_domains], rest.next_token) == (["a3.org"], None)


def test_a_wildcard_domain_is_named_in_a_path(client):
    custom_domain(client, "*.example.org")
    assert change_domain(client, "*.example.org", protocol="HTTP").domain_name == "*.example.org"
    assert client.get_custom_domain("*.example.org").body.domain_name == "*.example.org"
    client.delete_custom_domain("*.example.org")


@pytest.mark.parametrize(
    ("code", "status", "members"),
    [
        ("InvalidArgument", 400, {"name": "web.localhost"}),
        ("InvalidArgument", 400, {"protocol": "FTP"}),
        ("InvalidArgument", 400, {"protocol": "HTTPS"}),
        ("FunctionNotFound", 404, {"route_config": domain_routes(("/", "nope"))}),
        ("TriggerNotFound", 404, {"route_config": domain_routes(("/", "web"))}),
        ("NotSupported", 400, {"waf_config": fc.WAFConfig(enable_waf=True)}),
    ],
)
def test_custom_domains_that_cannot_be(web, code, status, members):
    with refused(code, status):
        custom_domain(web, **members)


UNSUPPORTED = {
    "PutAsyncInvokeConfig": lambda c: c.put_async_invoke_config(
        "web", fc.PutAsyncInvokeConfigRequest(body=fc.PutAsyncInvokeConfigInput(max_async_retry_attempts=1))
    ),
    "ListAsyncTasks": lambda c: c.list_async_tasks("web", fc.ListAsyncTasksRequest()),
    "StopAsyncTask": lambda c: c.stop_async_task("web", "t", fc.StopAsyncTaskRequest()),
    "ListLayers": lambda c: c.list_layers(fc.ListLayersRequest()),
    "ListVpcBindings": lambda c: c.list_vpc_bindings("web"),
    "ListSessions": lambda c: c.list_sessions("web", fc.ListSessionsRequest()),
    "ListSnapshots": lambda c: c.list_snapshots(fc.ListSnapshotsRequest()),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_operation_that_is_not_in_is_refused_by_name(client, name):
    with refused("NotSupported", 400) as error:
        UNSUPPORTED[name](client)
    assert name in error.value.message


def test_names_travel_encoded(client):
    with refused("FunctionNotFound", 404) as error:
        client.get_function("a/b c$d", fc.GetFunctionRequest())
    assert "a/b c$d" in error.value.message


def test_a_wrong_secret_is_refused(api):
    with refused("SignatureNotMatch", 403):
        client_of(api, secret="wrong").list_functions(fc.ListFunctionsRequest())


def test_an_unknown_key_is_refused(api):
    config = Config(
        access_key_id="nobody", access_key_secret="x", endpoint=f"127.0.0.1:{api.port}", protocol="HTTP"
    )
    with refused("InvalidAccessKeyID", 403):
        Client(config).list_functions(fc.ListFunctionsRequest())


def test_an_endpoint_without_scheme_works_too(api):
    client = client_of(api, endpoint=f"127.0.0.1:{api.port}")
    assert client.list_functions(fc.ListFunctionsRequest()).body.functions == []


async def test_the_asynchronous_client_works_too(api):
    client = client_of(api)
    found = await client.list_functions_async(fc.ListFunctionsRequest(prefix="a b*~"))
    assert found.body.functions == []

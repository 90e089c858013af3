import asyncio

import msgspec
import pytest

from sampan.catalog.changes import Changed
from sampan.catalog.plans import DEFAULT_PORT
from sampan.model.errors import (
    AliasAlreadyExists,
    ConcurrencyConfigNotFound,
    ConcurrentUpdate,
    Conflict,
    Failure,
    FailureKind,
    FunctionAlreadyExists,
    FunctionNotActive,
    FunctionNotEmpty,
    FunctionNotFound,
    InvalidArgument,
    NothingToPublish,
    ScalingConfigClash,
    TriggerAlreadyExists,
    VersionInUse,
    VersionNotFound,
)
from sampan.model.names import version_key
from sampan.wire.limit_shapes import PutProvisionConfigInput, PutScalingConfigInput
from sampan.wire.shapes import (
    CreateAliasInput,
    CreateTriggerInput,
    CustomContainerConfig,
    RegistryAuthConfig,
    RegistryConfig,
    Tag,
    UpdateAliasInput,
    UpdateFunctionInput,
)
from tests.catalog.making import active, function, pulled, roll_out

SLOWER = UpdateFunctionInput(timeout=9)


async def test_a_new_function_is_pending_until_its_revision_is_active(catalog):
    made = await catalog.functions.create(function())
    assert (made.state.state, made.current, made.pending) == ("Pending", None, 1)
    assert (await catalog.plan("web")).versions == ()
    assert (await catalog.route("web")).state == "Pending"
    await roll_out(catalog)
    now = await catalog.functions.get("web")
    assert (now.state.state, now.update.state, now.current, now.pending) == ("Active", "Successful", 1, None)
    assert (await catalog.route("web")).qualifiers == {"LATEST": ((1.0, version_key("web", "LATEST", 1)),)}


async def test_a_revision_that_never_was_prepared_cannot_become_active(catalog):
    await catalog.functions.create(function())
    with pytest.raises(VersionNotFound):
        await catalog.activate("web", 1)


async def test_pending_work_carries_the_registrys_credentials(catalog):
    auth = RegistryAuthConfig(user_name="me", password="secret")
    await catalog.functions.create(function(container={"registry_config": RegistryConfig(auth_config=auth)}))
    [pending] = await catalog.pending()
    assert (pending.image, pending.has_current) == ("nginx:1", False)
    assert (pending.auth.username, pending.auth.password) == ("me", "secret")


async def test_while_an_update_is_prepared_the_old_revision_serves(catalog):
    await active(catalog)
    updated = await catalog.functions.update("web", SLOWER)
    assert (updated.state.state, updated.update.state) == ("Active", "InProgress")
    assert (await catalog.plan("web")).versions[0].version.timeout == 3
    await roll_out(catalog)
    [plan] = (await catalog.plan("web")).versions
    assert (plan.version.timeout, plan.version.key) == (9, version_key("web", "LATEST", 2))


async def test_a_rejected_update_leaves_the_old_revision_serving(catalog):
    await active(catalog)
    await catalog.functions.update("web", UpdateFunctionInput(timeout=9))
    await catalog.reject("web", 2, "image_not_found", "no such image")
    now = await catalog.functions.get("web")
    assert (now.state.state, now.update.state, now.update.reason) == ("Active", "Failed", "no such image")
    assert now.newest().configuration.timeout == 3
    assert set(now.revisions) == {1}


async def test_a_rejected_first_revision_fails_the_function_and_an_update_heals_it(catalog):
    await catalog.functions.create(function(image="nignx"))
    await catalog.reject("web", 1, "image_not_found", "no such image")
    assert (await catalog.functions.get("web")).state.state == "Failed"
    assert (await catalog.route("web")).reason == "no such image"
    fix = UpdateFunctionInput(custom_container_config=CustomContainerConfig(image="nginx"))
    assert (await catalog.functions.update("web", fix)).state.state == "Pending"
    await roll_out(catalog)
    now = await catalog.functions.get("web")
    assert (now.state.state, now.update.state) == ("Active", "Successful")


async def test_a_second_update_while_one_is_pending_is_refused(catalog):
    await active(catalog)
    await catalog.functions.update("web", SLOWER)
    with pytest.raises(ConcurrentUpdate):
        await catalog.functions.update("web", UpdateFunctionInput(timeout=10))


async def test_a_description_changes_at_once(catalog):
    await active(catalog)
    updated = await catalog.functions.update("web", UpdateFunctionInput(description="mine"))
    assert (updated.description, updated.pending) == ("mine", None)


async def test_naming_the_same_image_resolves_it_anew(catalog):
    await active(catalog)
    same = UpdateFunctionInput(custom_container_config=CustomContainerConfig(image="nginx:1"))
    assert (await catalog.functions.update("web", same)).pending == 2


async def test_a_withdrawn_revision_is_refused(catalog):
    await catalog.functions.create(function())
    await catalog.functions.delete("web")
    with pytest.raises(FunctionNotFound):
        await catalog.prepared("web", 1, pulled())
    await catalog.functions.create(function())
    with pytest.raises(VersionNotFound):
        await catalog.prepared("web", 1, pulled())


async def test_a_function_made_anew_never_reuses_a_version_key(catalog):
    await active(catalog)
    before = (await catalog.plan("web")).versions[0].version.key
    await catalog.functions.delete("web")
    await active(catalog)
    assert (await catalog.plan("web")).versions[0].version.key != before


@pytest.mark.parametrize(
    ("given", "exposed", "port"), [(80, (8080,), 80), (None, (8080, 9090), 8080), (None, (), DEFAULT_PORT)]
)
async def test_the_port_is_the_users_else_the_images_lowest_else_9000(catalog, given, exposed, port):
    await catalog.functions.create(function(container={"port": given}))
    assert (await catalog.prepared("web", 1, pulled(ports=exposed))).port == port


async def test_two_functions_cannot_have_one_name(catalog):
    await catalog.functions.create(function())
    with pytest.raises(FunctionAlreadyExists):
        await catalog.functions.create(function())


async def test_a_function_with_triggers_or_aliases_cannot_be_deleted(catalog):
    await active(catalog)
    await catalog.triggers.create("web", http())
    with pytest.raises(FunctionNotEmpty, match="triggers"):
        await catalog.functions.delete("web")
    await catalog.triggers.delete("web", "http")
    await catalog.versions.publish("web", None)
    await catalog.aliases.create("web", CreateAliasInput(alias_name="prod", version_id="1"))
    with pytest.raises(FunctionNotEmpty, match="aliases"):
        await catalog.functions.delete("web")
    await catalog.aliases.delete("web", "prod")
    await catalog.functions.delete("web")
    assert await catalog.plan("web") is None
    assert await catalog.route("web") is None


async def test_pages_go_on_where_the_last_one_ended(catalog):
    for name in ("b2", "a1", "b1", "b3", "B0"):
        await catalog.functions.create(function(name))
    page, after = await catalog.functions.page("b", "", 2)
    assert [found.name for found in page] == ["b1", "b2"]
    page, after = await catalog.functions.page("b", after, 2)
    assert ([found.name for found in page], after) == (["b3"], "")


async def test_a_version_is_a_frozen_copy(catalog):
    await active(catalog)
    assert (await catalog.versions.publish("web", "first")).id == "1"
    await catalog.functions.update("web", SLOWER)
    await roll_out(catalog)
    versions = {plan.version.version: plan.version for plan in (await catalog.plan("web")).versions}
    assert (versions["1"].timeout, versions["LATEST"].timeout) == (3, 9)
    assert versions["1"].key == version_key("web", "1", 1)


async def test_publishing_needs_something_active_and_something_new(catalog):
    await catalog.functions.create(function())
    with pytest.raises(FunctionNotActive):
        await catalog.versions.publish("web", None)
    await roll_out(catalog)
    await catalog.versions.publish("web", None)
    with pytest.raises(NothingToPublish):
        await catalog.versions.publish("web", None)
    same = UpdateFunctionInput(custom_container_config=CustomContainerConfig(image="nginx:1"))
    await catalog.functions.update("web", same)
    await roll_out(catalog, digest="sha256:1")
    with pytest.raises(NothingToPublish):
        await catalog.versions.publish("web", None)
    await catalog.functions.update("web", same)
    await roll_out(catalog, digest="sha256:2")
    assert (await catalog.versions.publish("web", None)).id == "2"


async def test_a_versions_number_is_never_used_again(catalog):
    await active(catalog)
    await catalog.versions.publish("web", None)
    await catalog.versions.delete("web", "1")
    assert (await catalog.versions.publish("web", None)).id == "2"


async def test_a_version_in_use_cannot_be_deleted(catalog):
    await active(catalog)
    await catalog.versions.publish("web", None)
    await catalog.aliases.create("web", CreateAliasInput(alias_name="prod", version_id="1"))
    with pytest.raises(VersionInUse, match="prod"):
        await catalog.versions.delete("web", "1")
    with pytest.raises(InvalidArgument):
        await catalog.versions.delete("web", "LATEST")


async def test_images_are_retained_while_a_revision_needs_them(catalog):
    await active(catalog)
    await catalog.versions.publish("web", None)
    await catalog.functions.update("web", SLOWER)
    await roll_out(catalog, digest="sha256:2")
    assert await catalog.retained_images() == {"sha256:1", "sha256:2"}
    await catalog.versions.delete("web", "1")
    assert await catalog.retained_images() == {"sha256:2"}


async def two_versions(catalog):
    await active(catalog)
    await catalog.versions.publish("web", None)
    await catalog.functions.update("web", SLOWER)
    await roll_out(catalog)
    await catalog.versions.publish("web", None)


async def test_an_alias_shares_calls_by_weight(catalog):
    await two_versions(catalog)
    prod = CreateAliasInput(alias_name="prod", version_id="1", additional_version_weight={"2": 0.25})
    await catalog.aliases.create("web", prod)
    shares = dict((await catalog.route("web")).qualifiers)["prod"]
    assert shares == ((0.75, version_key("web", "1", 1)), (0.25, version_key("web", "2", 2)))
    with pytest.raises(AliasAlreadyExists):
        await catalog.aliases.create("web", prod)
    await catalog.aliases.update("web", "prod", UpdateAliasInput(version_id="2"))
    shares = dict((await catalog.route("web")).qualifiers)["prod"]
    assert shares == ((1.0, version_key("web", "2", 2)),)


async def test_an_alias_points_at_versions_that_exist(catalog):
    await active(catalog)
    with pytest.raises(VersionNotFound):
        await catalog.aliases.create("web", CreateAliasInput(alias_name="prod", version_id="1"))
    with pytest.raises(InvalidArgument):
        await catalog.aliases.create("web", CreateAliasInput(alias_name="prod", version_id="LATEST"))


async def test_what_a_shift_would_bring_into_service_is_foreseen(catalog):
    await two_versions(catalog)
    prod = CreateAliasInput(alias_name="prod", version_id="1")
    assert await catalog.aliases.foreseen("web", None, prod) == [version_key("web", "1", 1)]
    await catalog.aliases.create("web", prod)
    canary = UpdateAliasInput(additional_version_weight={"2": 0.1})
    assert await catalog.aliases.foreseen("web", "prod", canary) == [version_key("web", "2", 2)]
    assert await catalog.aliases.foreseen("web", "prod", UpdateAliasInput(description="x")) == []


def http(name="http", qualifier=None, config='{"methods":["GET"],"authType":"anonymous"}'):
    return CreateTriggerInput(trigger_name=name, trigger_type="http", trigger_config=config, qualifier=qualifier)


async def test_a_qualifier_has_at_most_one_http_trigger(catalog):
    await active(catalog)
    await catalog.versions.publish("web", None)
    await catalog.triggers.create("web", http())
    with pytest.raises(TriggerAlreadyExists):
        await catalog.triggers.create("web", http())
    with pytest.raises(Conflict):
        await catalog.triggers.create("web", http("other"))
    await catalog.triggers.create("web", http("one", "1"))
    assert [(trigger.name, trigger.qualifier) for trigger in (await catalog.route("web")).triggers] == [
        ("http", "LATEST"),
        ("one", "1"),
    ]


async def test_a_trigger_needs_a_qualifier_that_exists(catalog):
    await active(catalog)
    with pytest.raises(VersionNotFound):
        await catalog.triggers.create("web", http(qualifier="7"))


async def test_reservations_stay_within_ninety_percent_of_the_account(catalog):
    await active(catalog)
    await active(catalog, "other")
    with pytest.raises(InvalidArgument):
        await catalog.limits.reserve("web", 91)
    await catalog.limits.reserve("web", 60)
    with pytest.raises(InvalidArgument):
        await catalog.limits.reserve("other", 31)
    await catalog.limits.reserve("other", 30)
    assert (await catalog.plan("web")).max_instances == 60
    assert (await catalog.route("web")).reserved_concurrency == 60
    await catalog.limits.unreserve("web")
    assert (await catalog.plan("web")).max_instances is None
    with pytest.raises(ConcurrencyConfigNotFound):
        await catalog.limits.unreserve("web")


async def test_provisioned_instances_are_shared_like_the_aliass_calls(catalog):
    await two_versions(catalog)
    await catalog.aliases.create(
        "web", CreateAliasInput(alias_name="prod", version_id="1", additional_version_weight={"2": 0.25})
    )
    await catalog.limits.provision("web", "prod", PutProvisionConfigInput(default_target=4))
    await catalog.limits.scale("web", "LATEST", PutScalingConfigInput(min_instances=2))
    minimum = {plan.version.version: plan.minimum for plan in (await catalog.plan("web")).versions}
    assert minimum == {"LATEST": 2, "1": 3, "2": 1}
    with pytest.raises(ScalingConfigClash):
        await catalog.limits.provision("web", "LATEST", PutProvisionConfigInput(target=1))
    with pytest.raises(InvalidArgument):
        await catalog.limits.provision("web", "1", PutProvisionConfigInput(target=1))
    await catalog.limits.unprovision("web", "prod")
    minimum = {plan.version.version: plan.minimum for plan in (await catalog.plan("web")).versions}
    assert minimum == {"LATEST": 2, "1": 0, "2": 0}


async def test_tags_are_put_and_removed_by_arn(catalog):
    await active(catalog)
    arns = ["acs:fc:local::functions/web"]
    await catalog.tags.put(arns, "function", [Tag(key="a", value="1"), Tag(key="b", value="2")])
    await catalog.tags.put(arns, "function", [Tag(key="a", value="3")])
    assert (await catalog.functions.get("web")).tags == {"a": "3", "b": "2"}
    await catalog.tags.remove(arns, "function", ["a"], every=False)
    assert (await catalog.functions.get("web")).tags == {"b": "2"}
    await catalog.tags.remove(arns, "function", [], every=True)
    assert (await catalog.functions.get("web")).tags == {}
    with pytest.raises(InvalidArgument):
        await catalog.tags.put(["acs:fc:local:2:functions/web"], "function", [Tag(key="a")])


async def test_disabling_reaches_the_gateways(catalog):
    await active(catalog)
    await catalog.functions.disable("web", "too dear")
    assert (await catalog.route("web")).disabled == "too dear"
    await catalog.functions.enable("web")
    assert (await catalog.route("web")).disabled is None


async def test_every_subscriber_hears_of_a_change_once(catalog):
    one, two = catalog.changes.subscribe(), catalog.changes.subscribe()
    await active(catalog)
    await catalog.functions.create(function("other"))
    async with asyncio.timeout(10):
        assert [await anext(one), await anext(one)] == [Changed("web"), Changed("other")]
        assert [await anext(two), await anext(two)] == [Changed("web"), Changed("other")]


async def test_nobody_hears_of_a_change_that_was_refused(catalog):
    await active(catalog)
    changes = catalog.changes.subscribe()
    with pytest.raises(InvalidArgument):
        await catalog.functions.update("web", UpdateFunctionInput(timeout=-1))
    await catalog.functions.disable("web", "")
    async with asyncio.timeout(10):
        assert await anext(changes) == Changed("web")
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_the_first_key_is_made_once(catalog):
    key, made = await catalog.ensure_key("1")
    again, made_again = await catalog.ensure_key("1")
    assert (made, made_again) == (True, False)
    assert (await catalog.routes()).keys == (key,)
    assert key == again == catalog.access.find(key.id)
    assert key.secret not in repr(key)


async def test_the_last_failed_start_is_remembered(catalog):
    failure = Failure(FailureKind.EXITED, "exited with code 1")
    catalog.note_failure("web", version_key("web", "LATEST", 1), failure)
    assert catalog.last_failure("web").failure == failure
    assert catalog.last_failure("other") is None


async def test_plans_and_routes_travel_whole(catalog):
    await active(catalog)
    routes = await catalog.routes()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(routes), type=type(routes)) == routes
    assert [plan.function for plan in await catalog.plans()] == ["web"]

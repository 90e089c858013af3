"""Every operation as a `Call`: what its path and query are, its body, and how its answer is read. Pure.

Method and path come from `wire/operations`; the names are FC's, cut to what reads well in Python.
Source: function-compute-api.md §5.
"""

from collections.abc import Mapping

import msgspec

from sampan.sdk.describing import at, call, json_text, read, returns, returns_nothing, returns_page
from sampan.sdk.exchange import Call, Reply
from sampan.sdk.methods import Page
from sampan.wire import domain_shapes, limit_shapes, shapes

FUNCTION_TYPE = "ALIYUN::FC::FUNCTION"


# ── functions ─────────────────────────────────────────────────────────────────────────────────────────


def create_function(function: shapes.CreateFunctionInput) -> Call[shapes.Function]:
    """Make a function. It returns at once; the image is fetched while `state` is `Pending`."""
    whole = msgspec.structs.replace(
        function, runtime=function.runtime or "custom-container", handler=function.handler or "index.handler"
    )
    return returns(at("CreateFunction"), shapes.Function, whole)


def get_function(name: str, qualifier: str | None = None) -> Call[shapes.Function]:
    """The function as it is, with `state` and `last_update_status`."""
    return returns(at("GetFunction", name, qualifier=qualifier), shapes.Function)


def update_function(name: str, changes: shapes.UpdateFunctionInput) -> Call[shapes.Function]:
    """Change what `changes` names; members that are None stay."""
    return returns(at("UpdateFunction", name), shapes.Function, changes)


def delete_function(name: str) -> Call[None]:
    """Delete a function that has no triggers or aliases left."""
    return returns_nothing(at("DeleteFunction", name))


def list_functions(token: str, prefix: str | None = None, page_size: int = 100) -> Call[Page[shapes.Function]]:
    """All functions whose name begins with `prefix`."""
    return returns_page(
        at("ListFunctions", prefix=prefix, limit=page_size, nextToken=token),
        shapes.Functions,
        lambda page: page.functions,
    )


def disable_function(name: str, reason: str | None = None, abort: bool = False) -> Call[shapes.Success]:
    """Refuse all invocations. `abort`: cut off those that run."""
    body = shapes.DisableFunctionInvocationInput(reason=reason, abort_ongoing_request=abort)
    return returns(at("DisableFunctionInvocation", name), shapes.Success, body)


def enable_function(name: str) -> Call[shapes.Success]:
    """Allow invocations again."""
    return returns(at("EnableFunctionInvocation", name), shapes.Success)


# ── versions and aliases ──────────────────────────────────────────────────────────────────────────────


def publish_version(name: str, description: str | None = None) -> Call[shapes.Version]:
    """Freeze what LATEST is now as the next version."""
    body = shapes.PublishVersionInput(description=description)
    return returns(at("PublishFunctionVersion", name), shapes.Version, body)


def list_versions(token: str, name: str, page_size: int = 100) -> Call[Page[shapes.Version]]:
    """All published versions, newest first."""
    return returns_page(
        at("ListFunctionVersions", name, direction="BACKWARD", limit=page_size, nextToken=token),
        shapes.Versions,
        lambda page: page.versions,
    )


def delete_version(name: str, version: str) -> Call[None]:
    """Delete a published version."""
    return returns_nothing(at("DeleteFunctionVersion", name, version))


def create_alias(
    name: str,
    alias: str,
    version: str,
    weights: Mapping[str, float] | None = None,
    description: str | None = None,
) -> Call[shapes.Alias]:
    """Name a version. `weights`: share of calls, 0 to 1, that go to other versions instead."""
    body = shapes.CreateAliasInput(
        alias_name=alias,
        version_id=version,
        description=description,
        additional_version_weight=dict(weights) if weights is not None else None,
    )
    return returns(at("CreateAlias", name), shapes.Alias, body)


def get_alias(name: str, alias: str) -> Call[shapes.Alias]:
    """The version or versions an alias means."""
    return returns(at("GetAlias", name, alias), shapes.Alias)


def update_alias(
    name: str,
    alias: str,
    version: str | None = None,
    weights: Mapping[str, float] | None = None,
    description: str | None = None,
) -> Call[shapes.Alias]:
    """Point an alias elsewhere; None leaves as it is, an empty `weights` sends all calls to `version`."""
    body = shapes.UpdateAliasInput(
        version_id=version,
        description=description,
        additional_version_weight=dict(weights) if weights is not None else None,
    )
    return returns(at("UpdateAlias", name, alias), shapes.Alias, body)


def delete_alias(name: str, alias: str) -> Call[None]:
    """Delete an alias; its version stays."""
    return returns_nothing(at("DeleteAlias", name, alias))


def list_aliases(token: str, name: str, page_size: int = 100) -> Call[Page[shapes.Alias]]:
    """All aliases of a function."""
    return returns_page(
        at("ListAliases", name, limit=page_size, nextToken=token), shapes.Aliases, lambda page: page.aliases
    )


# ── triggers ──────────────────────────────────────────────────────────────────────────────────────────


def create_trigger(name: str, trigger: shapes.CreateTriggerInput) -> Call[shapes.Trigger]:
    """Let something call the function. `trigger_config` is JSON in a string."""
    return returns(at("CreateTrigger", name), shapes.Trigger, trigger)


def get_trigger(name: str, trigger: str) -> Call[shapes.Trigger]:
    """One trigger, with its URLs when it is an HTTP trigger."""
    return returns(at("GetTrigger", name, trigger), shapes.Trigger)


def update_trigger(name: str, trigger: str, changes: shapes.UpdateTriggerInput) -> Call[shapes.Trigger]:
    """Change what `changes` names."""
    return returns(at("UpdateTrigger", name, trigger), shapes.Trigger, changes)


def delete_trigger(name: str, trigger: str) -> Call[None]:
    """Delete a trigger."""
    return returns_nothing(at("DeleteTrigger", name, trigger))


def list_triggers(token: str, name: str, page_size: int = 100) -> Call[Page[shapes.Trigger]]:
    """All triggers of a function."""
    return returns_page(
        at("ListTriggers", name, limit=page_size, nextToken=token), shapes.Triggers, lambda page: page.triggers
    )


# ── custom domains ────────────────────────────────────────────────────────────────────────────────────


def create_domain(domain: domain_shapes.CreateCustomDomainInput) -> Call[domain_shapes.CustomDomain]:
    """Let functions answer at a host of your own."""
    return returns(at("CreateCustomDomain"), domain_shapes.CustomDomain, domain)


def get_domain(domain: str) -> Call[domain_shapes.CustomDomain]:
    """One domain. The private key of its certificate is left out."""
    return returns(at("GetCustomDomain", domain), domain_shapes.CustomDomain)


def update_domain(domain: str, changes: domain_shapes.UpdateCustomDomainInput) -> Call[domain_shapes.CustomDomain]:
    """Change what `changes` names; its routes replace all that there were."""
    return returns(at("UpdateCustomDomain", domain), domain_shapes.CustomDomain, changes)


def delete_domain(domain: str) -> Call[None]:
    """Delete a domain; its functions stay."""
    return returns_nothing(at("DeleteCustomDomain", domain))


def list_domains(
    token: str, prefix: str | None = None, page_size: int = 100
) -> Call[Page[domain_shapes.CustomDomain]]:
    """All domains whose name begins with `prefix`."""
    return returns_page(
        at("ListCustomDomains", prefix=prefix, limit=page_size, nextToken=token),
        domain_shapes.CustomDomains,
        lambda page: page.custom_domains,
    )


# ── how much may run ──────────────────────────────────────────────────────────────────────────────────


def put_concurrency(name: str, reserved: int) -> Call[limit_shapes.ConcurrencyConfig]:
    """At most `reserved` instances at once; 0 refuses every call."""
    body = limit_shapes.PutConcurrencyInput(reserved_concurrency=reserved)
    return returns(at("PutConcurrencyConfig", name), limit_shapes.ConcurrencyConfig, body)


def get_concurrency(name: str) -> Call[limit_shapes.ConcurrencyConfig]:
    """The limit. Raises NotFound when the function has none."""
    return returns(at("GetConcurrencyConfig", name), limit_shapes.ConcurrencyConfig)


def delete_concurrency(name: str) -> Call[None]:
    """Drop the function's own limit."""
    return returns_nothing(at("DeleteConcurrencyConfig", name))


def list_concurrency(token: str, page_size: int = 100) -> Call[Page[limit_shapes.ConcurrencyConfig]]:
    """The limits of all functions that have one."""
    return returns_page(
        at("ListConcurrencyConfigs", limit=page_size, nextToken=token),
        limit_shapes.ConcurrencyConfigs,
        lambda page: page.configs,
    )


def put_provision(name: str, target: int, qualifier: str | None = None) -> Call[limit_shapes.ProvisionConfig]:
    """Keep `target` instances ready at all times."""
    body = limit_shapes.PutProvisionConfigInput(default_target=target, target=target)
    return returns(at("PutProvisionConfig", name, qualifier=qualifier), limit_shapes.ProvisionConfig, body)


def get_provision(name: str, qualifier: str | None = None) -> Call[limit_shapes.ProvisionConfig]:
    """How many instances are kept ready, and how many are; zeros when none were asked for."""
    return returns(at("GetProvisionConfig", name, qualifier=qualifier), limit_shapes.ProvisionConfig)


def delete_provision(name: str, qualifier: str | None = None) -> Call[None]:
    """Keep none ready."""
    return returns_nothing(at("DeleteProvisionConfig", name, qualifier=qualifier))


def list_provision(token: str, page_size: int = 100) -> Call[Page[limit_shapes.ProvisionConfig]]:
    """The provisioning of all functions that have one."""
    return returns_page(
        at("ListProvisionConfigs", limit=page_size, nextToken=token),
        limit_shapes.ProvisionConfigs,
        lambda page: page.provision_configs,
    )


def put_scaling(
    name: str, scaling: limit_shapes.PutScalingConfigInput, qualifier: str | None = None
) -> Call[limit_shapes.ScalingConfig]:
    """How the function scales: the newer form of provisioning."""
    return returns(at("PutScalingConfig", name, qualifier=qualifier), limit_shapes.ScalingConfig, scaling)


def get_scaling(name: str, qualifier: str | None = None) -> Call[limit_shapes.ScalingConfig]:
    """How the function scales, and where it stands."""
    return returns(at("GetScalingConfig", name, qualifier=qualifier), limit_shapes.ScalingConfig)


def delete_scaling(name: str, qualifier: str | None = None) -> Call[None]:
    """Scale by demand alone."""
    return returns_nothing(at("DeleteScalingConfig", name, qualifier=qualifier))


def list_instances(
    token: str, name: str, qualifier: str | None = None, page_size: int = 100
) -> Call[Page[shapes.InstanceInfo]]:
    """The function's instances. The API names no next page here, but goes on behind an id."""

    def decode(reply: Reply) -> Page[shapes.InstanceInfo]:
        found = read(reply, shapes.Instances).instances
        return Page(found, found[-1].instance_id if len(found) == page_size else "")

    return call(at("ListInstances", name, qualifier=qualifier, limit=page_size, startKey=token), decode)


# ── tags and regions ──────────────────────────────────────────────────────────────────────────────────


def tag(arn: str, tags: Mapping[str, str]) -> Call[None]:
    """Add or replace tags of the function with this ARN."""
    body = shapes.TagResourcesInput(
        resource_id=(arn,),
        resource_type=FUNCTION_TYPE,
        tag=tuple(shapes.Tag(key=key, value=value) for key, value in tags.items()),
    )
    return returns_nothing(at("TagResources"), body)


def untag(arn: str, keys: tuple[str, ...] = ()) -> Call[None]:
    """Remove these tags, or all of them when no key is named."""
    chosen = {"TagKey": json_text(keys)} if keys else {"All": "True"}
    where = at("UntagResources", ResourceId=json_text((arn,)), ResourceType=FUNCTION_TYPE, **chosen)
    return returns_nothing(where)


def list_tags(token: str, arn: str, page_size: int = 50) -> Call[Page[shapes.TagResource]]:
    """The tags of the function with this ARN."""
    where = at(
        "ListTagResources",
        ResourceId=json_text((arn,)),
        ResourceType=FUNCTION_TYPE,
        Limit=page_size,
        NextToken=token,
    )
    return returns_page(where, shapes.TagResources, lambda page: page.tag_resources)


def regions() -> Call[tuple[shapes.Region, ...]]:
    """The regions of the endpoint; here there is one."""
    return call(at("DescribeRegions"), lambda reply: read(reply, shapes.Regions).regions.region)

"""The 73 operations of FC 3.0: method, path, name, and whether this platform carries them out.

Source: function-compute-api.md §5. Paths are matched raw and decoded segment by segment, so that an encoded
slash (`%2F`) stays inside its segment.
"""

from urllib.parse import unquote

import msgspec

from sampan.model.errors import NotSupported, PathNotSupported

PREFIX = "/2023-03-30"


class Operation(msgspec.Struct, frozen=True):
    """One row of the table. `{x}` in the path is one segment."""

    name: str
    method: str
    path: str
    supported: bool = True


_IN, _OUT = True, False

OPERATIONS: tuple[Operation, ...] = tuple(
    Operation(name, method, path, supported)
    for name, method, path, supported in (
        ("CreateFunction", "POST", "/functions", _IN),
        ("GetFunction", "GET", "/functions/{functionName}", _IN),
        ("UpdateFunction", "PUT", "/functions/{functionName}", _IN),
        ("DeleteFunction", "DELETE", "/functions/{functionName}", _IN),
        ("ListFunctions", "GET", "/functions", _IN),
        ("InvokeFunction", "POST", "/functions/{functionName}/invocations", _IN),
        ("GetFunctionCode", "GET", "/functions/{functionName}/code", _IN),
        ("CreateTrigger", "POST", "/functions/{functionName}/triggers", _IN),
        ("GetTrigger", "GET", "/functions/{functionName}/triggers/{triggerName}", _IN),
        ("UpdateTrigger", "PUT", "/functions/{functionName}/triggers/{triggerName}", _IN),
        ("DeleteTrigger", "DELETE", "/functions/{functionName}/triggers/{triggerName}", _IN),
        ("ListTriggers", "GET", "/functions/{functionName}/triggers", _IN),
        ("PublishFunctionVersion", "POST", "/functions/{functionName}/versions", _IN),
        ("ListFunctionVersions", "GET", "/functions/{functionName}/versions", _IN),
        ("DeleteFunctionVersion", "DELETE", "/functions/{functionName}/versions/{versionId}", _IN),
        ("CreateAlias", "POST", "/functions/{functionName}/aliases", _IN),
        ("GetAlias", "GET", "/functions/{functionName}/aliases/{aliasName}", _IN),
        ("UpdateAlias", "PUT", "/functions/{functionName}/aliases/{aliasName}", _IN),
        ("DeleteAlias", "DELETE", "/functions/{functionName}/aliases/{aliasName}", _IN),
        ("ListAliases", "GET", "/functions/{functionName}/aliases", _IN),
        ("PutAsyncInvokeConfig", "PUT", "/functions/{functionName}/async-invoke-config", _OUT),
        ("GetAsyncInvokeConfig", "GET", "/functions/{functionName}/async-invoke-config", _OUT),
        ("DeleteAsyncInvokeConfig", "DELETE", "/functions/{functionName}/async-invoke-config", _OUT),
        ("ListAsyncInvokeConfigs", "GET", "/async-invoke-configs", _OUT),
        ("ListAsyncTasks", "GET", "/functions/{functionName}/async-tasks", _OUT),
        ("GetAsyncTask", "GET", "/functions/{functionName}/async-tasks/{taskId}", _OUT),
        ("StopAsyncTask", "PUT", "/functions/{functionName}/async-tasks/{taskId}/stop", _OUT),
        ("PutConcurrencyConfig", "PUT", "/functions/{functionName}/concurrency", _IN),
        ("GetConcurrencyConfig", "GET", "/functions/{functionName}/concurrency", _IN),
        ("DeleteConcurrencyConfig", "DELETE", "/functions/{functionName}/concurrency", _IN),
        ("ListConcurrencyConfigs", "GET", "/concurrency-configs", _IN),
        ("PutProvisionConfig", "PUT", "/functions/{functionName}/provision-config", _IN),
        ("GetProvisionConfig", "GET", "/functions/{functionName}/provision-config", _IN),
        ("DeleteProvisionConfig", "DELETE", "/functions/{functionName}/provision-config", _IN),
        ("ListProvisionConfigs", "GET", "/provision-configs", _IN),
        ("PutScalingConfig", "PUT", "/functions/{functionName}/scaling-config", _IN),
        ("GetScalingConfig", "GET", "/functions/{functionName}/scaling-config", _IN),
        ("DeleteScalingConfig", "DELETE", "/functions/{functionName}/scaling-config", _IN),
        ("ListScalingConfigs", "GET", "/scaling-configs", _IN),
        ("ListInstances", "GET", "/functions/{functionName}/instances", _IN),
        ("DisableFunctionInvocation", "POST", "/functions/{functionName}/invoke/disable", _IN),
        ("EnableFunctionInvocation", "POST", "/functions/{functionName}/invoke/enable", _IN),
        ("CreateCustomDomain", "POST", "/custom-domains", _IN),
        ("GetCustomDomain", "GET", "/custom-domains/{domainName}", _IN),
        ("UpdateCustomDomain", "PUT", "/custom-domains/{domainName}", _IN),
        ("DeleteCustomDomain", "DELETE", "/custom-domains/{domainName}", _IN),
        ("ListCustomDomains", "GET", "/custom-domains", _IN),
        ("TagResources", "POST", "/tags-v2", _IN),
        ("ListTagResources", "GET", "/tags-v2", _IN),
        ("UntagResources", "DELETE", "/tags-v2", _IN),
        ("DescribeRegions", "GET", "/regions", _IN),
        ("CreateLayerVersion", "POST", "/layers/{layerName}/versions", _OUT),
        ("GetLayerVersion", "GET", "/layers/{layerName}/versions/{version}", _OUT),
        ("GetLayerVersionByArn", "GET", "/layerarn/{arn}", _OUT),
        ("ListLayerVersions", "GET", "/layers/{layerName}/versions", _OUT),
        ("ListLayers", "GET", "/layers", _OUT),
        ("DeleteLayerVersion", "DELETE", "/layers/{layerName}/versions/{version}", _OUT),
        ("PutLayerACL", "PUT", "/layers/{layerName}/acl", _OUT),
        ("CreateVpcBinding", "POST", "/functions/{functionName}/vpc-bindings", _OUT),
        ("ListVpcBindings", "GET", "/functions/{functionName}/vpc-bindings", _OUT),
        ("DeleteVpcBinding", "DELETE", "/functions/{functionName}/vpc-bindings/{vpcId}", _OUT),
        ("ChangeResourceGroup", "PUT", "/resource-groups", _OUT),
        ("CreateSession", "POST", "/functions/{functionName}/sessions", _OUT),
        ("GetSession", "GET", "/functions/{functionName}/sessions/{sessionId}", _OUT),
        ("UpdateSession", "PUT", "/functions/{functionName}/sessions/{sessionId}", _OUT),
        ("DeleteSession", "DELETE", "/functions/{functionName}/sessions/{sessionId}", _OUT),
        ("ListSessions", "GET", "/functions/{functionName}/sessions", _OUT),
        ("PauseSession", "PUT", "/functions/{functionName}/sessions/{sessionId}/pause", _OUT),
        ("ResumeSession", "PUT", "/functions/{functionName}/sessions/{sessionId}/resume", _OUT),
        ("CreateSnapshot", "POST", "/functions/{functionName}/snapshots", _OUT),
        ("GetSnapshot", "GET", "/functions/{functionName}/snapshots/{snapshotId}", _OUT),
        ("DeleteSnapshot", "DELETE", "/functions/{functionName}/snapshots/{snapshotId}", _OUT),
        ("ListSnapshots", "GET", "/snapshots", _OUT),
    )
)


def _shape(path: str) -> tuple[str, ...]:
    """The segments after the prefix; "" where a parameter stands."""
    return tuple("" if part.startswith("{") else part for part in path.split("/")[1:])


def _names(path: str) -> tuple[tuple[int, str], ...]:
    return tuple((at, part[1:-1]) for at, part in enumerate(path.split("/")[1:]) if part.startswith("{"))


_BY_SHAPE: dict[tuple[str, int], list[tuple[tuple[str, ...], tuple[tuple[int, str], ...], Operation]]] = {}
for _operation in OPERATIONS:
    _segments = _shape(_operation.path)
    _BY_SHAPE.setdefault((_operation.method, len(_segments)), []).append(
        (_segments, _names(_operation.path), _operation)
    )


def match(method: str, raw_path: str) -> tuple[Operation, dict[str, str]]:
    """The operation and its path parameters, decoded.

    raw_path: as on the wire, without the query. Raises: PathNotSupported; NotSupported, naming the operation.
    """
    if raw_path.startswith(PREFIX + "/"):
        given = raw_path[len(PREFIX) + 1 :].split("/")
        for segments, names, operation in _BY_SHAPE.get((method, len(given)), ()):
            if all(part == want if want else part for part, want in zip(given, segments, strict=True)):
                if not operation.supported:
                    raise NotSupported(operation.name)
                return operation, {name: unquote(given[at]) for at, name in names}
    raise PathNotSupported(method, raw_path)

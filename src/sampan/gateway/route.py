"""From a host and a target to the version that answers. Pure: a table in, a target out.

A function is found by host, `<function>.<domain>` or `<qualifier>--<function>.<domain>` (looked up whole, so that
names which hold `--` stay unambiguous), by a custom domain's host and path (`domains`), or by path,
`/fn/<function>[:<qualifier>]/…`, for clients without wildcard DNS. `InvokeFunction` is known by its path; the API's
other paths are not ours to answer.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate
from urllib.parse import parse_qsl, unquote

import msgspec

from sampan.gateway import cors, guards
from sampan.gateway.container import EVENT_CALL, HTTP_CALL, container_headers
from sampan.gateway.cors import Policy
from sampan.gateway.domains import Site, above, site_of
from sampan.gateway.guards import Guard
from sampan.link.messages import DomainChanged, FunctionRoute, RouteChanged, Routes, ServedVersion
from sampan.model.access import AccessKey
from sampan.model.domain import Domain, PathRoute
from sampan.model.errors import AliasNotFound, FunctionNotFound, RouteNotFound, VersionNotFound
from sampan.model.names import LATEST, VERSION_ID, VersionKey
from sampan.model.trigger import AuthType, HttpTrigger

ACTIVE = "Active"
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH")  # allowed where a domain's CORS rules name none
API_PATHS = (b"/2023-03-30/", b"/sampan/")
ALIVE_PATH, READY_PATH = b"/healthz", b"/readyz"
_BY_PATH = b"/fn/"
_FUNCTIONS = b"/2023-03-30/functions/"
_INVOCATIONS = b"invocations"
_EVERYWHERE = "localhost"
_REMEMBERED_HOSTS = 4096  # spellings of hosts kept resolved; only hosts that exist are


@dataclass(slots=True, frozen=True)
class Served:
    """A version as one endpoint serves it: the container's headers are ready."""

    version: ServedVersion
    key: VersionKey  # of the version, as all that follows: reading them here is cheaper
    timeout: float  # seconds
    sampling: float | None
    affine: bool  # it has sessions
    http_lines: bytes
    event_lines: bytes


@dataclass(slots=True, frozen=True)
class Endpoint:
    """One function under one qualifier."""

    route: FunctionRoute
    qualifier: str
    served: tuple[Served, ...]
    bounds: tuple[float, ...]  # running sums of the weights
    trigger: HttpTrigger | None
    guard: Guard | None = None  # of the trigger's auth type, where that is neither anonymous nor function
    cors: Policy | None = None
    preflights_of: PathRoute | None = None  # a domain's route of other methods: only a browser's question is for it
    open_to: frozenset[bytes] = frozenset()  # methods for which an unsigned call needs no look at the trigger
    unbounded: bool = False  # nothing in its route refuses or counts calls

    def pick(self) -> Served:
        """The version for this request; an alias with several is drawn by weight. Raises: VersionNotFound."""
        served = self.served
        if len(served) == 1:
            return served[0]
        if not served:
            raise VersionNotFound(self.route.function, self.qualifier)
        point = random.random() * self.bounds[-1]
        return next((one for one, bound in zip(served, self.bounds, strict=True) if point < bound), served[-1])


class HttpTarget:
    """An HTTP call: `path` is what the function sees, below `base_path`. One is made per request: no dataclass."""

    __slots__ = ("base_path", "endpoint", "path")

    def __init__(self, endpoint: Endpoint, base_path: bytes, path: bytes) -> None:
        self.endpoint, self.base_path, self.path = endpoint, base_path, path


@dataclass(slots=True, frozen=True)
class EventTarget:
    """InvokeFunction."""

    endpoint: Endpoint


@dataclass(slots=True, frozen=True)
class ApiTarget:
    """Not an invocation."""


@dataclass(slots=True, frozen=True)
class HealthTarget:
    """Is the gateway alive; or, `ready`, can requests be served through it?"""

    ready: bool


Target = HttpTarget | EventTarget | ApiTarget | HealthTarget
_API = ApiTarget()
_HEALTH = {ALIVE_PATH: HealthTarget(ready=False), READY_PATH: HealthTarget(ready=True)}


class RouteTable:
    """All routes that control has told, ready to be looked up."""

    def __init__(self, domain: str) -> None:
        self._suffixes = tuple({f".{domain.lower()}", f".{_EVERYWHERE}"})
        self._account = self._region = ""
        self._functions: dict[str, FunctionRoute] = {}
        self._endpoints: dict[str, dict[str, Endpoint]] = {}
        self._labels: dict[str, Endpoint] = {}
        self._hosts: dict[bytes, Endpoint] = {}
        self._keys: dict[str, AccessKey] = {}
        self._sites: dict[str, Site] = {}  # by the domain's name
        self._site_hosts: dict[bytes, Site] = {}  # spellings, as `_hosts`
        self._by_site: dict[tuple[str, str, bool], Endpoint] = {}  # domain, path of the route, a stray method

    def key(self, id_: str) -> AccessKey | None:
        return self._keys.get(id_)

    def domain(self, name: str) -> Domain | None:
        """The custom domain that a host's name belongs to. name: in lower case, without a port."""
        site = self._sites.get(name) or self._sites.get(above(name))
        return site.domain if site is not None else None

    def versions(self) -> Iterable[ServedVersion]:
        return (version for route in self._functions.values() for version in route.versions)

    def replace(self, routes: Routes) -> None:
        self._account, self._region = routes.account, routes.region
        self._keys = {key.id: key for key in routes.keys}
        self._sites = {domain.name: site_of(domain) for domain in routes.domains}
        self._site_hosts = {}
        self._functions = {route.function: route for route in routes.functions}
        self._endpoints = {name: self._endpoints_of(route) for name, route in self._functions.items()}
        self._index()

    def change(self, change: RouteChanged) -> None:
        if change.route is None:
            self._functions.pop(change.function, None)
            self._endpoints.pop(change.function, None)
        else:
            self._functions[change.function] = change.route
            self._endpoints[change.function] = self._endpoints_of(change.route)
        self._index()

    def change_domain(self, change: DomainChanged) -> None:
        if change.domain is None:
            self._sites.pop(change.name, None)
        else:
            self._sites[change.name] = site_of(change.domain)
        self._site_hosts, self._by_site = {}, {}

    def resolve(self, method: bytes, host: bytes, target: bytes, secure: bool = False) -> Target:
        """secure: the request came over TLS.

        Raises: RouteNotFound, FunctionNotFound, VersionNotFound, AliasNotFound, and as `Site.take`.
        """
        endpoint = self._hosts.get(host)
        if endpoint is not None:
            return HttpTarget(endpoint, b"", target)
        site = self._site_hosts.get(host)
        if site is None:
            endpoint = self._by_host(host)
            if endpoint is not None:
                return HttpTarget(endpoint, b"", target)
            site = self._site_by_host(host) if self._sites else None
        if site is not None:
            way, seen = site.take(method, target, secure)
            stray = method == b"OPTIONS" and bool(way.methods) and method not in way.methods
            return HttpTarget(self._site_endpoint(site.domain, way.route, stray), b"", seen)
        path, _, query = target.partition(b"?")
        if path.startswith(_BY_PATH):
            return self._by_path(path, query)
        if path.startswith(API_PATHS):
            if method == b"POST" and path.startswith(_FUNCTIONS):
                name, _, rest = path[len(_FUNCTIONS) :].partition(b"/")
                if rest == _INVOCATIONS:
                    asked = dict(parse_qsl(query.decode("latin-1"))).get("qualifier", LATEST)
                    return EventTarget(self._endpoint(unquote(name.decode("latin-1")), asked))
            return _API
        if path in _HEALTH:
            return _HEALTH[path]
        raise RouteNotFound(host.decode("latin-1"), path.decode("latin-1"))

    def _by_host(self, host: bytes) -> Endpoint | None:
        name = _plain(host)
        for suffix in self._suffixes:
            if name.endswith(suffix) and (endpoint := self._labels.get(name[: -len(suffix)])) is not None:
                if len(self._hosts) < _REMEMBERED_HOSTS:
                    self._hosts[host] = endpoint
                return endpoint
        return None

    def _site_by_host(self, host: bytes) -> Site | None:
        """Never the platform's own names: a wildcard must not take the API away."""
        name = _plain(host)
        if f".{name}".endswith(self._suffixes):
            return None
        site = self._sites.get(name) or self._sites.get(above(name))
        if site is not None and len(self._site_hosts) < _REMEMBERED_HOSTS:
            self._site_hosts[host] = site
        return site

    def _by_path(self, path: bytes, query: bytes) -> HttpTarget:
        first, slash, rest = path[len(_BY_PATH) :].partition(b"/")
        function, _, qualifier = unquote(first.decode("latin-1")).partition(":")
        seen = b"/" + rest if slash else b"/"
        return HttpTarget(
            self._endpoint(function, qualifier or LATEST), _BY_PATH + first, seen + b"?" + query if query else seen
        )

    def _endpoint(self, function: str, qualifier: str) -> Endpoint:
        endpoints = self._endpoints.get(function)
        if endpoints is None:
            raise FunctionNotFound(function)
        endpoint = endpoints.get(qualifier)
        if endpoint is None:
            if VERSION_ID.match(qualifier):
                raise VersionNotFound(function, qualifier)
            raise AliasNotFound(function, qualifier)
        return endpoint

    def _site_endpoint(self, domain: Domain, way: PathRoute, stray: bool) -> Endpoint:
        """An endpoint as it is reached through a domain. Raises: as `_endpoint`.

        stray: the route does not take the method, but the domain may answer it as a browser's question.
        """
        key = domain.name, way.path, stray
        found = self._by_site.get(key)
        if found is None:
            found = under(domain, self._endpoint(way.function, way.qualifier))
            found = self._by_site[key] = replace(found, preflights_of=way) if stray else found
        return found

    def _endpoints_of(self, route: FunctionRoute) -> dict[str, Endpoint]:
        versions = {version.key: version for version in route.versions}
        triggers = {trigger.qualifier or LATEST: trigger for trigger in route.triggers}
        made: dict[str, Endpoint] = {}
        for qualifier, choices in ({LATEST: ()} | route.qualifiers).items():  # LATEST: before it is active, too
            trigger = triggers.get(qualifier)
            there = [(weight, versions[key]) for weight, key in choices if key in versions and weight > 0]
            guard = guards.prepare(trigger.auth, trigger.check) if trigger is not None else None
            made[qualifier] = Endpoint(
                route,
                qualifier,
                tuple(self._serve(version, qualifier) for _, version in there),
                tuple(accumulate(weight for weight, _ in there)),
                trigger,
                guard,
                cors.prepare(trigger.cors, trigger.methods) if trigger is not None else None,
                open_to=_open_to(trigger, guard),
                unbounded=_unbounded(route),
            )
        return made

    def _serve(self, version: ServedVersion, qualifier: str) -> Served:
        told = (self._account, self._region, version, qualifier)
        return Served(
            version, version.key, version.timeout, version.sampling, version.affinity is not None,
            container_headers(*told, HTTP_CALL), container_headers(*told, EVENT_CALL),
        )  # fmt: skip

    def _index(self) -> None:
        """Two names that differ only in case share a label: the one spelt like the label has it, else the first."""
        labels: dict[str, Endpoint] = {}
        own: dict[str, Endpoint] = {}
        for function in sorted(self._endpoints, key=lambda name: (name != name.lower(), name)):
            for qualifier, endpoint in self._endpoints[function].items():
                labels.setdefault(f"{qualifier}--{function}".lower(), endpoint)
                if qualifier == LATEST:
                    own.setdefault(function.lower(), endpoint)
        self._labels = labels | own
        self._hosts, self._by_site = {}, {}


def _plain(host: bytes) -> str:
    """A host's name in lower case, without port and final dot."""
    name = host.decode("latin-1").lower()
    if not name.endswith("]"):  # an address in brackets has colons, but no port here
        name = name.rpartition(":")[0] or name
    return name.removesuffix(".")


def under(domain: Domain, endpoint: Endpoint) -> Endpoint:
    """The endpoint behind a domain: an auth type and rules for pages of the domain's own replace the trigger's."""
    if domain.cors is not None:
        endpoint = replace(endpoint, cors=cors.prepare(domain.cors, METHODS))
    if domain.auth is not AuthType.ANONYMOUS and endpoint.trigger is not None:
        trigger = msgspec.structs.replace(endpoint.trigger, auth=domain.auth)
        guard = guards.prepare(domain.auth, domain.check, True)
        endpoint = replace(endpoint, trigger=trigger, guard=guard, open_to=_open_to(trigger, guard))
    return endpoint


def _open_to(trigger: HttpTrigger | None, guard: Guard | None) -> frozenset[bytes]:
    if trigger is None or trigger.url_disabled or (guard is None and trigger.auth is not AuthType.ANONYMOUS):
        return frozenset()
    return frozenset(method.encode("latin-1") for method in trigger.methods)


def _unbounded(route: FunctionRoute) -> bool:
    own = route.disabled, route.reserved_concurrency, route.rate
    return route.state == ACTIVE and own == (None, None, None)

"""A custom domain, ready to be asked: which of its routes a path takes, and what the function sees of it. Pure.

Made once when the domain changes. Source: triggers.md §3.
"""

import msgspec

from sampan.model.domain import Domain, PathRoute
from sampan.model.errors import DomainRouteNotFound, ProtocolNotServed, RouteMethodNotAllowed
from sampan.model.rewrite import Step, compiled, rewritten
from sampan.telemetry.logs import Log

log = Log("gateway")


class Path:
    """One route."""

    __slots__ = ("function", "methods", "qualifier", "route", "steps")

    def __init__(self, route: PathRoute) -> None:
        self.route = route
        self.function, self.qualifier = route.function, route.qualifier
        self.methods = frozenset(method.encode() for method in route.methods)
        self.steps: tuple[Step, ...] = compiled(route.rewrites)


class Site:
    """One domain."""

    __slots__ = ("_exact", "_prefixes", "_preflights", "domain", "plain", "secure")

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self._preflights = domain.cors is not None  # then they are the domain's affair, whatever a route takes
        self.plain, self.secure = "HTTP" in domain.protocols, "HTTPS" in domain.protocols
        paths = {route.path.encode("latin-1"): Path(route) for route in domain.routes}
        self._exact = {path: made for path, made in paths.items() if not path.endswith(b"*")}
        prefixes = [(path[:-1], made) for path, made in paths.items() if path.endswith(b"*")]
        self._prefixes = tuple(sorted(prefixes, key=lambda entry: len(entry[0]), reverse=True))

    def take(self, method: bytes, target: bytes, secure: bool) -> tuple[Path, bytes]:
        """The route of a request, and path and query as its function sees them.

        A domain that is HTTPS only refuses plain HTTP and does not redirect: what came has gone over the wire in
        the clear already, a body and credentials included, and a redirect would let a client do that for ever
        unnoticed; nor does the gateway know at which port the world reaches its TLS.
        Raises: ProtocolNotServed, DomainRouteNotFound, RouteMethodNotAllowed.
        """
        if not (self.secure if secure else self.plain):
            given, other = ("HTTPS", "HTTP") if secure else ("HTTP", "HTTPS")
            raise ProtocolNotServed(self.domain.name, given, other)
        path = target.partition(b"?")[0]
        found = self._exact.get(path) or self._below(path)
        if found is None:
            raise DomainRouteNotFound(self.domain.name, path.decode("latin-1"))
        if found.methods and method not in found.methods and not (self._preflights and method == b"OPTIONS"):
            given, route = method.decode("latin-1"), found.route
            raise RouteMethodNotAllowed(given, route.methods, self.domain.name, route.path)
        return found, rewritten(found.steps, target) if found.steps else target

    def _below(self, path: bytes) -> Path | None:
        """By the longest prefix."""
        for prefix, found in self._prefixes:
            if path.startswith(prefix):
                return found
        return None


def site_of(domain: Domain) -> Site:
    """As told; one that this gateway cannot read (told by a control of another version) serves nothing.

    Not left out: its name might be below a wildcard, whose rules are others.
    """
    try:
        return Site(domain)
    except Exception as error:
        log.failure("a custom domain cannot be read; nothing is served there", error, domain=domain.name)
        return Site(msgspec.structs.replace(domain, routes=()))


def above(name: str) -> str:
    """The wildcard that matches a host's name: `*.a.com` for `x.a.com`. Only one level is matched."""
    return "*." + name.partition(".")[2]

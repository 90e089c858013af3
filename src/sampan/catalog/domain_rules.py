"""What a custom domain may be. Each check says which field, what was given and what is allowed.

Source: function-compute-api.md §7.8, triggers.md §3.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec

from sampan.catalog import certificates, guards
from sampan.catalog.guards import METHODS
from sampan.model.domain import Rewrite
from sampan.model.errors import FieldNotSupported, InvalidArgument
from sampan.model.names import ALIAS_NAME, FUNCTION_NAME, LATEST, VERSION_ID
from sampan.model.rewrite import EQUAL, REGEX, WILDCARD, BadRewrite, step
from sampan.wire.domain_shapes import (
    AuthConfig,
    CertConfig,
    CreateCustomDomainInput,
    PathConfig,
    RewriteConfig,
    RouteConfig,
    TlsConfig,
    UpdateCustomDomainInput,
    WafConfig,
)
from sampan.wire.shapes import CorsConfig

PROTOCOLS = ("HTTP", "HTTPS", "HTTP,HTTPS")
TLS_VERSIONS = ("TLSv1.2", "TLSv1.3")  # what today's TLS libraries still offer, oldest first
MAX_NAME = 253  # characters. Source: RFC 1035 §2.3.4
MAX_ROUTES = 100  # of a domain
MAX_RULES = 32  # rewrite rules of a route, each tried in turn
MAX_PATH = 1024  # characters

_NAME = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_PATH = re.compile(r"/[!-)+-~]*\*?\Z")
_CERT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}\Z")
_EVERYWHERE = "localhost"  # names below it reach functions, whatever the platform's own domain is


def domain_name(given: str | None, own: str) -> str:
    """In lower case. `own`: the platform's domain. Raises: InvalidArgument."""
    name = (given or "").lower()
    if len(name) > MAX_NAME or not _NAME.match(name):
        allowed = "a domain name such as 'shop.example.org', or '*.example.org' for one level of names below"
        raise InvalidArgument("domainName", (given or "")[:300], allowed)
    for ours in {own.lower(), _EVERYWHERE}:
        if name.removeprefix("*.") == ours or name.endswith(f".{ours}"):
            raise InvalidArgument("domainName", name, f"a name outside of '{ours}', where functions have their own")
    return name


def merged(
    name: str, old: UpdateCustomDomainInput, given: UpdateCustomDomainInput, now: float
) -> UpdateCustomDomainInput:
    """`old` changed to what `given` says, checked, defaults filled in. Members sent empty are cleared.

    now: Unix seconds. Raises: InvalidArgument, FieldNotSupported.
    """
    _refuse_foreign(given)
    protocol = given.protocol if given.protocol is not None else old.protocol or "HTTP"
    if protocol not in PROTOCOLS:
        raise InvalidArgument("protocol", protocol[:40], ", ".join(f"'{one}'" for one in PROTOCOLS))
    certificate = old.cert_config if given.cert_config is None else _certificate(name, old, given.cert_config, now)
    if "HTTPS" in protocol and certificate is None:
        raise InvalidArgument("certConfig", None, f"a certificate for '{name}', which protocol '{protocol}' needs")
    return UpdateCustomDomainInput(
        protocol=protocol,
        route_config=routes(given.route_config or old.route_config or RouteConfig()),
        cert_config=certificate,
        tls_config=old.tls_config if given.tls_config is None else _tls(given.tls_config),
        auth_config=_auth(given.auth_config or old.auth_config or AuthConfig()),
        cors_config=old.cors_config if given.cors_config is None else _cors(given.cors_config),
    )


def routes(given: RouteConfig) -> RouteConfig:
    """Raises: InvalidArgument."""
    found = given.routes or ()
    if len(found) > MAX_ROUTES:
        raise InvalidArgument("routeConfig.routes", f"{len(found)} routes", f"at most {MAX_ROUTES}")
    made = tuple(_route(f"routeConfig.routes[{at}]", route) for at, route in enumerate(found))
    paths = [route.path for route in made]
    for at, path in enumerate(paths):
        if path in paths[:at]:
            raise InvalidArgument(f"routeConfig.routes[{at}].path", path, "each path once in a domain")
    return RouteConfig(routes=made)


def rewrites(given: RewriteConfig | None) -> Iterator[tuple[str, Rewrite]]:
    """Every rule with its field's name, in the order they are tried."""
    for kind, member in ((EQUAL, "equal_rules"), (WILDCARD, "wildcard_rules"), (REGEX, "regex_rules")):
        for at, rule in enumerate(getattr(given, member, None) or ()):
            yield f"{kind}Rules[{at}]", Rewrite(kind, rule.match or "", rule.replacement or "")


def _route(where: str, given: PathConfig) -> PathConfig:
    path, function, qualifier = given.path or "", given.function_name or "", given.qualifier or LATEST
    if (
        len(path) > MAX_PATH
        or not _PATH.match(path)
        or "?" in path
        or "#" in path
        or (path.endswith("*") and path[-2:] != "/*")
    ):
        allowed = f"a path such as '/login', or '/api/*' for all below; at most {MAX_PATH} printable characters"
        raise InvalidArgument(f"{where}.path", path[:80], allowed)
    if not FUNCTION_NAME.match(function):
        raise InvalidArgument(f"{where}.functionName", function[:80], "the name of a function")
    if not (VERSION_ID.match(qualifier) or ALIAS_NAME.match(qualifier)):
        raise InvalidArgument(f"{where}.qualifier", qualifier[:80], "LATEST, a version's id or an alias")
    for method in given.methods or ():
        if method not in METHODS:
            raise InvalidArgument(f"{where}.methods", method[:40], ", ".join(METHODS))
    _check_rewrites(f"{where}.rewriteConfig", rewrites(given.rewrite_config))
    return msgspec.structs.replace(
        given, qualifier=qualifier, methods=tuple(dict.fromkeys(given.methods or ())) or None
    )


def _check_rewrites(where: str, rules: Iterable[tuple[str, Rewrite]]) -> None:
    count = 0
    for field, rule in rules:
        count += 1
        try:
            step(rule)
        except BadRewrite as error:
            given = getattr(rule, error.part)[:80]
            raise InvalidArgument(f"{where}.{field}.{error.part}", given, error.allowed) from error
    if count > MAX_RULES:
        raise InvalidArgument(where, f"{count} rules", f"at most {MAX_RULES} of all kinds together")


def _certificate(name: str, old: UpdateCustomDomainInput, given: CertConfig, now: float) -> CertConfig | None:
    """A reply holds no key: sent back with its certificate unchanged, it means the key that is known."""
    if not (given.cert_name or given.certificate or given.private_key):
        return None
    known = old.cert_config
    if known is not None and not given.private_key and given.certificate == known.certificate:
        given = msgspec.structs.replace(given, private_key=known.private_key)
    if not _CERT_NAME.match(given.cert_name or ""):
        allowed = "1–128 letters, digits, '_' and '-', beginning with a letter or '_'"
        raise InvalidArgument("certConfig.certName", (given.cert_name or "")[:160], allowed)
    certificates.check(name, given.certificate or "", given.private_key or "", now)
    return given


def _tls(given: TlsConfig) -> TlsConfig | None:
    if given.cipher_suites:
        raise FieldNotSupported("tlsConfig.cipherSuites", list(given.cipher_suites)[:8], "leave the choice to TLS")
    if not (given.min_version or given.max_version):
        return None
    low, high = given.min_version or TLS_VERSIONS[0], given.max_version or TLS_VERSIONS[-1]
    for field, version in (("minVersion", low), ("maxVersion", high)):
        if version not in TLS_VERSIONS:
            raise InvalidArgument(f"tlsConfig.{field}", version[:40], ", ".join(TLS_VERSIONS))
    if TLS_VERSIONS.index(low) > TLS_VERSIONS.index(high):
        raise InvalidArgument("tlsConfig.maxVersion", high, f"a version from minVersion, '{low}', on")
    return TlsConfig(min_version=low, max_version=high)


def _auth(given: AuthConfig) -> AuthConfig:
    auth_type = given.auth_type or "anonymous"
    guards.guard(auth_type, given.auth_info or None, "authConfig", "authInfo")
    return AuthConfig(auth_type=auth_type, auth_info=given.auth_info or None)


def _cors(given: CorsConfig) -> CorsConfig | None:
    if given == CorsConfig():
        return None
    guards.cors(given, "corsConfig")
    return given


def _refuse_foreign(given: UpdateCustomDomainInput) -> None:
    if (given.waf_config or WafConfig()).enable_waf:
        raise FieldNotSupported("wafConfig.enableWAF", True, "put a web application firewall before the gateway")
    if isinstance(given, CreateCustomDomainInput) and given.is_e2b:
        raise FieldNotSupported("isE2B", True, "leave it out")

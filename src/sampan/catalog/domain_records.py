"""Custom domains as values: as they are kept, as gateways get them, and what they route to."""

from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.catalog import guards, tables
from sampan.catalog.domain_rules import rewrites
from sampan.model.domain import Certificate, Domain, PathRoute
from sampan.model.errors import DomainNotFound, DomainRoutesHere
from sampan.model.names import LATEST
from sampan.wire.domain_shapes import (
    AuthConfig,
    CertConfig,
    PathConfig,
    RouteConfig,
    TlsConfig,
    UpdateCustomDomainInput,
)


class DomainRecord(msgspec.Struct, frozen=True):
    """A domain as it is kept: checked, with its defaults filled in."""

    name: str
    config: UpdateCustomDomainInput
    created: int  # Unix microseconds
    modified: int

    @property
    def routes(self) -> tuple[PathConfig, ...]:
        return (self.config.route_config or RouteConfig()).routes or ()


async def load(connection: AsyncConnection) -> list[DomainRecord]:
    """All domains, by name."""
    rows = await connection.execute(select(tables.domains).order_by(tables.domains.c.name))
    return [_record(row) for row in rows]


async def one(connection: AsyncConnection, name: str) -> DomainRecord:
    """Raises: DomainNotFound."""
    row = (await connection.execute(select(tables.domains).where(tables.domains.c.name == name))).first()
    if row is None:
        raise DomainNotFound(name)
    return _record(row)


async def refuse_if_routed(connection: AsyncConnection, function: str, qualifier: str | None, what: str) -> None:
    """Before a function, or what a qualifier of it means, goes. Raises: DomainRoutesHere."""
    for domain in await load(connection):
        for route in domain.routes:
            if route.function_name == function and qualifier in (None, route.qualifier):
                raise DomainRoutesHere(what, domain.name, route.path or "")


def served(record: DomainRecord) -> Domain:
    """As gateways get it."""
    config = record.config
    auth, tls = config.auth_config or AuthConfig(), config.tls_config or TlsConfig()
    auth_type, check = guards.guard(auth.auth_type or "anonymous", auth.auth_info, "authConfig", "authInfo")
    return Domain(
        name=record.name,
        protocols=tuple((config.protocol or "HTTP").split(",")),
        routes=tuple(_route(route) for route in record.routes),
        auth=auth_type,
        check=check,
        cors=guards.cors(config.cors_config, "corsConfig"),
        certificate=_certificate(config.cert_config),
        tls_min=tls.min_version or "TLSv1.2",
        tls_max=tls.max_version or "TLSv1.3",
    )


def _route(route: PathConfig) -> PathRoute:
    return PathRoute(
        path=route.path or "",
        function=route.function_name or "",
        qualifier=route.qualifier or LATEST,
        methods=route.methods or (),
        rewrites=tuple(rule for _, rule in rewrites(route.rewrite_config)),
    )


def _certificate(given: CertConfig | None) -> Certificate | None:
    if given is None:
        return None
    return Certificate(given.cert_name or "", given.certificate or "", given.private_key or "")


def _record(row: Any) -> DomainRecord:
    config = msgspec.json.decode(row.config, type=UpdateCustomDomainInput)
    return DomainRecord(row.name, config, row.created, row.modified)

"""Custom domains."""

import msgspec

from sampan.api.call import Call, Reply, moment
from sampan.catalog.domain_records import DomainRecord
from sampan.catalog.plans import Defaults
from sampan.wire import domain_shapes as shapes
from sampan.wire.operations import PREFIX

API_VERSION = PREFIX.removeprefix("/")


async def create(call: Call) -> Reply:
    return _shown(call, await call.catalog.domains.create(call.read(shapes.CreateCustomDomainInput)))


async def get(call: Call) -> Reply:
    return _shown(call, await call.catalog.domains.get(call.params["domainName"]))


async def update(call: Call) -> Reply:
    given = call.read(shapes.UpdateCustomDomainInput)
    return _shown(call, await call.catalog.domains.update(call.params["domainName"], given))


async def delete(call: Call) -> Reply:
    await call.catalog.domains.delete(call.params["domainName"])
    return None


async def list_(call: Call) -> Reply:
    found = await call.catalog.domains.matching(call.query.get("prefix", ""))
    page, token = call.page(found, lambda record: record.name)
    return shapes.CustomDomains(custom_domains=tuple(_shown(call, record) for record in page), next_token=token)


def shape(record: DomainRecord, defaults: Defaults) -> shapes.CustomDomain:
    """A domain as FC shows it, but for the private key: no reply holds it."""
    config, certificate = record.config, record.config.cert_config
    if certificate is not None:
        certificate = msgspec.structs.replace(certificate, private_key="")
    return shapes.CustomDomain(
        domain_name=record.name,
        account_id=defaults.account,
        api_version=API_VERSION,
        protocol=config.protocol or "",
        created_time=moment(record.created),
        last_modified_time=moment(record.modified),
        route_config=config.route_config,
        cert_config=certificate,
        tls_config=config.tls_config,
        auth_config=config.auth_config,
        cors_config=config.cors_config,
    )


def _shown(call: Call, record: DomainRecord) -> shapes.CustomDomain:
    return shape(record, call.catalog.defaults)

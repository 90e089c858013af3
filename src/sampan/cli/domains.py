"""`domain ls`, `domain add`, `domain describe`, `domain rm`: hosts of the users' own."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sampan.cli.functions import ask
from sampan.cli.options import OutputOption, YesOption, pairs
from sampan.cli.screen import Cell, Output, ago, fields, heading, json, say, table
from sampan.cli.session import session

if TYPE_CHECKING:
    from sampan.sdk import Client, domain_shapes

DomainName = Annotated[str, typer.Argument(metavar="NAME", help="The domain.", show_default=False)]
_PEM = {"exists": True, "dir_okay": False, "readable": True}


def ls(
    context: typer.Context,
    prefix: Annotated[str | None, typer.Argument(help="Only names that begin so.", show_default=False)] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the custom domains."""
    with session(context).client() as client:
        found = list(client.list_domains(prefix=prefix))
    if output is Output.JSON:
        json(found)
        return
    table(
        ("DOMAIN", "PROTOCOL", "ROUTES", "CHANGED"),
        (
            (
                Cell(each.domain_name, "bold"),
                each.protocol,
                ", ".join(f"{route.path} → {_target(route)}" for route in _routes(each)),
                ago(each.last_modified_time),
            )
            for each in found
        ),
        empty="no domains; `sampan domain add NAME --route '/*=FUNCTION'` makes one",
    )


def add(
    context: typer.Context,
    name: DomainName,
    route: Annotated[
        list[str] | None,
        typer.Option(
            "--route", "-r", metavar="PATH=FUNCTION[:QUALIFIER]", help="Who answers there.", show_default=False
        ),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option("--cert", metavar="FILE", help="Certificate chain, PEM.", show_default=False, **_PEM),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="Its private key, PEM.", show_default=False, **_PEM)
    ] = None,
    https_only: Annotated[bool, typer.Option("--https-only", help="Refuse plain HTTP.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let functions answer at a host of your own, or change a domain that is there.

    '/login' is that path alone, '/api/*' all below it; the longest that fits answers.

        sampan domain add shop.example.org --route '/*=web' --route '/api/*=api:prod'
    """
    from sampan.sdk import domain_shapes

    if (cert is None) != (key is None):
        raise typer.BadParameter("a certificate and its key go together", param_hint="--cert, --key")
    routes = tuple(_route(path, target) for path, target in pairs(route or [], "--route").items())
    changes = domain_shapes.UpdateCustomDomainInput(
        protocol="HTTPS" if https_only else "HTTP,HTTPS" if cert is not None else None,
        route_config=domain_shapes.RouteConfig(routes=routes) if routes else None,
        cert_config=None
        if cert is None or key is None
        else domain_shapes.CertConfig(
            cert_name=_certificate_name(name),
            certificate=cert.read_text("latin-1"),
            private_key=key.read_text("latin-1"),
        ),
    )
    with session(context).client() as client:
        domain = _put(client, name, changes)
    if output is Output.JSON:
        json(domain)
        return
    say(f"{domain.domain_name} answers {domain.protocol.replace(',', ' and ')}", style="green")
    for each in _routes(domain):
        say(f"  {each.path} → {_target(each)}")


def describe(context: typer.Context, name: DomainName, output: OutputOption = Output.TABLE) -> None:
    """Show everything about a domain but its private key."""
    with session(context).client() as client:
        domain = client.get_domain(name)
    if output is Output.JSON:
        json(domain)
        return
    certificate, tls, auth = domain.cert_config, domain.tls_config, domain.auth_config
    fields(
        [
            ("domain", Cell(domain.domain_name, "bold")),
            ("protocol", domain.protocol),
            ("certificate", (certificate and certificate.cert_name) or ""),
            ("TLS", f"{tls.min_version} to {tls.max_version}" if tls else ""),
            ("callers", (auth and auth.auth_type) or ""),
            ("created", ago(domain.created_time)),
            ("changed", ago(domain.last_modified_time)),
        ]
    )
    heading("Routes")
    table(
        ("PATH", "FUNCTION", "METHODS", "REWRITES"),
        (
            (Cell(each.path or "", "bold"), _target(each), ", ".join(each.methods or ()), str(_rules(each) or ""))
            for each in _routes(domain)
        ),
        empty="none; every path answers 404",
    )


def rm(context: typer.Context, name: DomainName, yes: YesOption = False) -> None:
    """Delete a domain; its functions stay."""
    with session(context).client() as client:
        domain = client.get_domain(name).domain_name
        if not yes:
            ask(f"Delete {domain}?")
        client.delete_domain(domain)
    say(f"Deleted {domain}", style="green")


def _put(
    client: "Client", name: str, changes: "domain_shapes.UpdateCustomDomainInput"
) -> "domain_shapes.CustomDomain":
    """Make the domain, or change the one that is there."""
    import msgspec

    from sampan.sdk import NotFound, domain_shapes

    try:
        there = client.get_domain(name)
    except NotFound as error:
        if error.code != "DomainNameNotFound":
            raise
        given = {field: getattr(changes, field) for field in changes.__struct_fields__}
        return client.create_domain(domain_shapes.CreateCustomDomainInput(domain_name=name, **given))
    if changes.protocol == "HTTP,HTTPS" and there.protocol == "HTTPS":
        changes = msgspec.structs.replace(changes, protocol=None)  # a new certificate does not let plain HTTP in
    if changes.route_config is not None:
        routes = {route.path: route for route in (*_routes(there), *(changes.route_config.routes or ()))}
        whole = domain_shapes.RouteConfig(routes=tuple(routes.values()))
        changes = msgspec.structs.replace(changes, route_config=whole)
    return client.update_domain(name, changes)


def _route(path: str, target: str) -> "domain_shapes.PathConfig":
    from sampan.sdk import domain_shapes

    function, _, qualifier = target.partition(":")
    return domain_shapes.PathConfig(path=path, function_name=function, qualifier=qualifier or None)


def _routes(domain: "domain_shapes.CustomDomain") -> "tuple[domain_shapes.PathConfig, ...]":
    return (domain.route_config and domain.route_config.routes) or ()


def _target(route: "domain_shapes.PathConfig") -> str:
    return f"{route.function_name}" + (f":{route.qualifier}" if route.qualifier not in (None, "LATEST") else "")


def _rules(route: "domain_shapes.PathConfig") -> int:
    given = route.rewrite_config
    if given is None:
        return 0
    return sum(len(rules or ()) for rules in (given.equal_rules, given.wildcard_rules, given.regex_rules))


def _certificate_name(domain: str) -> str:
    return "cert_" + re.sub(r"[^A-Za-z0-9-]", "_", domain)

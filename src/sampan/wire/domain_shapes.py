"""FC's JSON of custom domains. Source: function-compute-api.md §7.8.

As all shapes: absent members are `None`; what a value may be is decided in `catalog/`.
"""

from typing import ClassVar

import msgspec

from sampan.wire.shapes import CorsConfig, Shape


class RewriteRule(Shape, frozen=True):
    match: str | None = None
    replacement: str | None = None


class RewriteConfig(Shape, frozen=True):
    equal_rules: tuple[RewriteRule, ...] | None = None
    wildcard_rules: tuple[RewriteRule, ...] | None = None
    regex_rules: tuple[RewriteRule, ...] | None = None


class PathConfig(Shape, frozen=True):
    """A route."""

    path: str | None = None
    function_name: str | None = None
    qualifier: str | None = None
    methods: tuple[str, ...] | None = None
    rewrite_config: RewriteConfig | None = None


class RouteConfig(Shape, frozen=True):
    routes: tuple[PathConfig, ...] | None = None


class CertConfig(Shape, frozen=True):
    """PEM. In a reply the private key is empty."""

    _hidden: ClassVar[tuple[str, ...]] = ("private_key",)
    cert_name: str | None = None
    certificate: str | None = None
    private_key: str | None = None


class TlsConfig(Shape, frozen=True):
    min_version: str | None = None
    max_version: str | None = None
    cipher_suites: tuple[str, ...] | None = None


class AuthConfig(Shape, frozen=True):
    """`auth_info` is JSON in a string."""

    _hidden: ClassVar[tuple[str, ...]] = ("auth_info",)
    auth_type: str | None = None
    auth_info: str | None = None


class WafConfig(Shape, frozen=True):
    enable_waf: bool | None = msgspec.field(default=None, name="enableWAF")


class UpdateCustomDomainInput(Shape, frozen=True):
    """Absent members stay as they are."""

    protocol: str | None = None
    route_config: RouteConfig | None = None
    cert_config: CertConfig | None = None
    tls_config: TlsConfig | None = None
    auth_config: AuthConfig | None = None
    cors_config: CorsConfig | None = None
    waf_config: WafConfig | None = None


class CreateCustomDomainInput(UpdateCustomDomainInput, frozen=True):
    domain_name: str | None = None
    is_e2b: bool | None = msgspec.field(default=None, name="isE2B")


class CustomDomain(Shape, frozen=True):
    """Without FC's `subdomainCount`: the reference does not say what is counted."""

    domain_name: str
    account_id: str
    api_version: str
    protocol: str
    created_time: str
    last_modified_time: str
    route_config: RouteConfig | None = None
    cert_config: CertConfig | None = None
    tls_config: TlsConfig | None = None
    auth_config: AuthConfig | None = None
    cors_config: CorsConfig | None = None


class CustomDomains(Shape, frozen=True):
    custom_domains: tuple[CustomDomain, ...]
    next_token: str | None = None

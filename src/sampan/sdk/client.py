"""`Client` and `AsyncClient`: one table of methods, two ways to send."""

import os
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import httpx

import sampan
from sampan.sdk import calls, extensions, invoking, measuring, tracing
from sampan.sdk import usage as using
from sampan.sdk.config import Credentials, resolve, state_directory
from sampan.sdk.exchange import Retries, Settled, Timeouts
from sampan.sdk.methods import Feed, Listing, Method
from sampan.sdk.senders import Awaiting, Blocking


class Operations:
    """What a client can be asked. On `AsyncClient` every method is awaited, every listing is an async iterator."""

    create_function = Method(calls.create_function)
    get_function = Method(calls.get_function)
    update_function = Method(calls.update_function)
    delete_function = Method(calls.delete_function)
    list_functions = Listing(calls.list_functions)
    disable_function = Method(calls.disable_function)
    enable_function = Method(calls.enable_function)

    invoke = Method(invoking.invoke)
    http = Method(invoking.http)

    publish_version = Method(calls.publish_version)
    list_versions = Listing(calls.list_versions)
    delete_version = Method(calls.delete_version)

    create_alias = Method(calls.create_alias)
    get_alias = Method(calls.get_alias)
    update_alias = Method(calls.update_alias)
    delete_alias = Method(calls.delete_alias)
    list_aliases = Listing(calls.list_aliases)

    create_trigger = Method(calls.create_trigger)
    get_trigger = Method(calls.get_trigger)
    update_trigger = Method(calls.update_trigger)
    delete_trigger = Method(calls.delete_trigger)
    list_triggers = Listing(calls.list_triggers)

    create_domain = Method(calls.create_domain)
    get_domain = Method(calls.get_domain)
    update_domain = Method(calls.update_domain)
    delete_domain = Method(calls.delete_domain)
    list_domains = Listing(calls.list_domains)

    put_concurrency = Method(calls.put_concurrency)
    get_concurrency = Method(calls.get_concurrency)
    delete_concurrency = Method(calls.delete_concurrency)
    list_concurrency = Listing(calls.list_concurrency)

    put_provision = Method(calls.put_provision)
    get_provision = Method(calls.get_provision)
    delete_provision = Method(calls.delete_provision)
    list_provision = Listing(calls.list_provision)

    put_scaling = Method(calls.put_scaling)
    get_scaling = Method(calls.get_scaling)
    delete_scaling = Method(calls.delete_scaling)

    list_instances = Listing(calls.list_instances)
    tag = Method(calls.tag)
    untag = Method(calls.untag)
    list_tags = Listing(calls.list_tags)
    regions = Method(calls.regions)

    describe = Method(extensions.describe)
    logs = Feed(extensions.logs)
    status = Method(extensions.status)
    images = Method(extensions.images)
    usage = Method(using.usage)
    usage_csv = Method(using.usage_csv)
    invocations = Listing(using.invocations)

    trace = Method(tracing.trace)
    trace_otlp = Method(tracing.trace_otlp)
    traces = Listing(tracing.traces)
    now = Method(measuring.now)
    follow_now = Feed(measuring.follow_now)
    history = Method(measuring.history)
    metrics = Method(measuring.metrics)


class Client(Operations, Blocking):
    """The platform, from code that waits for its answers.

        with Client() as sampan:
            print(sampan.invoke("web", b"hello").text)

    What is not given is taken from SAMPAN_ENDPOINT, SAMPAN_ACCESS_KEY_ID and SAMPAN_ACCESS_KEY_SECRET, then from
    `<state>/credentials.toml`. `tls`: for an https endpoint with a private CA.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        access_key_id: str | None = None,
        access_key_secret: str | None = None,
        *,
        state: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
        retries: Retries = Retries(),  # noqa: B008  frozen
        timeouts: Timeouts = Timeouts(),  # noqa: B008  frozen
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Raises: NotConfigured, UnsafeCredentials."""
        self.credentials = _credentials(endpoint, access_key_id, access_key_secret, state, environment)
        http = httpx.Client(verify=_tls(self.credentials, tls), trust_env=False)
        super().__init__(_settled(self.credentials, retries, timeouts), http)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.credentials.endpoint!r})"


class AsyncClient(Operations, Awaiting):
    """The platform, from asyncio. As `Client`, with `async with` and `await`."""

    def __init__(
        self,
        endpoint: str | None = None,
        access_key_id: str | None = None,
        access_key_secret: str | None = None,
        *,
        state: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
        retries: Retries = Retries(),  # noqa: B008  frozen
        timeouts: Timeouts = Timeouts(),  # noqa: B008  frozen
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Raises: NotConfigured, UnsafeCredentials."""
        self.credentials = _credentials(endpoint, access_key_id, access_key_secret, state, environment)
        http = httpx.AsyncClient(verify=_tls(self.credentials, tls), trust_env=False)
        super().__init__(_settled(self.credentials, retries, timeouts), http)

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self.credentials.endpoint!r})"


def _credentials(
    endpoint: str | None,
    key_id: str | None,
    key_secret: str | None,
    state: str | os.PathLike[str] | None,
    environment: Mapping[str, str] | None,
) -> Credentials:
    surroundings = os.environ if environment is None else environment
    arguments = {"endpoint": endpoint, "access_key_id": key_id, "access_key_secret": key_secret}
    return resolve(arguments, surroundings, state_directory(state, surroundings))


def _settled(credentials: Credentials, retries: Retries, timeouts: Timeouts) -> Settled:
    return Settled(
        endpoint=credentials.endpoint,
        key=credentials.key,
        retries=retries,
        timeouts=timeouts,
        user_agent=f"sampan-sdk/{sampan.__version__}",
        region=credentials.region,
    )


def _tls(credentials: Credentials, given: ssl.SSLContext | None) -> ssl.SSLContext:
    """Reading the CA bundle takes 20 ms, so it is left out where no TLS is spoken: that context trusts nobody."""
    if given is not None:
        return given
    if credentials.endpoint.startswith("https://"):
        return httpx.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

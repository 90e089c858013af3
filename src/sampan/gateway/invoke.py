"""The story of a request: found, allowed, given a slot, forwarded, written down."""

import asyncio
import hashlib
import time
from collections.abc import Coroutine
from typing import Final, TypeVar

from sampan.gateway import cors, events, outcomes, replies
from sampan.gateway.body import ClientGone
from sampan.gateway.control import Control
from sampan.gateway.exchange import Ending, Exchange
from sampan.gateway.forward import Forward
from sampan.gateway.grpc import GrpcCall
from sampan.gateway.instance import Instance, Slot
from sampan.gateway.leases import Leases
from sampan.gateway.limits import Limits
from sampan.gateway.relay import Underway
from sampan.gateway.reports import Reports
from sampan.gateway.route import ApiTarget, Endpoint, EventTarget, HealthTarget, HttpTarget, RouteTable, Served
from sampan.gateway.sessions import Sessions
from sampan.gateway.tracing import Tracing
from sampan.gateway.upstream import Unreachable
from sampan.model.errors import (
    ConnectionClosed,
    Denied,
    FunctionExited,
    FunctionFailed,
    FunctionTimedOut,
    MethodNotAllowed,
    NotSupported,
    PlatformFailed,
    RouteMethodNotAllowed,
    SampanError,
    SignatureMismatch,
    TriggerNotFound,
)
from sampan.model.invocation import InvocationRecord, Outcome
from sampan.model.trigger import AuthType
from sampan.telemetry.logs import Log
from sampan.wire import signature

ATTEMPTS: Final = 3  # instances tried when one after the other accepts no connection
_ACS3: Final = signature.SCHEME.encode()

# A member of an enum, and a function of another module, are looked up by their names each time.
_OK: Final = Outcome.OK
_FUNCTION_ERROR: Final = Outcome.FUNCTION_ERROR
_CLIENT_GONE: Final = Outcome.CLIENT_GONE
_PLATFORM_ERROR: Final = Outcome.PLATFORM_ERROR
_now: Final = time.time_ns
_Record: Final = InvocationRecord

Call = TypeVar("Call", bound=Underway | GrpcCall)

log = Log("gateway")


class Invoke:
    """Answers every exchange."""

    def __init__(
        self,
        routes: RouteTable,
        limits: Limits,
        leases: Leases,
        sessions: Sessions,
        forward: Forward,
        control: Control,
        reports: Reports,
        max_event: int,
        tracing: Tracing,
    ) -> None:
        self._routes, self._limits, self._leases, self._sessions = routes, limits, leases, sessions
        self._forward, self._control, self._reports, self._max_event = forward, control, reports, max_event
        self._tracing = tracing
        self._nonces = signature.Nonces()
        self._loop = asyncio.get_running_loop()

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request, whatever it is and whatever happens."""
        try:
            if exchange.refusal is not None:
                raise exchange.refusal
            target = self._routes.resolve(exchange.method, exchange.host, exchange.target, exchange.secure)
            if type(target) is HttpTarget:
                await self._http(exchange, target)
            elif type(target) is EventTarget:
                await self._event(exchange, target)
            elif type(target) is ApiTarget:
                await self._forward.api(exchange)
            elif type(target) is HealthTarget:
                health = self._control.health.answers(self._control.connected, self._loop.time())
                exchange.answer(health.ready if target.ready else 200, replies.JSON, health.body)
        except SampanError as error:
            replies.refuse(exchange, error)
        except Exception as unforeseen:
            log.failure("request failed", unforeseen, request=exchange.request)
            replies.refuse(exchange, PlatformFailed(str(unforeseen)))
        finally:
            exchange.client.ended(exchange)

    # ── HTTP calls ──

    async def _http(self, exchange: Exchange, target: HttpTarget) -> None:
        endpoint = target.endpoint
        if (exchange.origin or endpoint.cors is not None) and self._preflight(exchange, endpoint):
            return
        if not target.endpoint.served:  # not active yet; only who may call it is told why
            if not self._admit_caller(exchange, target) and endpoint.guard is not None:
                await endpoint.guard.admit(exchange, target.path)
            self._limits.check(target.endpoint.route)
        served = target.endpoint.pick()
        outcome, instance, cold, counted = _PLATFORM_ERROR, None, False, None
        session: str | None = None
        try:
            signed = self._admit_caller(exchange, target)
            if endpoint.guard is not None and not signed:
                target = HttpTarget(endpoint, target.base_path, await endpoint.guard.admit(exchange, target.path))
            self._tracing.begin(exchange, served.sampling)
            counted = self._limits.admit(endpoint)
            if served.affine:
                served, session = self._sessions.of(exchange, endpoint, served, cookies=True)
            for _ in range(ATTEMPTS):
                slot = self._leases.take(served.key) if session is None else None
                if slot is None:
                    slot = await self._wait(exchange, served, session)
                exchange.leased, cold = _now(), cold or slot.cold
                with slot as instance:
                    exchange.answered = _Answered(self, exchange, target, served, instance, cold)
                    try:
                        call = await self._in_function(
                            exchange, served, instance,
                            self._forward.http(exchange, target, served, instance, signed),
                        )  # fmt: skip
                    except Unreachable as unreachable:
                        self._leases.lose(instance, str(unreachable))
                    else:
                        outcome = _FUNCTION_ERROR if call.failed else _OK
                        return
            raise PlatformFailed(f"no instance of '{served.version.function}' accepts connections")
        except SampanError as error:
            outcome, exchange.answered = outcomes.note(exchange, error), None
            replies.refuse(exchange, error)
        except asyncio.CancelledError:
            outcome = Outcome.OK if exchange.status == 101 else Outcome.CLIENT_GONE
            raise
        finally:
            if counted is not None:
                counted.end()
            self.record(exchange, target, served, instance, outcome, cold)

    def _admit_caller(self, exchange: Exchange, target: HttpTarget) -> bool:
        """Whether the call was signed for us. One that need not be is the guard's to admit, where there is one.

        Source: triggers.md §3. Who can sign as the account may call without a trigger, as InvokeFunction may.
        Raises: Denied, TriggerNotFound, MethodNotAllowed, NotSupported, and what a bad signature raises.
        """
        if not exchange.authorization and exchange.method in target.endpoint.open_to:
            self._refuse_async(exchange)
            return False
        trigger = target.endpoint.trigger
        signed = exchange.authorization.startswith(_ACS3)
        if trigger is None:
            if not signed:
                raise TriggerNotFound(target.endpoint.route.function, f"http ({target.endpoint.qualifier})")
        else:
            if trigger.url_disabled:
                raise Denied("access denied due to function internet URL is disable")
            method = exchange.method.decode("latin-1")
            if method not in trigger.methods:
                raise MethodNotAllowed(method, trigger.methods)
            open_ = trigger.auth is AuthType.ANONYMOUS or target.endpoint.guard is not None
            if open_ and not (signed and self._ours(exchange)):
                self._refuse_async(exchange)
                return False
        signature.verify_trigger(*_signable(exchange), self._routes.key, time.time())
        self._refuse_async(exchange)
        return True

    def _preflight(self, exchange: Exchange, endpoint: Endpoint) -> bool:
        """Whether it was a browser's question that is answered here; an answer of the function's gets our lines.

        Raises: RouteMethodNotAllowed, of what came to a route only because it could have been such a question.
        """
        exchange.cors = endpoint.cors or cors.ANYBODY
        trigger, lines = endpoint.trigger, None
        if endpoint.cors is not None and trigger is not None and not trigger.url_disabled:
            lines = endpoint.cors.preflight(exchange)
        if lines is None:
            if (way := endpoint.preflights_of) is not None:
                raise RouteMethodNotAllowed("OPTIONS", way.methods, exchange.host.decode("latin-1"), way.path)
            return False
        exchange.answer(204, b"X-Fc-Request-Id: %b\r\n%b" % (exchange.request.encode(), lines), b"")
        return True

    def _ours(self, exchange: Exchange) -> bool:
        """An anonymous function may use the same scheme for itself: then the key is none of ours."""
        _, _, rest = exchange.authorization.partition(b"Credential=")
        return self._routes.key(rest.partition(b",")[0].strip().decode("latin-1")) is not None

    # ── InvokeFunction ──

    async def _event(self, exchange: Exchange, target: EventTarget) -> None:
        if not target.endpoint.served:
            await self._signed_body(exchange)
            self._limits.check(target.endpoint.route)
        served = target.endpoint.pick()
        outcome, instance, cold, counted = Outcome.PLATFORM_ERROR, None, False, None
        session: str | None = None
        try:
            body = await self._signed_body(exchange)
            self._refuse_async(exchange)
            self._tracing.begin(exchange, served.sampling)
            counted = self._limits.admit(target.endpoint)
            if served.affine:
                served, session = self._sessions.of(exchange, target.endpoint, served, cookies=False)
            for _ in range(ATTEMPTS):
                slot = self._leases.take(served.key) if session is None else None
                if slot is None:
                    slot = await self._wait(exchange, served, session)
                exchange.leased, cold = _now(), cold or slot.cold
                with slot as instance:
                    try:
                        outcome = await self._run_event(exchange, target, served, instance, body, cold)
                    except Unreachable as unreachable:
                        self._leases.lose(instance, str(unreachable))
                    else:
                        return
            raise PlatformFailed(f"no instance of '{served.version.function}' accepts connections")
        except SampanError as error:
            outcome, exchange.answered = outcomes.note(exchange, error), None
            if exchange.begun or not events.fail(exchange, served.version, instance, error):
                replies.refuse(exchange, error)
        except asyncio.CancelledError:
            outcome = Outcome.CLIENT_GONE
            raise
        finally:
            if counted is not None:
                counted.end()
            self.record(exchange, target, served, instance, outcome, cold)

    async def _run_event(
        self, exchange: Exchange, target: EventTarget, served: Served, instance: Instance, body: bytes, cold: bool
    ) -> Outcome:
        wanted = (exchange.header(b"x-fc-log-type") or b"").lower() == b"tail" and served.version.concurrency == 1
        before = await self._control.tail(instance.grant.instance, None) if wanted else None
        call = await self._in_function(
            exchange, served, instance, self._forward.event(exchange, served, instance, body)
        )
        logged = b""
        if before is not None:
            instance.frames.flush()
            tail = await self._control.tail(instance.grant.instance, before.position)
            logged = events.log_line(exchange, served.version, tail) if tail is not None else b""
        outcome = Outcome.FUNCTION_ERROR if call.failed else Outcome.OK
        exchange.answered = _Answered(self, exchange, target, served, instance, cold, call.failed)
        events.succeed(exchange, served.version, instance, b"".join(call.pieces), call.failed, logged)
        return outcome

    async def _signed_body(self, exchange: Exchange) -> bytes:
        """The event, once its sender is known. Raises: as `signature.verify`; EntityTooLarge."""
        signature.verify(*_signable(exchange), self._routes.key, time.time(), self._nonces, None)
        if exchange.body is None:
            body = b""
        else:
            exchange.let_body_come()
            body = await exchange.body.collect(self._max_event)
        told = exchange.header(b"x-acs-content-sha256") or b""
        if told.lower() != hashlib.sha256(body).hexdigest().encode():
            raise SignatureMismatch
        return body

    # ── both ──

    def _wait(self, exchange: Exchange, served: Served, session: str | None) -> Coroutine[object, object, Slot]:
        """For a slot, in its session's instance if it has one. However often it has to, for `queue_wait` in all."""
        exchange.deadline = exchange.deadline or self._loop.time() + served.version.queue_wait
        if exchange.grpc:
            exchange.deadline = min(exchange.deadline, exchange.due)
        if session is not None:
            return self._sessions.slot(exchange, served.version, session)
        return self._leases.wait(served.version, exchange.deadline)

    async def _in_function(
        self, exchange: Exchange, served: Served, instance: Instance, sent: Coroutine[object, object, Call]
    ) -> Call:
        """While the request is in the function: its log is framed, and an instance it spoilt is reported."""
        error: str = "Invocation canceled by client"
        if exchange.sampled:
            instance.reports = True
        instance.frames.start(exchange.request)
        try:
            call = await sent
        except FunctionTimedOut as timed_out:
            error = str(timed_out)
            self._spoilt(served, instance, error)
            raise
        except FunctionExited as exited:
            error = str(exited)
            self._leases.lose(instance, error)
            if exchange.begun:
                raise
            failed = await self._how(instance, exited)
            error = str(failed)
            raise failed from exited
        except (ClientGone, asyncio.CancelledError):
            if exchange.status == 101:
                error = ""
            else:
                self._spoilt(served, instance, error)
            raise
        except SampanError as failed:
            error = str(failed)
            raise
        else:
            error = "Unhandled Exception" if call.failed else ""
            return call
        finally:
            instance.frames.end(exchange.request, error)

    async def _how(self, instance: Instance, exited: FunctionExited) -> FunctionFailed:
        """A connection broke: what control can tell of it. Off the hot path, so it may take a moment."""
        failure = await self._leases.verdict(instance)
        if failure is None and self._control.connected:
            return ConnectionClosed(exited.milliseconds)
        return FunctionExited(exited.milliseconds, failure)

    def _spoilt(self, served: Served, instance: Instance, why: str) -> None:
        """The abandoned request may still run: an instance that takes one at a time must not get another."""
        if served.version.concurrency == 1:
            self._leases.lose(instance, why, replace=True)

    def _refuse_async(self, exchange: Exchange) -> None:
        if exchange.asynchronous:
            raise NotSupported("InvokeFunction with x-fc-invocation-type Async")

    def record(
        self,
        exchange: Exchange,
        target: HttpTarget | EventTarget,
        served: Served,
        instance: Instance | None,
        outcome: Outcome,
        cold: bool,
    ) -> None:
        """Once, whoever comes first."""
        exchange.answered = None
        if exchange.recorded:
            return
        exchange.recorded = True
        method = path = ""
        if type(target) is HttpTarget:
            method = exchange.method.decode("latin-1")
            path = exchange.target.partition(b"?")[0].decode("latin-1")
        if cold and instance is not None:
            exchange.startup = instance.startup
        ended = _now()
        self._reports.record(
            _Record(
                exchange.request,
                served.key,
                instance.id if instance is not None else "",
                outcome,
                0 if outcome is _CLIENT_GONE else exchange.status,
                exchange.received,
                exchange.leased,
                ended,
                cold,
                exchange.body.size if exchange.body is not None else 0,
                exchange.bytes_out,
                target.endpoint.qualifier,
                method,
                path,
                exchange.client.peer.decode("latin-1"),
                exchange.first_byte,
                exchange.error,
                exchange.standing,
                exchange.startup,
                exchange.secure,
                exchange.reason,
            ),
            served.version,
        )
        if exchange.leased:
            self._control.observed(served.key, ended - exchange.leased)


class _Answered(Ending):
    """The end of an answer is about to be sent: it is written down first, lest a kill come between."""

    __slots__ = ("_cold", "_exchange", "_failed", "_instance", "_invoke", "_served", "_target")

    def __init__(
        self, invoke: Invoke, exchange: Exchange, target: HttpTarget | EventTarget, served: Served,
        instance: Instance, cold: bool, failed: bool = False,
    ) -> None:  # fmt: skip
        self._invoke, self._exchange, self._target, self._served = invoke, exchange, target, served
        self._instance, self._cold, self._failed = instance, cold, failed

    def tell(self, failed: bool) -> None:
        outcome = _FUNCTION_ERROR if failed or self._failed else _OK
        self._invoke.record(self._exchange, self._target, self._served, self._instance, outcome, self._cold)


def _signable(exchange: Exchange) -> tuple[str, str, list[tuple[str, str]]]:
    headers = [(lower.decode("latin-1"), value.decode("latin-1")) for lower, _, value in exchange.headers]
    return exchange.method.decode("latin-1"), exchange.target.decode("latin-1"), headers

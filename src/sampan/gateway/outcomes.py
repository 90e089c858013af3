"""How a request that failed is written down. Caller, function and platform are kept apart."""

from sampan.gateway.body import ClientGone
from sampan.gateway.exchange import Exchange
from sampan.model.errors import (
    CallerMistake,
    FailureKind,
    FunctionExited,
    FunctionFailed,
    FunctionTimedOut,
    SampanError,
    StartFailed,
    Throttled,
)
from sampan.model.invocation import Outcome
from sampan.wire.errors import code_of

REASON = 300  # characters of an error that are written down

_OUTCOMES: tuple[tuple[type[SampanError], Outcome], ...] = (
    (FunctionTimedOut, Outcome.TIMED_OUT),
    (FunctionFailed, Outcome.FUNCTION_ERROR),
    (StartFailed, Outcome.START_FAILED),
    (Throttled, Outcome.THROTTLED),
    (ClientGone, Outcome.CLIENT_GONE),
    (CallerMistake, Outcome.REFUSED),
)


def note(exchange: Exchange, error: SampanError) -> Outcome:
    """Note on the exchange what is recorded of it; its outcome."""
    exchange.error, exchange.reason = _code_of(error), str(error)[:REASON]
    if isinstance(error, StartFailed):
        exchange.startup = error.failure.stages
    return _outcome_of(error)


def _outcome_of(error: SampanError) -> Outcome:
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            return outcome
    return Outcome.PLATFORM_ERROR


def _code_of(error: SampanError) -> str:
    """As it was answered; who ran out of memory is told apart, though the caller hears no code of that."""
    if isinstance(error, ClientGone):
        return ""
    failure = error.failure if isinstance(error, FunctionExited) else None
    if failure is not None and failure.kind is FailureKind.OUT_OF_MEMORY:
        return code_of(StartFailed(failure))
    return code_of(error)

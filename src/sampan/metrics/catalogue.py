"""Every metric that is counted from invocations and instances, under its name.

`faas_…` and `http_server_…` are OpenTelemetry's, in Prometheus's spelling. Source: tracing-contract.md §6.1, §6.2.
`fc_function_…` is what Function Compute's own monitoring shows of a function, told apart by qualifier.
Source: function-compute-api.md §6.5 for the kinds of errors.
"""

from sampan.metrics.families import BYTES, MEMORY, TIME, Budget, Counter, Family, Histogram
from sampan.model.invocation import InvocationRecord, Outcome

HTTP, OTHER_TRIGGER = "http", "other"  # faas.trigger of an HTTP call and of InvokeFunction
METHODS = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
)  # any other is `_OTHER`; tracing-contract.md §6.2
STAGES = frozenset(("queue", "pull", "prepare", "create", "start", "ready", "initialize", "thaw"))
CLIENT, SERVER, FUNCTION = "client", "server", "function"  # kinds of errors
BY_CONCURRENCY, BY_RESOURCE = "concurrency", "resource"  # kinds of throttles
NO_CAPACITY = "ResourceThrottled"  # the code answered where the platform is full, no limit of the caller's own
GONE = 499  # the status of a call whose caller went away

_FAAS = ("faas_name", "faas_version", "faas_trigger")
_FC = ("function", "qualifier")


def error_kind(record: InvocationRecord) -> str:
    """Whose error it was; "": nobody's, or a throttle."""
    match record.outcome:
        case Outcome.FUNCTION_ERROR | Outcome.TIMED_OUT:
            return FUNCTION
        case Outcome.START_FAILED:
            return SERVER if record.status >= 500 else FUNCTION
        case Outcome.REFUSED | Outcome.CLIENT_GONE:
            return CLIENT
        case Outcome.PLATFORM_ERROR:
            return "" if record.error == NO_CAPACITY else SERVER
        case Outcome.OK | Outcome.THROTTLED:
            return ""


def throttle_kind(record: InvocationRecord) -> str:
    """What was short; "": nothing."""
    if record.outcome is Outcome.THROTTLED:
        return BY_CONCURRENCY
    return BY_RESOURCE if record.outcome is Outcome.PLATFORM_ERROR and record.error == NO_CAPACITY else ""


def _seconds() -> Histogram:
    return Histogram(TIME)


def _bytes() -> Histogram:
    return Histogram(BYTES)


def _memory() -> Histogram:
    return Histogram(MEMORY)


class Catalogue:
    """The families; their attributes say what each is."""

    def __init__(self, budget: Budget) -> None:
        faas, fc = _FAAS, _FC
        self.invoke_duration = Family(
            "faas_invoke_duration_seconds", "Time in the function.", faas, _seconds, budget, "seconds", 1
        )
        self.init_duration = Family(
            "faas_init_duration_seconds", "Starts that requests waited for.", faas, _seconds, budget, "seconds", 1
        )
        self.coldstarts = Family(
            "faas_coldstarts", "Requests that waited for a new instance.", faas, Counter, budget, "", 1
        )
        self.errors = Family(
            "faas_errors",
            "Invocations that failed, but for timeouts.",
            (*faas, "error_type"),
            Counter,
            budget,
            "",
            2,
        )
        self.invocations = Family("faas_invocations", "Successful invocations.", faas, Counter, budget, "", 1)
        self.timeouts = Family("faas_timeouts", "Invocations ended at their timeout.", faas, Counter, budget, "", 1)
        self.net_io = Family(
            "faas_net_io_bytes", "Bodies in and out, per invocation.", faas, _bytes, budget, "bytes", 1
        )
        self.mem_usage = Family(
            "faas_mem_usage_bytes",
            "Memory of the instance, per invocation that ended in it before a look at it.",
            faas[:2],
            _memory,
            budget,
            "bytes",
        )
        self.cpu_usage = Family(
            "faas_cpu_usage_seconds",
            "CPU time between two looks at an instance, shared out over invocations that ended in it.",
            faas[:2],
            _seconds,
            budget,
            "seconds",
        )
        self.http = Family(
            "http_server_request_duration_seconds",
            "HTTP calls, from the first byte received to the last one sent.",
            ("faas_name", "http_response_status_code", "http_request_method"),
            _seconds,
            budget,
            "seconds",
            1,
        )
        self.fc_invocations = Family("fc_function_invocations", "Invocations.", fc, Counter, budget)
        self.fc_errors = Family(
            "fc_function_errors",
            "Invocations that failed, by whose error it was: client, server, function.",
            (*fc, "type"),
            Counter,
            budget,
            "",
            1,
        )
        self.fc_throttles = Family(
            "fc_function_throttles",
            "Invocations refused by a limit of the caller's own (concurrency) or a full platform (resource).",
            (*fc, "reason"),
            Counter,
            budget,
            "",
            1,
        )
        self.fc_duration = Family(
            "fc_function_duration_seconds", "Time in the function.", fc, _seconds, budget, "seconds"
        )
        self.fc_latency = Family(
            "fc_function_latency_seconds",
            "From the first byte received to the last one sent.",
            fc,
            _seconds,
            budget,
            "seconds",
        )
        self.fc_cold_starts = Family(
            "fc_function_cold_starts", "Requests that waited for a new instance.", fc, Counter, budget
        )
        self.fc_stages = Family(
            "fc_function_cold_start_stage_seconds",
            "Each stage of the starts that requests waited for.",
            (*fc, "stage"),
            _seconds,
            budget,
            "seconds",
            1,
        )
        self.fc_vcpu = Family(
            "fc_function_vcpu_seconds", "CPU time of all instances.", ("function",), Counter, budget, "seconds"
        )

    def all(self) -> list[Family[Counter] | Family[Histogram]]:
        """In the order in which they are written."""
        return [family for family in vars(self).values() if isinstance(family, Family)]

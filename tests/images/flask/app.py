"""A Flask application that calls the next function, as anybody would write it.

NEXT says which function comes next; nothing: none. CALLS says with which client it is called: `sampan` (our SDK),
`fc` and `fc2` (the vendor's, of 3.0 and 2.0). With REPORTS=jaeger its spans are made here, with Jaeger's client;
else nothing is said of tracing: `opentelemetry-instrument` does it from outside.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from urllib.parse import urlsplit

from flask import Flask, jsonify, request

NEXT = os.environ.get("NEXT", "")
app = Flask(__name__)


def jaeger() -> Callable[[Mapping[str, str]], AbstractContextManager[None]]:
    """Spans of Jaeger's own client, around the calls of Sampan's, which are told of the span."""
    import opentracing
    from jaeger_client import Config

    from sampan.sdk import trace_context

    tracer = Config(config={}, service_name=os.environ["JAEGER_SERVICE_NAME"]).initialize_tracer()

    @contextmanager
    def span(headers: Mapping[str, str]):
        parent = tracer.extract(opentracing.Format.HTTP_HEADERS, headers)
        with tracer.start_span("work", child_of=parent) as made:
            inside: dict[str, str] = {}
            tracer.inject(made, opentracing.Format.HTTP_HEADERS, inside)
            with trace_context(inside):
                yield

    return span


def with_sampan() -> Callable[[], bytes]:
    from sampan.sdk import Client

    client = Client()
    return lambda: client.invoke(NEXT, b"{}").body


def with_fc() -> Callable[[], bytes]:
    from alibabacloud_fc20230330.client import Client
    from alibabacloud_fc20230330.models import InvokeFunctionRequest
    from alibabacloud_tea_openapi.utils_models import Config

    config = Config(
        access_key_id=os.environ["SAMPAN_ACCESS_KEY_ID"],
        access_key_secret=os.environ["SAMPAN_ACCESS_KEY_SECRET"],
        endpoint=os.environ["SAMPAN_ENDPOINT"].removeprefix("http://"),
        protocol="HTTP",
        region_id=os.environ["FC_REGION"],
    )
    client = Client(config)
    return lambda: client.invoke_function(NEXT, InvokeFunctionRequest(body=b"{}")).body.read()


def with_fc2() -> Callable[[], bytes]:
    """It speaks an API of its own, so it is pointed to where the function is served, by a name."""
    import fc2

    at = urlsplit(os.environ["SAMPAN_ENDPOINT"])
    with open("/etc/hosts", "a") as hosts:
        hosts.write(f"\n{at.hostname} {NEXT}.localhost\n")
    key = {"accessKeyID": "id", "accessKeySecret": "secret"}
    client = fc2.Client(endpoint=f"http://{NEXT}.localhost:{at.port}", **key)
    return lambda: client.invoke_function("svc", NEXT, payload=b"{}").data


CLIENTS = {"sampan": with_sampan, "fc": with_fc, "fc2": with_fc2}
SPAN = jaeger() if os.environ.get("REPORTS") == "jaeger" else lambda headers: nullcontext()
CALL = CLIENTS[os.environ["CALLS"]]() if NEXT else None


@app.route("/", defaults={"path": ""}, methods=["GET", "POST"])
@app.route("/<path:path>", methods=["GET", "POST"])
def work(path: str):
    with SPAN(request.headers):
        called = CALL().decode() if CALL is not None else ""
    return jsonify(function=os.environ["FC_FUNCTION_NAME"], called=called)

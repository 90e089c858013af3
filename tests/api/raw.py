"""Requests written by hand, signed or not."""

import http.client
import secrets

import msgspec

from sampan.wire.shapes import CreateFunctionInput, CustomContainerConfig
from sampan.wire.signature import sign

WEB = CreateFunctionInput(
    function_name="web",
    runtime="custom-container",
    custom_container_config=CustomContainerConfig(image="nginx:1"),
    role="acs:ram::1:role/x",
)


def connect(api):
    return http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)


def signed(api, clock, method, target, body=None):
    host = {"host": f"127.0.0.1:{api.port}"}
    return sign(api.key, method, target, host, body, clock(), secrets.token_hex(16))


def send(api, method, target, headers, body=None):
    """Status, headers and JSON of the answer."""
    connection = connect(api)
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), msgspec.json.decode(text) if text else None


def call(api, clock, method, target, body=None):
    return send(api, method, target, signed(api, clock, method, target, body), body)


def create_web(api):
    api.run(api.catalog.functions.create(WEB))
    api.roll_out()

"""`sampan invoke`: one call, its answer on stdout, its outcome in the exit code."""

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sampan.cli.failures import Code
from sampan.cli.options import FunctionName, OutputOption, QualifierOption
from sampan.cli.screen import Output, json, printable, say
from sampan.cli.session import session

if TYPE_CHECKING:
    from sampan.sdk import HttpReply, Invocation


def invoke(
    context: typer.Context,
    name: FunctionName,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="The event, or the body.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Read it from a file; - is stdin.", allow_dash=True, show_default=False),
    ] = None,
    path: Annotated[
        str | None,
        typer.Option("--path", "-p", metavar="/PATH", help="Call its URL by HTTP instead.", show_default=False),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", "-X", help="With --path. Default: GET, or POST with a body.", show_default=False),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="NAME: VALUE", help="Repeatable.", show_default=False),
    ] = None,
    qualifier: QualifierOption = None,
    log: Annotated[bool, typer.Option("--log", "-l", help="Show the end of the request's log, if told.")] = False,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Wait so long without a byte.")] = 900.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Call a function and print its answer.

    Ends with 1 when the function failed; with --path, when it answered 400 or more.

        sampan invoke resize --file photo.json --log
        sampan invoke web --path /users?id=1
    """
    if data is not None and file is not None:
        raise typer.BadParameter("give either --data or --file", param_hint="--data")
    if path is None and method is not None:
        raise typer.BadParameter("needs --path", param_hint="--method")
    body = _body(data, file)
    headers = _headers(header or [])
    with session(context).client() as client:
        if path is not None:
            verb = method or ("POST" if data is not None or file is not None else "GET")
            reply = client.http(name, verb, path, qualifier=qualifier, headers=headers, body=body, timeout=timeout)
            if log:
                _say_logs(name, reply.request_id)
            _end_http(reply, output)
            return
        result = client.invoke(name, body, qualifier=qualifier, log=log, headers=headers, timeout=timeout)
    if log and not result.log and not result.failed:
        _say_logs(name, result.request_id)
    _end_event(name, result, output)


def _say_logs(name: str, request: str) -> None:
    """Where the log is that did not come with the answer."""
    why = "no log comes with this answer; one does of events, where the function takes one request at a time"
    say(f"→ {why}. `sampan logs {name} --request {request}` shows it", style="yellow")


def _body(data: str | None, file: Path | None) -> bytes:
    if file is None:
        return (data or "").encode()
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--file") from error


def _headers(given: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise typer.BadParameter("write it as 'Name: value'", param_hint="--header")
        headers[name.strip().lower()] = value.strip()
    return headers


def _end_event(name: str, result: "Invocation", output: Output) -> None:
    if output is Output.JSON:
        json(
            {
                "requestId": result.request_id,
                "errorType": result.error_type or None,
                "durationMs": result.duration_ms,
                "instanceId": result.instance or None,
                "version": result.version or None,
                **_content(result.body),
                "log": result.log or None,
            }
        )
    else:
        _print(result.body)
        if result.log:
            for line in result.log.rstrip().splitlines():
                say(f"│ {printable(line.rstrip())}", style="dim")
        told = [f"request {result.request_id}"]
        if result.duration_ms is not None:
            told.append(f"{result.duration_ms:g} ms")
        if result.instance:
            told.append(result.instance)
        say(" · ".join(told), style="dim")
    if result.failed:
        say(f"error: the function failed: {result.error_type}", style="red")
        logs, trace = f"sampan logs {name} --request {result.request_id}", f"sampan trace {result.request_id}"
        say(f"→ `{logs}` shows what it wrote, `{trace}` where the time went", style="yellow")
        raise typer.Exit(Code.FAILED)


def _end_http(reply: "HttpReply", output: Output) -> None:
    if refused := _refusal(reply):
        raise refused
    if output is Output.JSON:
        json(
            {
                "requestId": reply.request_id,
                "status": reply.status,
                "headers": reply.headers,
                **_content(reply.body),
            }
        )
    else:
        _print(reply.body)
        say(f"HTTP {reply.status} · request {reply.request_id}", style="dim" if reply.status < 400 else "red")
    if reply.status >= 400:
        raise typer.Exit(Code.FAILED)


def _refusal(reply: "HttpReply") -> Exception | None:
    """The platform's own error, if this is no answer of the function: it names the request in its body, too."""
    import msgspec

    from sampan.sdk.errors import api_error
    from sampan.wire.errors import Envelope

    if reply.status < 400 or not reply.request_id:
        return None
    try:
        told = msgspec.json.decode(reply.body, type=Envelope)
    except msgspec.MsgspecError:
        return None
    if told.request_id != reply.request_id:
        return None
    return api_error(told.code, reply.status, told.message, told.request_id)


def _content(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode(), "bodyEncoding": "text"}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "bodyEncoding": "base64"}


def _print(body: bytes) -> None:
    """Byte for byte; on a terminal the prompt gets a line of its own."""
    stream = sys.stdout.buffer
    stream.write(body)
    if body and sys.stdout.isatty() and not body.endswith(b"\n"):
        stream.write(b"\n")
    stream.flush()

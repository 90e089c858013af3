"""What a client may send is read in one way or not at all, and the function reads it the same way."""

import pytest

from tests.gateway.conftest import MakeStage
from tests.gateway.hostile.parts import AFTER, Bare, Recorder, Seen, record, statuses
from tests.gateway.hostile.requests import HOST, TABLES, Case
from tests.gateway.stage import Stage

DRIP = 400  # bytes up to which a case is sent one by one


async def wrong(s: Stage, recorder: Recorder, case: Case, pieces: list[bytes]) -> str:
    """What is wrong with how it went; "" when nothing is."""
    recorder.seen.clear()
    after: list[Seen] = [(b"GET", b"/after", b"")] if case.kept else []
    expected = ([case.seen] if case.seen else []) + after
    async with Bare(s) as client:
        await client.send(pieces)
        got = await client.until(b"/after 0" if case.kept else None)
    told = statuses(got)
    if told != [case.status, 200][: 1 + case.kept]:
        return f"answered {told}: {got[:300]!r}"
    if recorder.seen != expected:
        return f"the function saw {recorder.seen}"
    return f"the function could not read it: {recorder.broken}" if recorder.broken else ""


@pytest.mark.parametrize("table", TABLES)
async def test_a_request_is_read_in_one_way_or_refused(stage: MakeStage, table: str) -> None:
    s = await stage()
    recorder = await record(s)
    found = {}
    for case in TABLES[table]:
        sent = case.sent if case.name.endswith("without end") else case.sent + AFTER
        ways = {"at once": [sent]}
        if len(sent) <= DRIP:
            ways["byte by byte"] = [sent[at : at + 1] for at in range(len(sent))]
        for way, pieces in ways.items():
            if trouble := await wrong(s, recorder, case, pieces):
                found[f"{case.name}, {way} ({case.clause})"] = trouble
    assert found == {}


async def test_names_are_distinct_so_that_a_failure_points_at_one_case() -> None:
    for table in TABLES.values():
        assert len({case.name for case in table}) == len(table)


HOP_BY_HOP = (
    b"Connection: X-Mine, Host, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Fc-Account-Id,"
    b"Content-Length\r\n"
    b"X-Mine: no\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: told\r\n"
    b"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n"
    b"Proxy-Authorization: x\r\nTE: trailers\r\nTrailer: X\r\n"
)


async def test_connection_names_take_nothing_away_that_tells_where_a_request_came_from(stage: MakeStage) -> None:
    """RFC 9110 §7.6.1."""
    s = await stage()
    recorder = await record(s)
    async with Bare(s) as client:
        await client.send([b"POST / HTTP/1.1\r\n" + HOST + HOP_BY_HOP + b"Content-Length: 5\r\n\r\nhello"])
        await client.until(b"POST / 5")
    told = dict(recorder.heads[0])
    assert (told[b"host"], told[b"x-forwarded-for"]) == (b"web.localhost", b"192.0.2.1, 127.0.0.1")
    assert (told[b"x-forwarded-proto"], told[b"x-forwarded-host"]) == (b"https", b"told")
    assert (told[b"x-fc-account-id"], told[b"content-length"]) == (b"1000000000000000", b"5")
    gone = {b"connection", b"x-mine", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"trailer"}
    assert not gone & set(told)


async def test_names_that_read_like_the_platforms_never_reach_a_function(stage: MakeStage) -> None:
    """container-contract.md A2.1; many servers take `_` for `-`."""
    s = await stage()
    recorder = await record(s)
    names = (b"X-Fc-Account-Id", b"x_fc_account_id", b"X_Fc-Account_Id", b"X-FC-UNHEARD-OF", b"x-fc_client-ip",
             b"Content_Length", b"Transfer_Encoding", b"X_Forwarded_For", b"x_forwarded-proto")  # fmt: skip
    async with Bare(s) as client:
        lines = b"".join(name + b": 7\r\n" for name in names)
        await client.send([b"GET / HTTP/1.1\r\n" + HOST + lines + b"\r\n"])
        await client.until(b"GET / 0")
    told = [name.replace(b"_", b"-") for name, _ in recorder.heads[0]]
    assert len(told) == len(set(told))
    assert b"7" not in dict(recorder.heads[0]).values()


async def test_trailers_never_become_headers_of_this_request_or_the_next(stage: MakeStage) -> None:
    """RFC 9110 §6.5.1."""
    s = await stage()
    recorder = await record(s)
    async with Bare(s) as client:
        chunked = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
        await client.send([chunked + b"X-Late: 1\r\nAuthorization: x\r\n\r\n" + AFTER])
        await client.until(b"/after 0")
    assert [request[1] for request in recorder.seen] == [b"/", b"/after"]
    assert not {b"x-late", b"authorization"} & {name for head in recorder.heads for name, _ in head}


async def test_an_absolute_target_overrules_the_host_that_was_told(stage: MakeStage) -> None:
    """RFC 9112 §3.2.2."""
    s = await stage()
    recorder = await record(s)
    async with Bare(s) as client:
        await client.send([b"GET http://web.localhost:80/x HTTP/1.1\r\nHost: other.localhost\r\n\r\n"])
        await client.until(b"GET /x 0")
    assert [value for name, value in recorder.heads[0] if name == b"host"] == [b"web.localhost:80"]


async def test_what_a_refusal_repeats_cannot_begin_an_answer_of_its_own(stage: MakeStage) -> None:
    s = await stage()
    sent = b"GET /no%0d%0aX-Evil:%201%0d%0a%0d%0aHTTP/1.1%20200%20OK HTTP/1.1\r\n"
    sent += b"Host: nobody\r\nExpect: a\tb\xff\r\n\r\n"
    for request in (sent, sent.replace(b"Expect", b"X"), sent.replace(b"GET ", b"GET http://a@b")):
        async with Bare(s) as client:
            await client.send([request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
            got = await client.until(None)
        assert len(statuses(got)) == 1
        assert b"\nX-Evil" not in got
        assert got.count(b"\r\n\r\n") == 1


async def test_requests_before_a_bad_one_are_answered_first(stage: MakeStage) -> None:
    s = await stage()
    recorder = await record(s)
    async with Bare(s) as client:
        await client.send([AFTER * 3 + b"GET / HTTP/1.1\r\nX Y: 1\r\n\r\n" + AFTER])
        got = await client.until(None)
    assert statuses(got) == [200, 200, 200, 400]
    assert recorder.seen == [(b"GET", b"/after", b"")] * 3

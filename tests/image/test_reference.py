"""Image names. Source: distribution's reference grammar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.image.reference import Reference
from sampan.model.errors import InvalidArgument

DIGEST = "sha256:" + "ab" * 32

HOSTS = st.sampled_from(
    ["localhost", "localhost:5000", "127.0.0.1:1", "[::1]:5000", "a.example", "A-b.example:65535"]
)
PARTS = st.from_regex(r"[a-z0-9]{1,8}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("user/app", "docker.io/user/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/user/app:2", "docker.io/user/app:2"),
        ("localhost/web", "localhost/web:latest"),
        ("localhost:5000/web:1", "localhost:5000/web:1"),
        ("[::1]:5000/web", "[::1]:5000/web:latest"),
        (f"host.example/x@{DIGEST}", f"host.example/x@{DIGEST}"),
        (f"host.example/x:1@{DIGEST}", f"host.example/x:1@{DIGEST}"),
        ("a.example/b/c/d:e", "a.example/b/c/d:e"),
    ],
)
def test_a_name_means_what_docker_says_it_means(text: str, whole: str) -> None:
    assert str(Reference.parse(text)) == whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1",
        "nginx:",
        "Nginx",
        "a//b",
        "a.example/",
        "web@sha256:12",
        f"web@{DIGEST.replace('256', '512')}",
        "web:" + "t" * 129,
        "a.example/" + "n" * 256,
        "host:port/web",
        "http://host.example/web",
        "-a/b",
        "web 1",
        "web\n",
        "ab" * 32,
    ],
)
def test_what_is_no_name_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        Reference.parse(text)
    assert raised.value.field == "image"


@given(HOSTS, st.lists(PARTS, min_size=1, max_size=3), TAGS, st.booleans())
def test_a_whole_name_is_its_own_normal_form(host: str, parts: list[str], tag: str, pinned: bool) -> None:
    text = f"{host}/{'/'.join(parts)}:{tag}" + (f"@{DIGEST}" if pinned else "")
    parsed = Reference.parse(text)
    assert str(parsed) == text
    assert (parsed.registry, parsed.repository, parsed.tag) == (host, "/".join(parts), tag)
    assert parsed.wanted == (DIGEST if pinned else tag)
    assert parsed.api_host == host


@given(st.text(max_size=60))
def test_any_text_is_a_stable_name_or_refused(text: str) -> None:
    try:
        parsed = Reference.parse(text)
    except InvalidArgument:
        return
    assert Reference.parse(str(parsed)) == parsed


def test_the_default_registry_answers_at_a_host_of_its_own() -> None:
    assert Reference.parse("nginx").api_host == "registry-1.docker.io"
    assert Reference.parse("a.example/nginx").api_host == "a.example"


def test_pinning_keeps_the_name() -> None:
    assert str(Reference.parse("localhost/web:1").pinned(DIGEST)) == f"localhost/web:1@{DIGEST}"

import re
from urllib.parse import quote

import pytest
from alibabacloud_fc20230330.client import Client
from hypothesis import given
from hypothesis import strategies as st

from sampan.api.app import ENDPOINTS
from sampan.model.errors import NotSupported, PathNotSupported
from sampan.wire.operations import OPERATIONS, PREFIX, match


def test_the_table_is_the_vendors_client():
    """Every `*with_options` of the SDK is an operation, and no other."""
    theirs = {
        name.removesuffix("with_options").replace("_", "")
        for name in dir(Client)
        if name.endswith("with_options") and not name.startswith("_")
    }
    assert {operation.name.lower() for operation in OPERATIONS} == theirs
    assert len(OPERATIONS) == 73


def test_what_the_table_calls_supported_has_an_endpoint():
    supported = {operation.name for operation in OPERATIONS if operation.supported}
    assert supported - {"InvokeFunction"} == set(ENDPOINTS)


@given(st.data())
def test_every_operation_is_found_by_its_path(data):
    operation = data.draw(st.sampled_from(OPERATIONS))
    names = re.findall(r"{(\w+)}", operation.path)
    values = {name: data.draw(st.text(st.characters(codec="utf-8"), min_size=1)) for name in names}
    path = operation.path
    for name, value in values.items():
        path = path.replace("{" + name + "}", quote(value, safe=""))
    if operation.supported:
        assert match(operation.method, PREFIX + path) == (operation, values)
    else:
        with pytest.raises(NotSupported, match=operation.name):
            match(operation.method, PREFIX + path)


def test_an_encoded_slash_stays_in_its_segment():
    _, params = match("GET", "/2023-03-30/functions/a%2Ftriggers%2Fb")
    assert params == {"functionName": "a/triggers/b"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/2023-03-30"),
        ("GET", "/2023-03-30/"),
        ("GET", "/2023-03-30/functions/"),
        ("GET", "/2023-03-30/functions/a/"),
        ("PATCH", "/2023-03-30/functions"),
        ("GET", "/2016-08-15/services"),
        ("GET", "//2023-03-30/functions"),
    ],
)
def test_any_other_path_is_refused(method, path):
    with pytest.raises(PathNotSupported):
        match(method, path)

"""Whatever is done to a function, in whatever order, what can be called can be run."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sampan.catalog.catalog import Catalog
from sampan.catalog.plans import Defaults
from sampan.model.errors import (
    AlreadyExists,
    ConcurrentUpdate,
    Conflict,
    InvalidArgument,
    NotFound,
    NothingToPublish,
    VersionInUse,
)
from sampan.store.database import Database, migrate, sqlite_url
from sampan.wire.limit_shapes import PutProvisionConfigInput
from sampan.wire.shapes import CreateAliasInput, UpdateAliasInput, UpdateFunctionInput
from tests.catalog.making import function, pulled

pytestmark = pytest.mark.slow

VERSIONS = st.integers(1, 4).map(str)
WEIGHTS = st.dictionaries(VERSIONS, st.floats(0, 1), max_size=2)
NAMES = st.sampled_from(["prod", "beta"])


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        url = sqlite_url(Path(self.directory.name) / "db" / "catalog.db")
        migrate(url)
        self.loop = asyncio.Runner()
        self.database = Database(url)
        self.catalog = Catalog(self.database, Defaults(max_instances=100))
        self.loop.run(self.catalog.functions.create(function()))
        self.pending: int | None = 1
        self.timeout: int | None = None  # of what serves LATEST
        self.next: int = 3
        self.published: list[int] = []

    def teardown(self) -> None:
        self.loop.run(self.database.close())
        self.loop.close()
        self.directory.cleanup()

    def attempt(self, coroutine, *errors):
        try:
            return self.loop.run(coroutine)
        except errors:
            return None

    @rule(timeout=st.integers(1, 5))
    def update(self, timeout):
        before = self.loop.run(self.catalog.functions.get("web"))
        changes = before.newest().configuration.timeout != timeout
        try:
            after = self.loop.run(self.catalog.functions.update("web", UpdateFunctionInput(timeout=timeout)))
        except ConcurrentUpdate:
            assert changes
            assert self.pending is not None
            return
        if changes:
            assert self.pending is None
            self.pending, self.next = after.pending, timeout

    @precondition(lambda self: self.pending is not None)
    @rule(digest=st.sampled_from(["sha256:a", "sha256:b"]))
    def activate(self, digest):
        self.loop.run(self.catalog.prepared("web", self.pending, pulled(digest=digest)))
        self.loop.run(self.catalog.activate("web", self.pending))
        self.pending, self.timeout = None, self.next

    @precondition(lambda self: self.pending is not None)
    @rule()
    def reject(self):
        self.loop.run(self.catalog.reject("web", self.pending, "exited", "no"))
        self.pending = None

    @rule()
    def publish(self):
        made = self.attempt(self.catalog.versions.publish("web", None), NothingToPublish, Conflict)
        if made is not None:
            assert all(int(made.id) > number for number in self.published)
            self.published.append(int(made.id))

    @rule(version=VERSIONS)
    def unpublish(self, version):
        self.attempt(self.catalog.versions.delete("web", version), NotFound, VersionInUse)

    @rule(name=NAMES, version=VERSIONS, weights=WEIGHTS)
    def point(self, name, version, weights):
        given = CreateAliasInput(alias_name=name, version_id=version, additional_version_weight=weights)
        self.attempt(self.catalog.aliases.create("web", given), NotFound, AlreadyExists, InvalidArgument)

    @rule(name=NAMES, version=st.none() | VERSIONS, weights=st.none() | WEIGHTS)
    def shift(self, name, version, weights):
        given = UpdateAliasInput(version_id=version, additional_version_weight=weights)
        self.attempt(self.catalog.aliases.update("web", name, given), NotFound, InvalidArgument)

    @rule(name=NAMES, number=st.integers(0, 3))
    def provision(self, name, number):
        given = PutProvisionConfigInput(default_target=number)
        self.attempt(self.catalog.limits.provision("web", name, given), NotFound)

    @rule(name=NAMES)
    def unpoint(self, name):
        self.attempt(self.catalog.aliases.delete("web", name), NotFound)

    @invariant()
    def what_can_be_called_can_be_run(self):
        plan = self.loop.run(self.catalog.plan("web"))
        route = self.loop.run(self.catalog.route("web"))
        planned = {version.version.key: version for version in plan.versions}
        assert {served.key for served in route.versions} == set(planned)
        for shares in route.qualifiers.values():
            assert {key for _, key in shares} <= set(planned)
            assert abs(sum(share for share, _ in shares) - 1) < 1e-6
        latest = [version.version.timeout for version in plan.versions if version.version.version == "LATEST"]
        assert latest == ([] if self.timeout is None else [self.timeout])
        needed = {version.version.image.digest for version in plan.versions}
        assert needed <= self.loop.run(self.catalog.retained_images())

    @invariant()
    def the_states_agree_with_what_serves(self):
        found = self.loop.run(self.catalog.functions.get("web"))
        assert (found.state.state == "Active") == (self.timeout is not None)
        assert found.pending == self.pending
        assert [one.revision for one in self.loop.run(self.catalog.pending())] == (
            [] if self.pending is None else [self.pending]
        )
        kept = {version.revision for version in found.versions.values()} | {found.newest().revision}
        assert set(found.revisions) == kept | ({found.current} if found.current is not None else set())


Life.TestCase.settings = settings(
    max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLife = Life.TestCase

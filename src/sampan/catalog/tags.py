"""Tags on functions, by ARN."""

from collections.abc import Sequence

from sqlalchemy import delete, insert

from sampan.catalog import rules, tables
from sampan.catalog.records import Function
from sampan.catalog.shelf import Shelf
from sampan.model.errors import InvalidArgument, LimitExceeded
from sampan.wire.shapes import Tag


class Tags:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def put(self, arns: Sequence[str], kind: str | None, given: Sequence[Tag]) -> None:
        """Raises: FunctionNotFound, InvalidArgument, LimitExceeded."""
        tags = rules.tags(given)
        if not tags:
            raise InvalidArgument("Tag", [], "one or more tags")
        for name in self._functions(arns, kind):
            async with self._shelf.change(name) as (connection, function):
                if len(function.tags | tags) > rules.MAX_TAGS:
                    raise LimitExceeded(f"function '{name}' would have more than {rules.MAX_TAGS} tags")
                mine = tables.tags.c.function == name
                await connection.execute(delete(tables.tags).where(mine, tables.tags.c.key.in_(tags)))
                rows = [{"function": name, "key": key, "value": value} for key, value in tags.items()]
                await connection.execute(insert(tables.tags), rows)

    async def remove(self, arns: Sequence[str], kind: str | None, keys: Sequence[str], every: bool) -> None:
        """Raises: FunctionNotFound, InvalidArgument."""
        if not every and not 1 <= len(keys) <= rules.MAX_TAG_KEYS:
            raise InvalidArgument("TagKey", f"{len(keys)} keys", f"1–{rules.MAX_TAG_KEYS} keys, or All=true")
        for name in self._functions(arns, kind):
            async with self._shelf.change(name) as (connection, _):
                which = tables.tags.c.function == name
                if not every:
                    which &= tables.tags.c.key.in_(keys)
                await connection.execute(delete(tables.tags).where(which))

    async def of(self, arns: Sequence[str], kind: str | None) -> list[Function]:
        """Raises: FunctionNotFound, InvalidArgument."""
        return [await self._shelf.get(name) for name in self._functions(arns, kind)]

    def _functions(self, arns: Sequence[str], kind: str | None) -> list[str]:
        """Names out of ARNs; an ARN's account may be empty. Source: function-compute-api.md §7.10."""
        if kind not in rules.FUNCTION_RESOURCE:
            raise InvalidArgument("ResourceType", kind, " or ".join(rules.FUNCTION_RESOURCE))
        if not arns:
            raise InvalidArgument("ResourceId", [], "one or more ARNs of functions")
        return [self._function(arn) for arn in arns]

    def _function(self, arn: str) -> str:
        parts = arn.split(":", 4)
        defaults = self._shelf.defaults
        if len(parts) == 5 and parts[:2] == ["acs", "fc"] and parts[3] in ("", defaults.account):
            kind, _, name = parts[4].partition("/")
            if kind == "functions" and name and "/" not in name:
                return name
        allowed = f"acs:fc:{defaults.region}:{defaults.account}:functions/<name>"
        raise InvalidArgument("ResourceId", arn[:200], allowed)

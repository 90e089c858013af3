"""Access keys. Kept in memory too, since every call is checked against them."""

import secrets

from sqlalchemy import insert, select

from sampan.catalog import tables
from sampan.catalog.shelf import Shelf
from sampan.model.access import AccessKey


class Access:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._keys: dict[str, AccessKey] | None = None

    async def all(self) -> tuple[AccessKey, ...]:
        """All keys, oldest first."""
        if self._keys is None:
            self._keys = await self._load()
        return tuple(self._keys.values())

    def find(self, id_: str) -> AccessKey | None:
        """Among the keys that `all` has read."""
        return (self._keys or {}).get(id_)

    async def _load(self) -> dict[str, AccessKey]:
        async with self._shelf.database.read() as connection:
            rows = await connection.execute(select(tables.access_keys).order_by(tables.access_keys.c.created))
            return {row.id: AccessKey(row.id, row.secret, row.account) for row in rows}

    async def ensure(self, account: str) -> tuple[AccessKey, bool]:
        """The account's first key, and whether it was made just now."""
        async with self._shelf.database.write() as connection:
            mine = tables.access_keys.c.account == account
            query = select(tables.access_keys).where(mine).order_by(tables.access_keys.c.created)
            row = (await connection.execute(query)).first()
            if row is not None:
                return AccessKey(row.id, row.secret, row.account), False
            key = AccessKey("SMPN" + secrets.token_hex(10).upper(), secrets.token_urlsafe(32), account)
            values = {"id": key.id, "secret": key.secret, "account": account, "created": self._shelf.now()}
            await connection.execute(insert(tables.access_keys).values(values))
        self._keys = None  # read anew
        return key, True

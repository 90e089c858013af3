"""The platform in numbers, by the minute."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    pass

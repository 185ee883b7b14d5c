"""${message}"""

from __future__ import annotations

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade(schema: str) -> None:
    ${upgrades if upgrades else "raise AssertionError('write this migration')"}


def downgrade(schema: str) -> None:
    ${downgrades if downgrades else "raise AssertionError('write this migration')"}

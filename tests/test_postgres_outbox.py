"""What holds of the outbox holds on PostgreSQL, too."""

from __future__ import annotations

from stores import on_postgres
from test_outbox import *  # noqa: F403

__all__ = ["on_postgres"]

"""What holds of deliveries that follow one another holds on PostgreSQL, too."""

from __future__ import annotations

from stores import on_postgres
from test_outbox_following import *  # noqa: F403

__all__ = ["on_postgres"]

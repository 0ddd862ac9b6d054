"""Tests; the fault harness is run from here: python -m tests.chaos."""

from __future__ import annotations

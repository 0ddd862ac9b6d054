"""Commands typed into `bridge`, in this process, over the store of a bench."""

from __future__ import annotations

import json
import re
from typing import Any

from click.testing import CliRunner, Result
from kit import Bench

from bridge.cli import main

SALE = "stripe:in_1QNjVgZk4Tp9WvLqVyR24PLZ"
ORDER = SALE.partition(":")[2]
CUSTOMER = "cus_TZ3yrniwyYL7T5"
STORY = ("invoice.paid", "invoice_payment.paid", "refund.created")
ISO_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def sell(shop: Bench) -> Bench:
    """Sell, refund a part of it, and tell every vendor."""
    shop.click(CUSTOMER)
    for name in STORY:
        shop.play(name)
    return shop


def bridge(*arguments: str) -> Result:
    """Run a command in this process; nothing but an exit may come out of it."""
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def printed(*arguments: str) -> str:
    result = bridge(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def listed(*arguments: str) -> list[dict[str, Any]]:
    """Return what a command prints as JSON: exactly one array."""
    rows = json.loads(printed(*arguments, "--json"))
    assert isinstance(rows, list)
    return rows


def complaint(code: int, *arguments: str) -> str:
    """Return what a command says on stderr when it ends with this code."""
    result = bridge(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    return result.stderr

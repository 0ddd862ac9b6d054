"""The fixtures of all providers, mutated: whatever comes is read or refused, and never else."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from cases import CASES, Case, made
from hypothesis import given
from hypothesis import strategies as st
from mutations import DROP, ODD, mutate, places

from bridge import codec, ledger, providers
from bridge.errors import MoneyError, PayloadError
from bridge.model import Erasure, Payment, WebhookRequest
from bridge.providers.base import AnyProvider

each_provider = pytest.mark.parametrize("name", providers.discover())


def with_switches(name: str) -> list[AnyProvider]:
    """Return a provider as it is by default, and with each of its switches on."""
    fields = providers.discover()[name].settings_type.model_fields.items()
    switches = [field for field, info in fields if info.annotation is bool]
    return [made(name), *(made(name, **{field: True}) for field in switches)]


def is_form(fixture: Case) -> bool:
    return not fixture.body.startswith("{")


def document(fixture: Case) -> Any:
    """Return the values in a body, JSON or form."""
    if is_form(fixture):
        return dict(parse_qsl(fixture.body, keep_blank_values=True))
    return json.loads(fixture.body)


def written(fixture: Case, values: Any) -> bytes:
    if is_form(fixture):
        return urlencode(values, errors="replace").encode()
    return json.dumps(values).encode()


def read(provider: AnyProvider, request: WebhookRequest) -> None:
    """Read a request as far as it can be read, and write down what it means as the store does."""
    with suppress(PayloadError, MoneyError):
        event = provider.read(request)
        for each in (*provider.normalise(event), *filter(None, [provider.erasure(event)])):
            stored = codec.dump(each)
            stored.encode("utf-8")
            assert codec.load(Erasure if isinstance(each, Erasure) else Payment, stored) == each


@each_provider
@given(data=st.data())
def test_a_mutated_event_is_read_or_refused(name: str, data: st.DataObject) -> None:
    fixture = data.draw(st.sampled_from([each for each in CASES if each.provider == name]))
    values = document(fixture)
    mutate(values, data, ODD, most=4)
    request = replace(fixture.request, body=written(fixture, values))
    for provider in with_switches(name):
        read(provider, request)


@each_provider
@pytest.mark.parametrize("odd", [DROP, None, True, -1, 10**40, "1e9", "x", [7], {"id": 7}])
def test_every_single_field_may_be_odd(name: str, odd: object) -> None:
    known = with_switches(name)
    for fixture in CASES:
        if fixture.provider != name or "@" in fixture.name:
            continue
        values = document(fixture)
        for where, key in list(places(values)):
            kept = where[key]
            if odd is DROP:
                del where[key]
            else:
                where[key] = odd
            request = replace(fixture.request, body=written(fixture, values))
            for provider in known:
                read(provider, request)
            if odd is DROP and isinstance(where, list):
                where.insert(key, kept)
            else:
                where[key] = kept


@each_provider
@given(text=st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_read_or_refused(name: str, text: str) -> None:
    fixture = next(each for each in CASES if each.provider == name)
    read(made(name), replace(fixture.request, body=text.encode("utf-8", "replace")))


@each_provider
def test_whatever_was_lost_the_rest_can_be_folded(name: str) -> None:
    told: dict[str, list[Payment]] = defaultdict(list)
    for fixture in CASES:
        provider = (
            made(name, **fixture.case.get("settings", {})) if fixture.provider == name else None
        )
        event = provider.read(fixture.request) if provider else None
        if provider and event and not (event.ignored or event.waits_for):
            told[event.account] += provider.normalise(event)
    for payments in told.values():
        whole = {each.id for each in ledger.fold(payments)}
        for at in range(len(payments)):
            rest = ledger.fold(payments[:at] + payments[at + 1 :])
            assert len(rest) <= len(whole) + 1

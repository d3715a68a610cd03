"""An account on the loopback."""

import pytest


@pytest.fixture
def stand_in():
    """The address of the stand-in, and what it holds; what `datadog` keeps in its modules is forgotten afterwards."""
    api = pytest.importorskip("datadog.api", reason="datadog is not installed")
    from datadog.api.http_client import RequestClient

    from tests.monitoring.stand_in import datadog_stand_in

    names = ("_api_key", "_application_key", "_api_host", "_host_name", "_mute", "_hostname_from_config")
    before = {name: getattr(api, name, None) for name in names}
    with datadog_stand_in() as (address, held):
        yield address, held
        if RequestClient._session is not None:
            RequestClient._session.close()
            RequestClient._session = None
    for name, value in before.items():
        setattr(api, name, value)


@pytest.fixture
def held(stand_in):
    """What the account holds."""
    return stand_in[1]


@pytest.fixture
def account(stand_in):
    """The account."""
    from asgi_resilience.monitoring.account import Account

    return Account("api", "app", stand_in[0])

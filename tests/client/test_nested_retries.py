"""Retries below ours are found where libraries keep them, and warned about."""

from types import SimpleNamespace

import pytest

from asgi_resilience.client.nested_retries import warn_of_nested_retries


def sdk(package, **attributes):
    """A client object of a model SDK."""
    return type("AsyncClient", (), {"__module__": package, **attributes})()


def redis(retries):
    """What redis-py's client holds."""
    return SimpleNamespace(connection_pool=SimpleNamespace(connection_kwargs={"retry": retries}))


def boto(retries):
    """What botocore's client holds."""
    return SimpleNamespace(meta=SimpleNamespace(config=SimpleNamespace(retries=retries)))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            sdk("openai", max_retries=2),
            "db: AsyncClient retries 2 times by itself; pass max_retries=0 to the SDK's client",
        ),
        (sdk("openai.resources", _client=sdk("openai", max_retries=2)), "retries 2 times"),
        (sdk("anthropic._client", max_retries=3), "retries 3 times"),
        (sdk("openai", max_retries=0), None),
        (sdk("openai", max_retries="many"), None),
        (sdk("acme", max_retries=2), None),
        (redis(SimpleNamespace(get_retries=lambda: 10)), "retries 10 times"),
        (redis(SimpleNamespace(get_retries=lambda: 0)), None),
        (redis(SimpleNamespace(get_retries=lambda: None)), None),
        (redis(None), None),
        (boto(None), "retries 4 times"),
        (boto({"max_attempts": 2}), "retries 2 times"),
        (boto({"max_attempts": 0}), None),
        (boto({"total_max_attempts": 3}), "retries 2 times"),
        (boto({"total_max_attempts": 1}), None),
        (SimpleNamespace(_pool=SimpleNamespace(_retries=2)), "retries 2 times"),
        (SimpleNamespace(_pool=SimpleNamespace(_retries=0)), None),
        (SimpleNamespace(_pool=SimpleNamespace(_retries=None)), None),
        (print, None),
        (object(), None),
    ],
)
def test_known_clients(caplog, target, said):
    """Each library's own retries are named with their number and their cure; without any, nothing is said."""
    warn_of_nested_retries("db", target)
    assert (said in caplog.text) if said is not None else (caplog.text == "")

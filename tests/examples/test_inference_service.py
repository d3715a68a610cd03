"""The reference system on real servers: every route, every code of the specification, and every part broken once."""

import json
import threading
import time

import pytest

pytest.importorskip("asyncpg", reason="asyncpg is not installed")
pytest.importorskip("aiobotocore", reason="aiobotocore is not installed")
pytest.importorskip("redis", reason="redis is not installed")
pytest.importorskip("httpx2", reason="httpx2 is not installed")

import httpx2

from examples.inference_service.parts.matches import MATCHES

pytestmark = pytest.mark.real_time

PATIENCE = 15.0
MATCH = "/matches/match_ars_tot"


@pytest.fixture
def client(system):
    """A user who may do everything."""
    headers = {"Authorization": f"Bearer {system.token('read', 'predict')}"}
    with httpx2.Client(base_url=system.url, headers=headers, timeout=PATIENCE) as client:
        yield client


def until(condition):
    """Wait for what another process does."""
    give_up, nobody = time.monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < give_up
        nobody.wait(0.1)


def fault(system, double, **options):
    """Tell a double how to fail."""
    httpx2.post(f"{system.urls[double]}/admin/faults", json=options).raise_for_status()


def code(response):
    """The error code, with the status."""
    return response.status_code, response.json()["error"]["code"]


def test_a_match(client):
    """A match comes with its odds."""
    found = client.get(MATCH).json()
    assert (found["home"], found["away"]) == ("Arsenal", "Tottenham Hotspur")
    assert found["odds"]["home"] < found["odds"]["away"]


def test_a_prediction(client):
    """What was predicted is what is found afterwards, and it can be explained by the ratings."""
    made = client.post(f"{MATCH}/predictions")
    assert made.status_code == 201
    found = client.get(f"{MATCH}/predictions")
    assert found.status_code == 200
    assert found.json() == made.json()
    chances = made.json()["chances"]
    assert sum(chances.values()) == pytest.approx(1.0, abs=0.001)
    assert chances["home"] > chances["away"]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/matches/match_unknown", (404, "MATCH_NOT_FOUND")),
        ("POST", "/matches/match_unknown/predictions", (404, "MATCH_NOT_FOUND")),
        ("GET", "/matches/7", (400, "REQUEST_INVALID_PARAMETERS")),
        ("POST", f"{MATCH}/predictions?market=btts", (422, "REQUEST_VALUES_INVALID")),
        ("DELETE", MATCH, (405, "REQUEST_METHOD_UNSUPPORTED")),
        ("GET", "/nothing/here", (404, "RESOURCE_NOT_FOUND")),
    ],
)
def test_what_clients_do_wrong(client, method, path, expected):
    """Each mistake has a code of its own."""
    assert code(client.request(method, path)) == expected


def test_tokens(system):
    """Who has no token, a forged one, an expired one, or one for something else is told so."""

    def asked(token):
        return httpx2.post(f"{system.url}{MATCH}/predictions", headers={"Authorization": f"Bearer {token}"})

    assert code(httpx2.get(f"{system.url}{MATCH}")) == (401, "AUTH_CREDENTIALS_MISSING")
    assert code(asked("nothing")) == (401, "AUTH_TOKEN_INVALID")
    assert code(asked(system.token("predict") + "0")) == (401, "AUTH_TOKEN_INVALID")
    assert code(asked(system.token("predict", seconds=-1))) == (401, "AUTH_TOKEN_EXPIRED")
    assert code(asked(system.token("read"))) == (403, "AUTH_PERMISSION_DENIED")
    assert asked("x").headers["www-authenticate"] == "Bearer"


def test_health(client):
    """All four endpoints say that all is well, and whom they have asked."""
    assert client.get("/health").json()["dependencies"] == dict.fromkeys(
        ("database", "redis", "s3", "model_service", "sports_provider"), "healthy"
    )
    assert {client.get(f"/health/{probe}").status_code for probe in ("live", "ready", "startup")} == {200}


def test_the_log_line_of_a_request(client, log):
    """A request's line names the user, the match and the model, and the lines of its work bear the same id."""
    request_id = client.post(f"{MATCH}/predictions").headers["x-request-id"]

    def lines():
        found = [
            json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if request_id in line
        ]
        return {line["logger"]["name"]: line for line in found}

    until(lambda: "asgi_resilience.access" in lines())
    request = lines()["asgi_resilience.access"]
    assert request["user_id"] == "user_xyz789"
    assert request["context"] == {"match_id": "match_ars_tot", "model_id": "v2.3"}
    assert lines()["inference_service.predictions"]["message"] == "prediction generated"


def test_a_provider_that_limits(client, system):
    """While the provider answers 429 the last odds go on, nobody waits for it, and its circuit stays closed."""
    fault(system, "PROVIDER_URL", mode="limit", per_second=0, retry_after=2)
    try:
        until(lambda: "x-degraded" in client.get(MATCH).headers)
        began = time.monotonic()
        answer = client.get(MATCH)
        assert time.monotonic() - began < 1.0
        assert answer.headers["x-degraded"] == "sports-provider"
        assert answer.json()["odds"]
        assert client.get("/internal/status").json()["sports-provider"]["breaker"] == "closed"
    finally:
        fault(system, "PROVIDER_URL", mode="ok")
    until(lambda: "x-degraded" not in client.get(MATCH).headers)


@pytest.mark.parametrize("mode", ["stall", "fail"])
def test_a_model_that_does_not_answer(client, system, mode):
    """The last prediction of the match answers; a match that never had one gets an error that says what happened."""
    made = client.post(f"{MATCH}/predictions").json()
    fault(system, "MODEL_URL", mode=mode)
    try:
        answer = client.post(f"{MATCH}/predictions")
        assert (answer.status_code, answer.json()["id"]) == (200, made["id"])
        assert answer.headers["x-degraded"] == "prediction"
        new = f"/matches/{MATCHES[-1].id}/predictions"
        assert code(client.get(new)) == (503, "PREDICTION_GENERATION_FAILED")
    finally:
        fault(system, "MODEL_URL", mode="ok")
    until(lambda: client.post(f"{MATCH}/predictions").status_code == 201)


def test_redis_killed(client, system):
    """Without Redis the database answers, and the response says so; when it is back, it is used again."""
    system.parts["redis"].kill()
    try:
        answer = client.get(MATCH)
        assert answer.status_code == 200
        assert answer.headers["x-degraded"] == "redis"
        until(lambda: client.get("/health").json()["dependencies"]["redis"] == "unhealthy")
        assert client.get("/health/ready").status_code == 200
    finally:
        system.parts["redis"].start()
    until(lambda: "x-degraded" not in client.get(MATCH).headers)


def test_database_killed(client, system):
    """Without the database there is an error that says so and when to come again; the service leaves the balancer."""
    system.parts["postgres"].kill()
    unknown = "/matches/match_not_cached"
    try:
        assert code(client.get(unknown)) == (503, "DATABASE_CONNECTION_FAILED")
        until(lambda: "retry-after" in client.get(unknown).headers)
        until(lambda: client.get("/health/ready").status_code == 503)
        assert client.get("/health/live").status_code == 200
    finally:
        system.parts["postgres"].start()
    until(lambda: code(client.get(unknown)) == (404, "MATCH_NOT_FOUND"))
    until(lambda: client.get("/health/ready").status_code == 200)

"""The standard table of errors, and what an entry must be."""

from http import HTTPStatus

import pytest

from asgi_resilience.error_specs import STANDARD, ErrorSpec, is_error_status, standard_phrase

DOCUMENTED = [
    (400, "REQUEST_INVALID_PARAMETERS", "Invalid request parameters", False, False),
    (401, "AUTH_CREDENTIALS_MISSING", "Authentication required", False, False),
    (403, "AUTH_PERMISSION_DENIED", "Access denied", False, False),
    (404, "RESOURCE_NOT_FOUND", "Resource not found", False, False),
    (422, "REQUEST_VALUES_INVALID", "Invalid filter values", False, False),
    (429, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded. Try again in {retry_after} seconds", True, False),
    (500, "INTERNAL_SERVER_ERROR", "An error occurred. Please try again", True, True),
    (502, "UPSTREAM_BAD_GATEWAY", "Service temporarily unavailable", True, True),
    (503, "SERVICE_UNAVAILABLE", "Service temporarily unavailable", True, True),
    (504, "REQUEST_TIMED_OUT", "Request timed out. Please try again", True, True),
]
FURTHER = (405, 406, 408, 409, 410, 413, 414, 415, 417, 425, 428, 431, 451, 501, 507)


@pytest.mark.parametrize(("status", "code", "message", "retry", "alert"), DOCUMENTED)
def test_the_documented_rows(status, code, message, retry, alert):
    """The ten everyday errors are exactly as documented."""
    (spec,) = [each for each in STANDARD if each.status == status]
    assert (spec.code, spec.message, spec.retry, spec.alert) == (code, message, retry, alert)


def test_the_table_is_complete_and_unambiguous():
    """One entry for each status, one status for each code, and no others than those that HTTP knows."""
    statuses = [spec.status for spec in STANDARD]
    assert statuses == sorted({*(row[0] for row in DOCUMENTED), *FURTHER})
    assert len({spec.code for spec in STANDARD}) == len(STANDARD)
    assert all(HTTPStatus(status) for status in statuses)


@pytest.mark.parametrize(
    "spec", [spec for spec in STANDARD if spec.status in FURTHER], ids=lambda spec: spec.code
)
def test_the_other_rows_make_sense(spec):
    """Only a server's fault alerts a human, and a message is one short sentence without a full stop."""
    assert spec.alert == (spec.status >= 500)
    assert 0 < len(spec.message) < 60
    assert not spec.message.endswith(".")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"code": "auth"}, r"code='auth': expected \{DOMAIN\}_\{ERROR_TYPE\}_\{DETAIL\}"),
        ({"code": None}, "code=None: expected"),
        ({"status": 399}, "status=399 of AUTH_TOKEN_EXPIRED: expected 400 to 599"),
        ({"status": 600}, "status=600 of AUTH_TOKEN_EXPIRED: expected 400 to 599"),
        ({"status": "404"}, "status='404' of"),
        ({"status": 404.0}, r"status=404\.0 of"),
        ({"message": ""}, "message='' of AUTH_TOKEN_EXPIRED: expected a sentence"),
    ],
)
def test_a_wrong_entry_is_refused(changed, reason):
    """An entry checks itself; the error names attribute, value and range."""
    with pytest.raises(ValueError, match=reason):
        ErrorSpec(**{"code": "AUTH_TOKEN_EXPIRED", "status": 401, "message": "Expired"} | changed)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(399, False), (400, True), (599, True), (600, False), (None, False), ("500", False)],
)
def test_an_error_status(status, verdict):
    """400 to 599 are errors."""
    assert is_error_status(status) is verdict


@pytest.mark.parametrize(("status", "phrase"), [(404, "Not Found"), (499, ""), (520, "")])
def test_the_standard_phrase(status, phrase):
    """A status that HTTP does not know has no phrase (edge case 69)."""
    assert standard_phrase(status) == phrase

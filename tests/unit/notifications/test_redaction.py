"""No secret survives, in whatever form it appears."""

from __future__ import annotations

import pytest

from anomaly_platform.notifications.redaction import Redactor
from anomaly_platform.settings import get_settings


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET https://me:hunter2@host/x failed", "hunter2"),
        ("Authorization: Bearer abcdefghijkl.mnop", "abcdefghijkl"),
        ('{"password": "hunter2"}', "hunter2"),
        ("https://host/hook?token=hunter2&x=1", "hunter2"),
        ("api_key=hunter2, and more", "hunter2"),
        ("bad credentials ghp_0123456789abcdef", "ghp_0123456789abcdef"),
    ],
)
def test_what_looks_like_a_credential_goes(text: str, secret: str) -> None:
    assert secret not in Redactor().clean(text)


def test_ordinary_text_stays() -> None:
    text = "the token bucket of host-1 is empty: 12 of 30 series, see https://docs.example/page"
    assert Redactor().clean(text) == text


def test_every_secret_of_the_settings_goes_in_whole_and_in_parts() -> None:
    settings = get_settings(
        webhook_urls="https://one.example/hooks/T0000000000AA https://two.example/?key=K0123456789AB",
        webhook_secret="signing-secret",
        smtp_url="smtp://user:p%40ssword@mail.example:587",
        apprise_urls="slack://TokenA1234567/TokenB1234567/TokenC1234567",
        github_token="plain-token-value",
        database_url="postgresql://u:db-password@host/db",
    )
    redactor = Redactor.of(settings)
    for secret in (
        "T0000000000AA",
        "K0123456789AB",
        "signing-secret",
        "p%40ssword",
        "p@ssword",
        "TokenA1234567",
        "TokenC1234567",
        "plain-token-value",
        "db-password",
    ):
        assert secret not in redactor.clean(f"could not send: <{secret}> was refused"), secret


def test_nested_values_are_cleaned() -> None:
    dirty = {"a": ["secret-value", {"b": ("x secret-value y", 3)}], "c": None}
    assert Redactor(["secret-value"]).clean_all(dirty) == {
        "a": ["***", {"b": ["x *** y", 3]}],
        "c": None,
    }


def test_a_credential_is_found_after_whatever_stands_before_it() -> None:
    for before in ("", "x" * 50, "failed.to.reach.the.server-at.postgresql+"):
        assert "hunter2" not in Redactor().clean(f"{before}http://me:hunter2@host/path")

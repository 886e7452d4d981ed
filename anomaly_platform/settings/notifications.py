"""Which channels carry alerts, and how often."""

import datetime as dt

from pydantic import Field, SecretStr

from anomaly_platform.settings.types import HttpAddress, MqttUrl, SettingsPart, SmtpUrl, WebhookUrls


class NotificationSettings(SettingsPart):
    """Channels of alerts."""

    alert_cool_down_minutes: int = Field(default=60, ge=0, le=60 * 24 * 30)
    """Minutes in which repeats of an alert are counted and not sent."""
    alert_routes: str = Field(
        default="",
        description="Which channel gets what, where it differs from docs/how-to/alerts.md: "
        "channel=severity or channel=severity:kind,kind, joined by semicolons, such as "
        "email=critical; github=warning:run_failed,model_disabled.",
    )
    webhook_urls: WebhookUrls | None = None
    """http(s) addresses that get every message as JSON, separated by spaces."""
    webhook_secret: SecretStr | None = None
    """Secret with which messages to webhooks are signed (HMAC-SHA256)."""
    webhook_allow_private: bool = False
    """Whether webhooks may lie in private networks or on this machine."""
    smtp_url: SmtpUrl | None = None
    """smtp://user:password@host:587 (STARTTLS where offered) or smtps://…:465."""
    email_from: str = Field(default="anomaly-platform@localhost", description="Sender of e-mails.")
    email_to: str = Field(default="", description="Recipients of e-mails, separated by spaces.")
    mqtt_url: MqttUrl | None = None
    """mqtt://user:password@host:1883 or mqtts://…:8883 of a broker."""
    mqtt_prefix: str = Field(
        default="insa/iiot",
        pattern=r"^[^/+#\s][^+#\s]*[^/+#\s]$",
        description="First parts of every MQTT topic.",
    )
    github_url: HttpAddress = "https://api.github.com"
    """Address of GitHub's REST API."""
    github_repository: str = Field(default="", pattern=r"^([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)?$")
    """owner/name of the repository in which issues are opened."""
    github_token: SecretStr | None = None
    """Token that may write issues of that repository."""
    apprise_urls: SecretStr | None = None
    """Apprise URLs (chat services and the like), separated by spaces."""

    @property
    def alert_cool_down(self) -> dt.timedelta:
        """How long repeats of an alert are held back."""
        return dt.timedelta(minutes=self.alert_cool_down_minutes)

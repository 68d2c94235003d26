"""deploy/compose/.env: the secrets of a platform in containers, made once and for their owner alone."""

from pathlib import Path

from devstack import secretfile

NAMES = (
    # The gateway calls its peers as whoever calls it.
    *(name for name in secretfile.NAMES if name != "GATEWAY_SERVICE_SECRET"),
    "VALKEY_PASSWORD",
    "GRAFANA_ADMIN_PASSWORD",
)
# What nobody can make up.
TWILIO = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM")


def write(path: Path) -> None:
    known = secretfile.ensure(path, NAMES)
    print(f"{path} holds {len(NAMES)} random secrets. Keep a copy where you keep secrets.")
    if missing := [name for name in TWILIO if not known.get(name)]:
        print(f"Add what only you know: {', '.join(missing)}.")

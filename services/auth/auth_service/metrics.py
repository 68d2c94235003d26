"""What auth counts."""

from prometheus_client import Counter, Gauge

# Many sent for few verified is how SMS fraud looks.
OTP = Counter(
    "propmubi_otp_total", "One-time passwords asked for, verified and refused.", ["outcome"]
)
# Known from the start, so that shares of nothing are told from shares unknown.
for _outcome in ("requested", "verified", "refused"):
    OTP.labels(_outcome)
# Turned away: the queue of passwords to compare was full.
PASSWORD = Counter("propmubi_password_total", "Passwords tried, by what came of it.", ["outcome"])
# Which limit of auth's own turns people away: of tries, failures, or what is sent to a phone or a range of numbers.
REFUSED = Counter(
    "propmubi_auth_refused_total", "Calls beyond an allowance of auth.", ["allowance"]
)
# Known from the start: the first refusal of a day is to be seen as a rise.
REFUSED.labels("otp day")
OTP_DAY_USED = Gauge(
    "propmubi_otp_day_used_ratio",
    "Of the messages that a day may have, the share that was sent when this replica sent its last; 0 the day after.",
)
LOCKED = Counter(
    "propmubi_sign_in_locked_total", "Phones locked after too many failures in a row.", ["method"]
)
REFRESH_REUSE = Counter(
    "propmubi_refresh_token_reuse_total", "Sessions ended because a used refresh token came back."
)
# Another one is made a day before, and published before it signs.
SIGNING_KEY_RETIRES = Gauge(
    "propmubi_signing_key_retires_timestamp_seconds", "When the last of the signing keys retires."
)

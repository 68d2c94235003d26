"""What auth counts."""

from prometheus_client import Counter

# Many sent for few verified is how SMS fraud looks.
OTP = Counter(
    "propmubi_otp_total", "One-time passwords asked for, verified and refused.", ["outcome"]
)
REFRESH_REUSE = Counter(
    "propmubi_refresh_token_reuse_total", "Sessions ended because a used refresh token came back."
)

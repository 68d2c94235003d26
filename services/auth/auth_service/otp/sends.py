"""How much may be sent: each SMS costs money, and whoever owns a range of numbers earns by what is sent to it."""

from collections.abc import Sequence

import structlog

from auth_service import metrics
from auth_service.allowances import Allowance
from auth_service.otp.domain import TOO_MANY_CODES, range_of
from auth_service.otp.repository import OtpRepository
from chassis import india, phones
from chassis.database import Transaction
from chassis.errors import InvalidArgument, RateLimited, Violation
from chassis.quota import Quota

# Whoever knows a password may set it again and again, and each time its owner is told.
NOTICES_PER_PHONE = (Quota(10, 86_400),)

log = structlog.get_logger()


class Sends:
    """What may be sent to a phone, to a range of numbers and, of codes and notices together, in a day."""

    def __init__(
        self,
        challenges: OtpRepository,
        *,
        countries: frozenset[str],
        per_phone: Sequence[Quota],
        per_range: Sequence[Quota],
        per_day: int,
    ) -> None:
        self._challenges = challenges
        self._countries = countries
        self._per_phone = Allowance("otp phone", per_phone, message=TOO_MANY_CODES)
        self._per_range = Allowance("otp range", per_range, message=TOO_MANY_CODES)
        self._notices = Allowance("notice phone", NOTICES_PER_PHONE)
        self._per_day = per_day
        # The day of the last message, and how many that day had then.
        self._spent = india.today(), 0
        metrics.OTP_DAY_USED.set_function(self._used_today)

    def recipient(self, phone: str) -> str:
        """`phone` in E.164 form; raises InvalidArgument for one that we don't send to."""
        number = phones.normalise(phone)
        if phones.country(number) not in self._countries:
            raise InvalidArgument(Violation("phone", "is in a country that we don't send codes to"))
        return number

    async def take_codes(self, tx: Transaction, numbers: Sequence[str]) -> None:
        """A code for each of these phones, which are in order; raises RateLimited. `spend` what they cost last."""
        for phone in numbers:
            await self._per_phone.take(tx, phone)
        for phone in numbers:
            await self._per_range.take(tx, range_of(phone))

    async def take_notice(self, tx: Transaction, phone: str) -> None:
        """A message that nobody asked for; raises RateLimited."""
        await self._notices.take(tx, phone)
        await self.spend(tx)

    async def spend(self, tx: Transaction) -> None:
        """One message of the day's; raises RateLimited. All who send wait for each other here: do it last."""
        day = india.today()
        sent = await self._challenges.spend(tx, day, self._per_day)
        self._spent = day, self._per_day if sent is None else sent
        if sent is None:
            metrics.REFUSED.labels("otp day").inc()
            log.error("no more codes are sent today", limit=self._per_day)
            raise RateLimited(
                "No more codes can be sent today: try again tomorrow.",
                retry_after=india.seconds_left_today(),
            )

    def _used_today(self) -> float:
        day, sent = self._spent
        return sent / self._per_day if day == india.today() else 0.0

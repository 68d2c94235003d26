"""Phone numbers: E.164 inside, what people type outside."""

import phonenumbers

from chassis.errors import InvalidArgument, Violation


def normalise(phone: str, field: str = "phone") -> str:
    """The E.164 form of `phone`; a number without a country code is taken for an Indian one.

    Raises InvalidArgument naming `field` when no such number can exist.
    """
    try:
        number = phonenumbers.parse(phone, "IN")
    except phonenumbers.NumberParseException:
        number = None
    if (
        number is None
        or not phonenumbers.is_possible_number(number)
        or not phonenumbers.is_valid_number(number)
    ):
        raise InvalidArgument(Violation(field, "must be a phone number, such as +919876543210"))
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def country(phone: str) -> str:
    """The country of `phone`, which is in E.164 form, by its two letters; empty when it belongs to none."""
    return phonenumbers.region_code_for_number(phonenumbers.parse(phone)) or ""

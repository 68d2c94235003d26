"""What a browser has in a cookie in place of the body: fields that the contract gives one, such as refresh tokens.

No script can read the cookie and no other host is sent it. Nothing is taken from one, or put into one, unless the
request says so by the header X-Use-Cookie and comes from an allowed origin. A foreign page can do neither: for such a
header a browser first asks whether the page may, and by itself it adds the cookie only.
"""

from collections.abc import Iterable
from typing import Final

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chassis.errors import Violation
from chassis.rules import field_rules, value_check
from gateway.errors import CHALLENGE, EdgeError, Headers
from gateway.exchange import Exchange
from gateway.operation import EMPTY, Operation, body_fields

HEADER: Final = b"x-use-cookie"


class CookieRules:
    """Whose cookies are set and believed, and how. `secure` is off in development alone: Chrome and Safari keep no
    cookie of the prefix __Host- on http://localhost.
    """

    def __init__(self, origins: Iterable[str], *, secure: bool) -> None:
        self.origins = frozenset(origin.encode() for origin in origins)
        self._prefix = "__Host-" if secure else ""
        attributes = ["Path=/", *(["Secure"] if secure else []), "HttpOnly", "SameSite=Strict"]
        self._attributes = "; ".join(attributes)

    def find(self, cookies: str, field: str) -> str | None:
        """The value of the field's cookie in the header Cookie."""
        name = self._prefix + field
        for pair in cookies.split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name:
                return value
        return None

    def header(self, field: str, value: str, max_age: int) -> tuple[bytes, bytes]:
        cookie = f"{self._prefix}{field}={value}; Max-Age={max_age}; {self._attributes}"
        return b"set-cookie", cookie.encode()


class Cookies:
    """The cookies of one operation."""

    def __init__(self, operation: Operation, rules: CookieRules) -> None:
        self._rules = rules
        self._taken = {field.name: value_check(field) for field in sent_by_cookie(operation)}
        self._given = {
            field.name: cookie.max_age
            for field in replied_by_cookie(operation)
            if (cookie := field_rules(field).cookie)
        }
        self._forgotten = operation.forgets_cookie
        self.names = cookie_names(operation)

    def are_asked_for(self, exchange: Exchange) -> bool:
        """Whether this request has its field in a cookie; raises EdgeError when it may not."""
        asked = exchange.header(HEADER) if self.names else None
        if asked is None:
            return False
        if exchange.headers.get(b"origin") not in self._rules.origins:
            raise EdgeError(403, "Cookies are for pages of the origins in CORS_ORIGINS.")
        if asked not in self.names:
            fault = Violation("X-Use-Cookie", f"must be {' or '.join(self.names)}")
            raise EdgeError(422, violations=[fault])
        return True

    def put_in(self, body: bytes, exchange: Exchange) -> bytes:
        """`body` with what it leaves to the cookie; raises EdgeError 401 when nothing good is there: no page could mend
        the value of a cookie that it can't read.
        """
        try:
            given = orjson.loads(body or b"{}")
        except orjson.JSONDecodeError:
            return body  # To be refused with all that is wrong with it.
        missing = [name for name in self._taken if isinstance(given, dict) and name not in given]
        for name in missing:
            check = self._taken[name]
            value = self._rules.find(exchange.header(b"cookie") or "", name)
            if value is None or (check is not None and check(value) is not None):
                raise EdgeError(401, headers=((b"www-authenticate", CHALLENGE),))
            given[name] = value
        return orjson.dumps(given) if missing else body

    def take_out(self, reply: Message) -> Headers:
        """The headers that set what `reply` gives, which it then no longer has, and forget what is over."""
        headers = []
        for name, max_age in self._given.items():
            if value := getattr(reply, name):
                headers.append(self._rules.header(name, value, max_age))
                reply.ClearField(name)
        if self._forgotten:
            headers.append(self._rules.header(self._forgotten, "", 0))
        return tuple(headers)


def sent_by_cookie(operation: Operation) -> list[FieldDescriptor]:
    """The fields of the body that a cookie may carry."""
    return [field for field in body_fields(operation) if field_rules(field).cookie is not None]


def replied_by_cookie(operation: Operation) -> list[FieldDescriptor]:
    """The fields of the reply that a cookie may carry."""
    reply = operation.method.output_type
    fields = [] if reply.full_name == EMPTY else reply.fields
    return [field for field in fields if field_rules(field).cookie is not None]


def cookie_names(operation: Operation) -> list[str]:
    """The fields that a request of this operation may name in X-Use-Cookie."""
    fields = (*sent_by_cookie(operation), *replied_by_cookie(operation))
    forgotten = [operation.forgets_cookie] if operation.forgets_cookie else []
    return sorted({*(field.name for field in fields), *forgotten})

"""What must never be in a log: tokens, phones however they are written, and secrets that are known."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from propmubi.options.v1.options_pb2 import sensitive

# Shorter ones turn up by chance.
SHORTEST = 6
# A signed token; an opaque one is 43 characters of base64url, in which no letter case and no digits are missing.
_TOKEN = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{20,}"
    r"|(?<![\w-])(?=[\w-]*[A-Z])(?=[\w-]*[a-z])(?=[\w-]*\d)[\w-]{43}(?![\w-])",
    re.ASCII,
)
_PHONE = re.compile(
    # Valkey tells by how many percent a file grew.
    r"(?<![\w.-])(?:\+?91[ -]?|0)?[6-9](?:[ ()-]?\d){9}(?![\w%-]|\.\d)|\+\d(?:[ ()-]?\d){9,}"
)
# A number with its decimals is one word.
_WORD = re.compile(r"[\w.+-]+")
_CODE = re.compile(r"^\d{6}")


def leaks(log: str, secrets: Collection[str] = ()) -> list[str]:
    """The lines of `log` that hold what they must not. A secret counts where it stands as a word."""
    words = {secret for secret in secrets if _WORD.fullmatch(secret)}
    phrases = set(secrets) - words
    return [
        line
        for line in log.splitlines()
        if _TOKEN.search(line)
        or _PHONE.search(line)
        or any(word.rstrip(".") in words for word in _WORD.findall(line))
        or any(phrase in line for phrase in phrases)
    ]


def leaks_of_platform(logs: Path, outbox: Path, secrets: Collection[str] = ()) -> list[str]:
    """The same of all logs in a folder, with the codes and the phones of every message that was sent."""
    known = {*secrets, *sent_by(outbox)}
    return [
        f"{log.name}: {line}"
        for log in sorted(logs.iterdir())
        for line in leaks(log.read_text(errors="replace"), known)
    ]


def sent_by(outbox: Path) -> set[str]:
    """The codes and the phones of every message in `outbox`."""
    sent = outbox.read_text() if outbox.exists() else ""
    messages = [json.loads(line) for line in sent.splitlines()]
    codes = {found[0] for sms in messages if (found := _CODE.match(sms["body"]))}
    return codes | {sms["to"].removeprefix("+91") for sms in messages}


def sensitive_values(message: Message) -> Iterator[str]:
    """What the contract calls sensitive in `message`, and is long enough to be looked for."""
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if field.is_repeated else [value]:
                if isinstance(inner, Message):
                    yield from sensitive_values(inner)
        elif field.GetOptions().Extensions[sensitive] and len(str(value)) >= SHORTEST:
            yield str(value)

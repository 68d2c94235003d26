"""What changed between two OpenAPI documents of ours, and which of the changes break a client.

A client breaks when something it may send is refused from now on, or something it was promised no longer comes.
Only what `gateway.openapi` writes is understood; any other difference is named as a change.
"""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

NARROWER_WHEN_MORE = ("minimum", "minLength", "minItems", "minProperties")
NARROWER_WHEN_LESS = ("maximum", "maxLength", "maxItems", "maxProperties")


def differences(old: Json, new: Json) -> list[str]:
    """One line for each change, `breaking: ` before those that break clients."""
    lines = [f"breaking: {change}" for change in sorted(set(Comparison(old, new).breaking()))]
    if not lines and old != new:
        lines.append(
            "compatible: routes, fields or words were added or changed, and nothing breaks"
        )
    return lines


class Comparison:
    """Walks both documents side by side."""

    def __init__(self, old: Json, new: Json) -> None:
        self.old, self.new = old, new

    def breaking(self) -> Iterator[str]:
        for path, verbs in self.old["paths"].items():
            for verb, operation in verbs.items():
                where = f"{verb.upper()} {path}"
                now = self.new["paths"].get(path, {}).get(verb)
                if now is None:
                    yield f"{where} is gone"
                else:
                    yield from self.operation(where, operation, now)

    def operation(self, where: str, old: Json, new: Json) -> Iterator[str]:
        if old["operationId"] != new["operationId"]:
            yield f"{where} is now called {new['operationId']}"
        if old["security"] != new["security"] and {} in old["security"]:
            yield f"{where} now needs a token"
        before, after = self.parameters(self.old, old), self.parameters(self.new, new)
        for name, parameter in before.items():
            if name not in after:
                yield f"{where} no longer takes {name}"
            else:
                yield from self.sent(f"{where} {name}", parameter["schema"], after[name]["schema"])
        for name, parameter in after.items():
            if parameter.get("required") and not before.get(name, {}).get("required"):
                yield f"{where} now requires {name}"
        if new.get("requestBody", {}).get("required") and not old.get("requestBody", {}).get(
            "required"
        ):
            yield f"{where} now requires a body"
        if "requestBody" in old and "requestBody" in new:
            yield from self.sent(
                f"{where} body", content(old["requestBody"]), content(new["requestBody"])
            )
        for status, answer in old["responses"].items():
            if status not in new["responses"] and status < "400":
                yield f"{where} no longer answers {status}"
            elif "content" in answer:
                yield from self.received(
                    f"{where} {status}", content(answer), content(new["responses"][status])
                )

    def parameters(self, document: Json, operation: Json) -> Json:
        given = [resolved(document, parameter) for parameter in operation["parameters"]]
        return {
            f"{parameter['in']} parameter {parameter['name']}": parameter for parameter in given
        }

    def sent(self, where: str, old: Json, new: Json) -> Iterator[str]:
        """What a client may send must still be taken."""
        old, new = resolved(self.old, old), resolved(self.new, new)
        yield from self.alike(where, old, new, self.sent)
        if "enum" not in old and "enum" in new:
            yield f"{where} takes only {', '.join(new['enum'])}"
        for name in set(new.get("required", ())) - set(old.get("required", ())):
            yield f"{where} now requires {name}"
        for rules, narrower in ((NARROWER_WHEN_MORE, 1), (NARROWER_WHEN_LESS, -1)):
            for rule in rules:
                if rule in new and (rule not in old or (new[rule] - old[rule]) * narrower > 0):
                    yield f"{where} has a narrower {rule}, {new[rule]}"
        for rule in ("pattern", "format", "multipleOf", "uniqueItems"):
            if rule in new and new[rule] != old.get(rule):
                yield f"{where} has another {rule}, {new[rule]}"

    def received(self, where: str, old: Json, new: Json) -> Iterator[str]:
        """What a client was promised must still come."""
        old, new = resolved(self.old, old), resolved(self.new, new)
        yield from self.alike(where, old, new, self.received)
        for name in set(old.get("required", ())) - set(new.get("required", ())):
            if name in new.get("properties", {}):
                yield f"{where} may now lack {name}"

    def alike(self, where: str, old: Json, new: Json, compare: Any) -> Iterator[str]:
        """What breaks in either direction: another type, a field or enum value that is gone."""
        if old.get("type") != new.get("type") or len(old.get("anyOf", ())) != len(
            new.get("anyOf", ())
        ):
            yield f"{where} has another type"
            return
        for value in old.get("enum", ()):
            if value not in new.get("enum", [value]):
                yield f"{where} no longer knows {value}"
        for name, schema in old.get("properties", {}).items():
            if name not in new.get("properties", {}):
                yield f"{where} has no {name} any more"
            else:
                yield from compare(f"{where} {name}", schema, new["properties"][name])
        for part in ("items", "additionalProperties"):
            if isinstance(old.get(part), dict) and isinstance(new.get(part), dict):
                yield from compare(where, old[part], new[part])
        for before, after in zip(old.get("anyOf", ()), new.get("anyOf", ()), strict=True):
            yield from compare(where, before, after)


def content(described: Json) -> Json:
    schema: Json = described.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def resolved(document: Json, schema: Json) -> Json:
    """The schema or parameter itself, where it is only referred to."""
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema

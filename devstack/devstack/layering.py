"""The layers inside a service, as a contract for import-linter: which kind of module may import which.

A module's kind is its own name: `domain`, `repository`, `service` ... in whichever aggregate. Modules of other names
are free, but for SQL. The rules are written down in pyproject.toml; `make check` enforces them.
"""

import sys
from collections.abc import Iterator
from itertools import chain
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class KindsContract(Contract):
    """Fields: services, may_import ("kind: kinds"), pure ("kind: packages, besides the standard ones"), sql, sql_in."""

    type_name = "kinds"

    services: Any = fields.ListField(subfield=fields.StringField())
    may_import: Any = fields.ListField(subfield=fields.StringField())
    pure: Any = fields.ListField(subfield=fields.StringField())
    sql: Any = fields.ListField(subfield=fields.StringField())
    sql_in: Any = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        faults = [
            f"{importer} -> {imported}: {fault}"
            for service in self.services
            for importer in sorted({service} | graph.find_descendants(service))
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            for fault in chain(
                self._between_kinds(service, importer, imported),
                self._out_of_pure(service, importer, imported),
                self._to_sql(importer, imported),
            )
        ]
        return ContractCheck(kept=not faults, metadata={"faults": faults})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for fault in check.metadata["faults"]:
            output.print_error(fault)

    def _between_kinds(self, service: str, importer: str, imported: str) -> Iterator[str]:
        allowed = _table(self.may_import)
        of, to = _kind(importer), _kind(imported)
        if within(imported, service) and of in allowed and to in allowed and to not in allowed[of]:
            yield f"a {of} may import {', '.join(allowed[of])}"

    def _out_of_pure(self, service: str, importer: str, imported: str) -> Iterator[str]:
        allowed = _table(self.pure).get(_kind(importer))
        if allowed is None or within(imported, service):
            return
        if imported.split(".", maxsplit=1)[0] not in sys.stdlib_module_names and not any(
            within(imported, package) for package in allowed
        ):
            yield f"a {_kind(importer)} may import the standard library and {', '.join(allowed)}"

    def _to_sql(self, importer: str, imported: str) -> Iterator[str]:
        if (
            any(within(imported, package) for package in self.sql)
            and _kind(importer) not in self.sql_in
        ):
            yield f"SQL lives in {', '.join(self.sql_in)}"


def _table(rules: list[str]) -> dict[str, list[str]]:
    return {kind: allowed.split() for kind, allowed in (rule.split(":") for rule in rules)}


def _kind(module: str) -> str:
    return module.rsplit(".", 1)[-1]


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")

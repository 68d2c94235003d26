"""Every reply of the contract has room in one message: lists are paged, cut or of known length, resources bounded."""

import ast
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from chassis.grpc_server import MAX_MESSAGE_BYTES
from chassis.page_tokens import ROOM_BYTES
from chassis.rules import field_rules, is_nested, message_of, value_field
from gateway.contract import platform_files

# Ids, codes, names and times that the platform writes, and how many of them a list has.
SHORT_BYTES, FEW = 250, 50
BYTES_OF_CHARACTER = 4
NUMBER_BYTES, FRAME_BYTES = 16, 6
# Lists that end where their share of the room is taken, without another page.
CUT = {
    "propmubi.agents.v1.BatchGetListingsResponse.listings": 1.0,
    "propmubi.agents.v1.ListSimilarListingsResponse.listings": 1.0,
    "propmubi.auth.v1.ExportMeResponse.consents": 1 / 3,
    "propmubi.auth.v1.ExportMeResponse.sessions": 1 / 3,
    "propmubi.auth.v1.ExportMeResponse.audit_events": 1 / 3,
    "propmubi.crm.v1.LeadBoardColumn.leads": 1 / 11,
}
# How many there are at most in the others.
MOST = {
    "propmubi.agents.v1.BatchGetListingOwnersResponse.owners": 64,
    "propmubi.agents.v1.ListDuplicatesResponse.duplicates": 20,
    "propmubi.agents.v1.ListingFacets.bhk": 20,
    "propmubi.agents.v1.ListingFacets.localities": 20,
    "propmubi.agents.v1.ListingFacets.price_bands": 20,
    "propmubi.agents.v1.ListingFacets.property_types": 20,
    "propmubi.agents.v1.ListingMap.clusters": 1_000,
    "propmubi.agents.v1.ReadAs.places": 50,
    "propmubi.agents.v1.SuggestResponse.places": 10,
    "propmubi.auth.v1.BatchGetReachableResponse.people": 100,
    "propmubi.auth.v1.ExportMeResponse.role_grants": 10,
    "propmubi.auth.v1.GetJwksResponse.keys": 10,
    "propmubi.auth.v1.ListRoleGrantsResponse.grants": 10,
    "propmubi.auth.v1.RotateSigningKeysResponse.keys": 10,
    "propmubi.crm.v1.LeadBoard.columns": 11,
    "propmubi.projects.v1.Booking.buyers": 10,
}
METHODS = [
    method
    for file in platform_files()
    for service in file.services_by_name.values()
    for method in service.methods
]
SERVICERS = sorted(Path("services").glob("*/*_service/**/servicer.py"))


def largest(message: Descriptor) -> float:
    """The bytes of a message that is as large as its rules, and what is said above, allow."""
    paged = "next_page_token" in message.fields_by_name
    return sum(_largest_field(field, paged=paged) for field in message.fields)


def _largest_field(field: FieldDescriptor, *, paged: bool) -> float:
    one = _largest_value(field) + FRAME_BYTES
    if not field.is_repeated:
        return one
    rules, name = field_rules(field).rules, field.full_name
    if name in CUT:
        return max(CUT[name] * ROOM_BYTES, one)
    if not is_nested(field) or rules.max_items:
        return one * (rules.max_items or FEW)
    if paged:
        return max(ROOM_BYTES, one)
    assert name in MOST, f"{name}: page it, cut it, or say in MOST how many there are"
    return one * MOST[name]


def _largest_value(field: FieldDescriptor) -> float:
    field = value_field(field)
    if is_nested(field):
        return largest(message_of(field))
    if field.type == FieldDescriptor.TYPE_STRING:
        rules = field_rules(field).rules
        return rules.max_length * BYTES_OF_CHARACTER or SHORT_BYTES
    return NUMBER_BYTES


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_each_reply_has_room_in_a_message(method: MethodDescriptor) -> None:
    assert largest(method.output_type) <= MAX_MESSAGE_BYTES


def test_the_lists_named_here_are_of_the_contract() -> None:
    lists = {
        field.full_name
        for file in platform_files()
        for message in file.message_types_by_name.values()
        for field in message.fields
    }
    assert CUT.keys() | MOST.keys() <= lists


def test_each_page_is_cut() -> None:
    """`Page.cut` alone ends pages where they have no room: a token from elsewhere is of a list that escaped it."""
    paging = [
        function
        for file in SERVICERS
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(function, ast.AsyncFunctionDef)
        and any("next_page_token" in ast.dump(node) for node in function.body)
    ]
    paged = [method for method in METHODS if "next_page_token" in method.output_type.fields_by_name]
    # Two lists of auth are of oneself or, for administrators, of somebody, by one function.
    assert len(paging) == len(paged) - 2
    for function in paging:
        called = {
            node.func.attr
            for node in ast.walk(function)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        }
        assert "cut" in called, function.name
        assert "issue" not in called, function.name

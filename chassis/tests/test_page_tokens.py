"""Page tokens can't be forged, changed, cut or carried over to another query."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidArgument
from chassis.ids import new_id
from chassis.page_tokens import PageTokens
from propmubi.agents.v1.agents_pb2 import ListAgentsRequest

TOKENS = PageTokens("k" * 32)
QUERY = ListAgentsRequest(service_area="Wakad", page_size=3)
POSITION = [12.5, str(new_id())]


def position(token: str, query: ListAgentsRequest = QUERY) -> object:
    request = ListAgentsRequest()
    request.CopyFrom(query)
    request.page_token = token
    return TOKENS.position(request)


def test_a_token_says_where_the_next_page_begins_whatever_its_size() -> None:
    token = TOKENS.issue(QUERY, POSITION)
    assert position(token) == POSITION
    assert position(token, ListAgentsRequest(service_area="Wakad", page_size=50)) == POSITION
    assert TOKENS.position(QUERY) is None


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "é" * 40,
        "\0",
        "====",
        TOKENS.issue(QUERY, POSITION)[:-4],
        TOKENS.issue(QUERY, POSITION) + "AAAA",
        TOKENS.issue(ListAgentsRequest(service_area="Baner"), POSITION),
        PageTokens("other" * 8).issue(QUERY, POSITION),
    ],
)
def test_a_token_that_is_not_ours_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        position(token)
    assert refused.value.reason == "PAGE_TOKEN_INVALID"


@given(st.text(min_size=1, max_size=200))
def test_no_text_is_anything_but_refused(token: str) -> None:
    with pytest.raises(InvalidArgument):
        position(token)


@given(st.integers(min_value=0), st.characters(codec="ascii"))
def test_no_character_can_be_changed(place: int, other: str) -> None:
    token = TOKENS.issue(QUERY, POSITION)
    # The last holds bits that mean nothing.
    place %= len(token) - 1
    if token[place] == other:
        return
    with pytest.raises(InvalidArgument):
        position(token[:place] + other + token[place + 1 :])


def test_a_key_that_was_replaced_is_believed_as_long_as_it_is_named() -> None:
    old, new = "o" * 32, "n" * 32
    both = PageTokens(new, old)
    request = ListAgentsRequest()
    request.CopyFrom(QUERY)
    request.page_token = PageTokens(old).issue(QUERY, POSITION)
    assert both.position(request) == POSITION
    with pytest.raises(InvalidArgument):
        PageTokens(new).position(request)
    request.page_token = both.issue(QUERY, POSITION)
    assert PageTokens(new).position(request) == POSITION

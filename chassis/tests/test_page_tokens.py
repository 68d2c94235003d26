"""Page tokens can't be forged, changed, cut or carried over to another query; and a page has room in one reply."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidArgument
from chassis.ids import new_id
from chassis.page_tokens import ROOM_BYTES, PageTokens, fitting
from propmubi.agents.v1.agents_pb2 import Agent, ListAgentsRequest

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


def test_a_page_ends_where_its_reply_is_full_and_the_next_goes_on_there() -> None:
    agents = [Agent(id=f"{number:03}", bio="मकान" * 4_000) for number in range(100)]
    request, pages = ListAgentsRequest(page_size=60), list[list[str]]()
    while True:
        page = TOKENS.page(request)
        first = int(page.position[0]) + 1 if page.position else 0
        shown, request.page_token = page.cut(agents[first : first + page.limit], lambda each: each)
        assert sum(each.ByteSize() for each in shown) <= ROOM_BYTES
        pages.append([each.id for each in shown])
        if not request.page_token:
            break
    assert [*chain(*pages)] == [each.id for each in agents]
    assert [len(page) for page in pages] == [18, 18, 18, 18, 18, 10]


def test_what_is_larger_than_all_room_is_a_page_by_itself() -> None:
    sizes = [ROOM_BYTES + 1, 1, ROOM_BYTES - 1, 1]
    assert fitting(sizes, size_of=int) == sizes[:1]
    assert fitting(sizes[1:], size_of=int) == sizes[1:3]


def test_what_is_not_shown_takes_no_room_and_holds_up_no_page() -> None:
    request = ListAgentsRequest(page_size=2)
    page = TOKENS.page(request)
    agents = [Agent(id=f"{number}") for number in range(3)]

    def hidden(_: Agent) -> Agent | None:
        return None

    shown, token = page.cut(agents, hidden)
    assert shown == []
    assert position(token, request) == ["1"]

"""The names of projects and builders, as projects tells them by events: what is on sale is found by its name."""

from typing import Any

import pytest

from devstack.testing_service import Running
from propmubi.agents.v1 import listings_pb2, search_pb2
from propmubi.agents.v1.search_pb2_grpc import SearchServiceStub
from propmubi.projects.v1.events_pb2 import (
    BuilderRenamed,
    BuilderSuspended,
    BuilderVerified,
    ProjectLapsed,
    ProjectPublished,
    ProjectUpdated,
)
from services.agents.tests.integration.test_units import Unit

# What happens to it is told as of a unit, in its own sequence.
Aggregate = Unit


@pytest.fixture
def search(agents: Running) -> Any:
    return SearchServiceStub(agents.caller())


async def suggested(search: Any, typed: str) -> list[tuple[str, str]]:
    """The names and ids of what is suggested."""
    answer = await search.Suggest(search_pb2.SuggestRequest(q=typed))
    return [(place.name, place.id) for place in answer.places]


async def test_a_project_on_sale_is_suggested_and_found_by_what_it_is_called_now(
    agents: Running, asha: Any, public: Any, search: Any
) -> None:
    project, builder = Aggregate(agents), Aggregate(agents)
    ids = {"project_id": str(project.id), "builder_id": str(builder.id)}
    home = await asha.publish(project_id=str(project.id), rera_project_no="P52100012345")
    await asha.publish(
        address=listings_pb2.Address(
            line="B-2",
            subdivision_name="Baner",
            city="Pune",
            state="Maharashtra",
            postal_code="411045",
        )
    )

    async def found(words: str) -> list[str]:
        page = await public.ListListings(
            listings_pb2.ListListingsRequest(filters=listings_pb2.ListingFilters(q=words))
        )
        return [listing.id for listing in page.listings]

    named = {"project_name": "Sahyadri Greens", "city": "Pune"}
    await project.tell(ProjectUpdated(**ids, **named))  # Not on sale yet.
    assert await suggested(search, "sahyadri") == []
    await project.tell(ProjectPublished(**ids, **named, builder_name="Desai Realty"))
    assert await suggested(search, "sahyadri gr") == [("Sahyadri Greens", str(project.id))]
    assert await suggested(search, "desai") == [("Desai Realty", str(builder.id))]
    assert await found("sahyadri greens") == await found("desai realty") == [home.id]
    await project.tell(ProjectUpdated(**ids, project_name="Konkan Vista", city="Pune"))
    await builder.tell(BuilderRenamed(builder_id=str(builder.id), builder_name="Kamat Realty"))
    assert await suggested(search, "sahyadri") == await suggested(search, "desai") == []
    assert await found("konkan vista") == await found("kamat realty") == [home.id]
    account = {"builder_id": str(builder.id), "user_id": str(builder.id)}
    await builder.tell(BuilderSuspended(**account))
    assert await suggested(search, "kamat") == []
    assert await suggested(search, "konkan") == [("Konkan Vista", str(project.id))]
    await builder.tell(BuilderVerified(**account, builder_name="Kamat Realty"))
    assert await suggested(search, "kamat") == [("Kamat Realty", str(builder.id))]
    await project.tell(ProjectLapsed(**ids))
    assert await suggested(search, "konkan") == await suggested(search, "kamat") == []


async def test_a_builder_without_a_project_on_sale_is_not_suggested(
    agents: Running, search: Any
) -> None:
    builder = Aggregate(agents)
    account = {"builder_id": str(builder.id), "user_id": str(builder.id)}
    await builder.tell(BuilderVerified(**account, builder_name="Desai Realty"))
    await builder.tell(BuilderRenamed(builder_id=str(builder.id), builder_name="Kamat Realty"))
    assert await suggested(search, "desai") == await suggested(search, "kamat") == []

"""The agents service: `python -m agents_service`."""

from agents_service.agents.consumers import PeopleConsumers
from agents_service.agents.repository import AgentRepository
from agents_service.agents.service import AgentService
from agents_service.agents.servicer import AgentServicer
from agents_service.alerts.repository import AlertRepository
from agents_service.alerts.service import AlertService
from agents_service.alerts.timers import AlertTimers
from agents_service.clients import People
from agents_service.listing_files.repository import ListingFileRepository
from agents_service.listing_files.service import ListingFileService
from agents_service.listing_files.servicer import ListingFileServicer
from agents_service.listing_files.timers import FORGET_SECONDS, READ_SECONDS, ImportTimers
from agents_service.listings.consumers import ListingConsumers
from agents_service.listings.pages import Pages
from agents_service.listings.repository import ListingRepository
from agents_service.listings.service import ListingService
from agents_service.listings.servicer import ListingServicer
from agents_service.offices.repository import OfficeRepository
from agents_service.offices.service import OfficeService
from agents_service.offices.servicer import OfficeServicer
from agents_service.saved_searches.consumers import SavedSearchConsumers
from agents_service.saved_searches.repository import SavedSearchRepository
from agents_service.saved_searches.service import SavedSearchService
from agents_service.saved_searches.servicer import SavedSearchServicer
from agents_service.search.repository import SearchRepository
from agents_service.search.service import SearchService
from agents_service.search.servicer import SearchServicer
from agents_service.search.timers import PLACES_SECONDS, SearchTimers
from agents_service.settings import AgentsSettings
from chassis import process
from chassis.page_tokens import PageTokens
from chassis.service import Service, open_service
from chassis.settings import clear, load
from chassis.sms import SmsProvider, open_sms
from chassis.timers import sweep
from propmubi.agents.v1.agents_pb2_grpc import add_AgentServiceServicer_to_server
from propmubi.agents.v1.listing_files_pb2_grpc import add_ListingFileServiceServicer_to_server
from propmubi.agents.v1.listings_pb2_grpc import add_ListingServiceServicer_to_server
from propmubi.agents.v1.offices_pb2_grpc import add_OfficeServiceServicer_to_server
from propmubi.agents.v1.saved_searches_pb2_grpc import add_SavedSearchServiceServicer_to_server
from propmubi.agents.v1.search_pb2_grpc import add_SearchServiceServicer_to_server
from propmubi.auth.v1 import auth_pb2, consents_pb2

# Days begin at midnight; a minute later is soon enough.
SWEEP_SECONDS = 60.0
# How long a listing waits to be matched, so that many are matched at once.
MATCH_SECONDS = 0.5
# What leaves the market by more than one transaction, does so soon.
WITHDRAW_SECONDS = 1.0


def wire(service: Service, sms: SmsProvider) -> list[str]:
    """Put the servicers, consumers and timers on `service`; the gRPC services it then serves."""
    settings = service.settings
    assert isinstance(settings, AgentsSettings)
    database, server = service.database, service.server.server
    page_tokens = PageTokens(*clear(settings.cursor_key))
    agent_rows, listing_rows = AgentRepository(database), ListingRepository(database)
    channel = service.channel(settings.auth_target, auth_pb2.DESCRIPTOR, consents_pb2.DESCRIPTOR)
    people = People(channel, service.own_token)
    listings = ListingService(listing_rows, agent_rows)
    agents = AgentService(agent_rows, listings)
    offices = OfficeService(OfficeRepository(database), agent_rows, agents)
    search, pages = SearchService(SearchRepository(database)), Pages(listing_rows)
    waiting = AlertRepository(database)
    alerts = AlertService(waiting, listing_rows, people, sms, most_a_day=settings.alerts_per_day)
    saved_searches = SavedSearchService(SavedSearchRepository(database), search, alerts)
    files = ListingFileService(ListingFileRepository(database), listing_rows, agent_rows)

    add_AgentServiceServicer_to_server(AgentServicer(database, agents, people, page_tokens), server)
    add_OfficeServiceServicer_to_server(
        OfficeServicer(database, offices, people, page_tokens), server
    )
    add_ListingServiceServicer_to_server(
        ListingServicer(database, listings, search, pages, page_tokens), server
    )
    add_SearchServiceServicer_to_server(SearchServicer(search, pages), server)
    add_SavedSearchServiceServicer_to_server(
        SavedSearchServicer(database, saved_searches, pages, page_tokens), server
    )
    add_ListingFileServiceServicer_to_server(
        ListingFileServicer(database, files, page_tokens), server
    )

    service.consume("projects", ListingConsumers(listings, search).of_projects)
    service.consume("agents", SavedSearchConsumers(saved_searches).of_agents)
    of_people = PeopleConsumers(agents, offices, saved_searches)
    service.consume("auth", of_people.of_auth)
    service.consume("crm", of_people.of_crm)
    for seconds, name, some in (
        (FORGET_SECONDS, "forget imports", files.forget),
        (SWEEP_SECONDS, "open listings", listings.open_due),
        (SWEEP_SECONDS, "expire listings", listings.expire),
        (SWEEP_SECONDS, "warn of registrations", agents.warn),
        (SWEEP_SECONDS, "end registrations", agents.end_registrations),
        (SWEEP_SECONDS, "tell of saved searches", saved_searches.tell_of_yesterday),
        (MATCH_SECONDS, "match saved searches", saved_searches.match_offers),
        (WITHDRAW_SECONDS, "withdraw", agents.withdraw_more),
    ):
        service.every(seconds, name, sweep(database, some))
    service.every(READ_SECONDS, "read imports", ImportTimers(database, files).read_all)
    alerting = AlertTimers(database, waiting, alerts).send_waiting
    service.every(settings.notify_every_seconds, "send alerts", alerting)
    service.every(PLACES_SECONDS, "places", SearchTimers(database, search).count_places)
    return [
        "propmubi.agents.v1.AgentService",
        "propmubi.agents.v1.OfficeService",
        "propmubi.agents.v1.ListingService",
        "propmubi.agents.v1.SearchService",
        "propmubi.agents.v1.SavedSearchService",
        "propmubi.agents.v1.ListingFileService",
    ]


async def main() -> None:
    settings = load(AgentsSettings)
    async with open_sms(settings) as sms, open_service(settings, "agents") as service:
        await service.run(wire(service, sms))


if __name__ == "__main__":
    process.run(main)

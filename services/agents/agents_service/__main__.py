"""The agents service: `python -m agents_service`."""

from agents_service.agents.consumers import PeopleConsumers
from agents_service.agents.repository import AgentRepository
from agents_service.agents.service import AgentService
from agents_service.agents.servicer import AgentServicer
from agents_service.alerts.repository import AlertRepository
from agents_service.alerts.service import AlertService
from agents_service.alerts.timers import AlertTimers
from agents_service.clients import People
from agents_service.listing_files import timers
from agents_service.listing_files.repository import ListingFileRepository
from agents_service.listing_files.service import ListingFileService
from agents_service.listing_files.servicer import ListingFileServicer
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
    page_tokens = PageTokens(*clear(settings.cursor_key))
    agent_repository = AgentRepository(service.database)
    listing_repository = ListingRepository(service.database)
    listings = ListingService(listing_repository, agent_repository)
    agents = AgentService(agent_repository, listings)
    offices = OfficeService(OfficeRepository(service.database), agent_repository, agents)
    channel = service.channel(settings.auth_target, auth_pb2.DESCRIPTOR, consents_pb2.DESCRIPTOR)
    people = People(channel, service.own_token)
    add_AgentServiceServicer_to_server(
        AgentServicer(service.database, agents, page_tokens), service.server.server
    )
    search, pages = SearchService(SearchRepository(service.database)), Pages(listing_repository)
    add_ListingServiceServicer_to_server(
        ListingServicer(service.database, listings, search, pages, page_tokens),
        service.server.server,
    )
    add_OfficeServiceServicer_to_server(
        OfficeServicer(service.database, offices, people, page_tokens), service.server.server
    )
    add_SearchServiceServicer_to_server(SearchServicer(search, pages), service.server.server)
    waiting = AlertRepository(service.database)
    alerts = AlertService(
        waiting, listing_repository, people, sms, most_a_day=settings.alerts_per_day
    )
    saved_searches = SavedSearchService(SavedSearchRepository(service.database), search, alerts)
    add_SavedSearchServiceServicer_to_server(
        SavedSearchServicer(service.database, saved_searches, pages, page_tokens),
        service.server.server,
    )
    files = ListingFileService(
        ListingFileRepository(service.database), listing_repository, agent_repository
    )
    add_ListingFileServiceServicer_to_server(
        ListingFileServicer(service.database, files, page_tokens), service.server.server
    )
    service.every(timers.READ_SECONDS, "read imports", timers.reading(service.database, files))
    service.every(timers.FORGET_SECONDS, "forget imports", sweep(service.database, files.forget))
    for name, some in (
        ("open listings", listings.open_due),
        ("expire listings", listings.expire),
        ("warn of registrations", agents.warn),
        ("end registrations", agents.end_registrations),
        ("tell of saved searches", saved_searches.tell_of_yesterday),
    ):
        service.every(SWEEP_SECONDS, name, sweep(service.database, some))
    matching = sweep(service.database, saved_searches.match_offers)
    service.every(MATCH_SECONDS, "match saved searches", matching)
    service.every(WITHDRAW_SECONDS, "withdraw", sweep(service.database, agents.withdraw_more))
    alerting = AlertTimers(service.database, waiting, alerts).send_waiting
    service.every(settings.notify_every_seconds, "send alerts", alerting)
    service.every(PLACES_SECONDS, "places", SearchTimers(service.database, search).count_places)
    service.consume("projects", ListingConsumers(listings, search).of_projects)
    service.consume("agents", SavedSearchConsumers(saved_searches).of_agents)
    of_people = PeopleConsumers(agents, offices, saved_searches)
    service.consume("auth", of_people.of_auth)
    service.consume("crm", of_people.of_crm)
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

"""The crm service: `python -m crm_service`."""

from datetime import timedelta
from functools import partial

from chassis import process
from chassis.events import follow
from chassis.page_tokens import PageTokens
from chassis.service import Service, open_service
from chassis.settings import clear, load
from chassis.sms import SmsProvider, open_sms
from crm_service.activities.repository import ActivityRepository
from crm_service.activities.service import ActivityService
from crm_service.activities.servicer import ActivityServicer
from crm_service.business_hours import BusinessHours
from crm_service.clients import SECONDS, Agents, Projects
from crm_service.enquiries.batches import EnquiryBatches
from crm_service.enquiries.repository import EnquiryRepository
from crm_service.enquiries.service import EnquiryService
from crm_service.enquiries.timers import EnquiryTimers
from crm_service.leads.consumers import LeadConsumers
from crm_service.leads.repository import LeadRepository
from crm_service.leads.service import LeadService
from crm_service.leads.servicer import LeadServicer
from crm_service.notices.consumers import NoticeConsumers
from crm_service.notices.repository import NoticeRepository
from crm_service.notices.service import NoticeService
from crm_service.notices.timers import NoticeTimers
from crm_service.settings import CrmSettings
from propmubi.agents.v1 import agents_pb2, listings_pb2
from propmubi.crm.v1.activities_pb2_grpc import add_ActivityServiceServicer_to_server
from propmubi.crm.v1.leads_pb2_grpc import add_LeadServiceServicer_to_server
from propmubi.projects.v1 import projects_pb2


def wire(service: Service, sms: SmsProvider) -> list[str]:
    """Put the servicers, consumers and timers on `service`; the gRPC services it then serves."""
    settings = service.settings
    assert isinstance(settings, CrmSettings)
    database, server = service.database, service.server.server
    page_tokens = PageTokens(*clear(settings.cursor_key))
    channel = service.channel(
        settings.agents_target, agents_pb2.DESCRIPTOR, listings_pb2.DESCRIPTOR
    )
    agents = Agents(channel, service.own_token)
    projects = Projects(
        service.channel(settings.projects_target, projects_pb2.DESCRIPTOR), service.own_token
    )
    leads, activities = LeadRepository(database), ActivityRepository(database)
    enquiries, notices = EnquiryRepository(database), NoticeRepository(database)
    hours = BusinessHours(settings.business_opens, settings.business_closes)
    first_response = timedelta(minutes=settings.first_response_minutes)
    pipeline = LeadService(
        leads, activities, notices, agents, hours=hours, first_response=first_response
    )
    timeline = ActivityService(activities, leads, pipeline)
    owners = {"listing": agents, "project": projects}
    intake = EnquiryService(enquiries, leads, activities, pipeline, owners)
    telling = NoticeService(leads, agents, sms, most_an_hour=settings.notices_per_hour)
    batches = EnquiryBatches(database, intake)
    add_LeadServiceServicer_to_server(
        LeadServicer(database, pipeline, intake, batches, page_tokens), server
    )
    add_ActivityServiceServicer_to_server(ActivityServicer(database, timeline, page_tokens), server)
    consumers = LeadConsumers(pipeline)
    service.consume("projects", consumers.of_projects)
    service.consume("agents", {**consumers.of_agents, **NoticeConsumers(notices).of_agents})
    service.consume("auth", consumers.of_auth)
    for source, remembered in (("agents", agents), ("projects", projects)):
        service.works.append(
            partial(follow, service.redis, source, SECONDS, remembered.heed, remembered.on_gap)
        )
    assigning = EnquiryTimers(database, enquiries, intake).assign_waiting
    service.every(settings.assign_every_seconds, "assign leads", assigning)
    notifying = NoticeTimers(database, notices, telling).send_waiting
    service.every(settings.notify_every_seconds, "send notices", notifying)
    return ["propmubi.crm.v1.LeadService", "propmubi.crm.v1.ActivityService"]


async def main() -> None:
    settings = load(CrmSettings)
    async with open_sms(settings) as sms, open_service(settings, "crm") as service:
        await service.run(wire(service, sms))


if __name__ == "__main__":
    process.run(main)

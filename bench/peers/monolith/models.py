"""The entities: the listings of the platform, column by column, and the monolith's own contacts, leads and timeline."""

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012 -- SQLAlchemy's way to say it
        str: Text,
        int: BigInteger,
        datetime: DateTime(timezone=True),
        list[str]: ARRAY(Text),
        list[dict[str, Any]]: JSONB,
    }


class Listing(Base):
    __tablename__ = "listings"
    __table_args__ = (
        # Made for the one list that is measured: nothing a page could read faster.
        Index(
            "listings_city_bhk",
            "city",
            "bhk",
            "on_market_date",
            "id",
            postgresql_where=text("standard_status = 'active'"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    listing_number: Mapped[str] = mapped_column(unique=True)
    list_agent_id: Mapped[uuid.UUID]
    list_office_id: Mapped[uuid.UUID | None]
    listing_type: Mapped[str]
    property_type: Mapped[str]
    property_sub_type: Mapped[str | None]
    standard_status: Mapped[str]
    list_price: Mapped[int | None]
    original_list_price: Mapped[int | None]
    close_price: Mapped[int | None]
    close_date: Mapped[date | None]
    bhk: Mapped[float | None]
    bedrooms_total: Mapped[int | None]
    bathrooms_total: Mapped[int | None]
    carpet_area: Mapped[int | None]
    built_up_area: Mapped[int | None]
    super_built_up_area: Mapped[int | None]
    furnishing: Mapped[str | None]
    facing: Mapped[str | None]
    floor: Mapped[int | None]
    total_floors: Mapped[int | None]
    year_built: Mapped[int | None]
    possession_status: Mapped[str | None]
    possession_date: Mapped[date | None]
    project_id: Mapped[uuid.UUID | None]
    unit_id: Mapped[uuid.UUID | None]
    rera_project_no: Mapped[str | None]
    address_line: Mapped[str | None]
    subdivision_name: Mapped[str | None]
    city: Mapped[str | None]
    state: Mapped[str | None]
    postal_code: Mapped[str | None]
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    amenities: Mapped[list[str]]
    public_remarks: Mapped[str | None]
    media: Mapped[list[dict[str, Any]]]
    listing_contract_date: Mapped[date | None]
    on_market_date: Mapped[datetime | None]
    expiration_date: Mapped[date | None]
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Contact(Base):
    __tablename__ = "contacts"
    __table_args__ = (UniqueConstraint("account_id", "phone"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    account_id: Mapped[uuid.UUID]
    phone: Mapped[str]
    full_name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Lead(Base):
    __tablename__ = "leads"
    __table_args__ = (
        # One open lead per contact and listing.
        Index(
            "leads_open",
            "contact_id",
            "listing_id",
            unique=True,
            postgresql_where=text("stage not in ('booked', 'junk')"),
        ),
        Index("leads_owner", "owner_agent_id", "created_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    contact_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("contacts.id"))
    listing_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("listings.id"))
    owner_agent_id: Mapped[uuid.UUID]
    source: Mapped[str | None]
    stage: Mapped[str] = mapped_column(default="assigned")
    sla_due_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Activity(Base):
    __tablename__ = "activities"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    lead_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("leads.id"), index=True)
    kind: Mapped[str]
    text: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

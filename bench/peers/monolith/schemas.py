"""What the monolith reads and answers."""

import uuid
from datetime import date, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Phone = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$")]


class MediaOut(BaseModel):
    url: str
    kind: str
    caption: str | None = None


class ListingOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    listing_number: str
    list_agent_id: uuid.UUID
    list_office_id: uuid.UUID | None
    listing_type: str
    property_type: str
    property_sub_type: str | None
    standard_status: str
    list_price: int | None
    original_list_price: int | None
    close_price: int | None
    close_date: date | None
    bhk: float | None
    bedrooms_total: int | None
    bathrooms_total: int | None
    carpet_area: int | None
    built_up_area: int | None
    super_built_up_area: int | None
    furnishing: str | None
    facing: str | None
    floor: int | None
    total_floors: int | None
    year_built: int | None
    possession_status: str | None
    possession_date: date | None
    project_id: uuid.UUID | None
    unit_id: uuid.UUID | None
    rera_project_no: str | None
    address_line: str | None
    subdivision_name: str | None
    city: str | None
    state: str | None
    postal_code: str | None
    latitude: float | None
    longitude: float | None
    amenities: list[str]
    public_remarks: str | None
    media: list[MediaOut]
    listing_contract_date: date | None
    on_market_date: datetime | None
    expiration_date: date | None
    version: int
    created_at: datetime
    updated_at: datetime


class ListingPage(BaseModel):
    listings: list[ListingOut]
    next_page: int | None


class EnquiryIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    listing_id: uuid.UUID
    full_name: str = Field(min_length=2, max_length=120)
    phone: Phone
    message: str | None = Field(default=None, min_length=1, max_length=2000)
    source: str | None = Field(default=None, min_length=1, max_length=60)


class EnquiryOut(BaseModel):
    id: uuid.UUID
    listing_id: uuid.UUID
    full_name: str
    phone: str
    message: str | None
    source: str | None

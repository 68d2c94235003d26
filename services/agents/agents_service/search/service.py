"""What is asked for becomes a search: ranges and areas are checked, words are read, places are found by their names."""

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from agents_service.listings.domain import PUBLIC, StandardStatus
from agents_service.listings.search import SAMPLE, Found, Search
from agents_service.search import geometry
from agents_service.search.domain import (
    Place,
    folded,
    folded_name,
    in_named_cities,
    meant,
    phrases,
    spellings,
    without_regions,
)
from agents_service.search.reading import read, telling
from agents_service.search.repository import Cluster, Counts, SearchRepository
from chassis.database import Transaction
from chassis.errors import InvalidArgument, PermissionDenied, Unauthenticated, Violation
from chassis.identity import Principal
from chassis.page_tokens import page_token_invalid

LISTING_TYPES = ("sale", "rent")
MOST_WORDS, MOST_WORDS_LEFT = 20, 8
RADIUS_METRES = 5_000
# Names that were asked about lately need not be looked up again.
REMEMBERED, REMEMBERED_FOR = 2_000, timedelta(minutes=1)
_RANGES: Final = tuple(
    (f"{name}_min", f"{name}_max") for name in ("price", "carpet_area", "price_per_sqft", "floor")
)
_AREAS: Final[Mapping[str, Callable[[str], Any]]] = {
    "bbox": geometry.box,
    "polygon": geometry.polygon,
}
# By which filters each kind of place is looked for.
_PLACE_FILTERS: Final = {"city": "city", "locality": "subdivision_name"}
# A facet's own filters, which its counts leave out.
_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "locality": ("subdivision_name",),
    "bhk": ("bhk",),
    "band": ("price_min", "price_max"),
    "property_type": ("property_type",),
}


class Asked(NamedTuple):
    """What is asked for, ready to be searched: filters by the names of columns' conditions, and how words were read."""

    filters: dict[str, Any]
    words: Sequence[str]
    centre: geometry.Point | None
    read: dict[str, Any]
    places: Sequence[Place]


class SearchService:
    """The use cases of search."""

    def __init__(self, repository: SearchRepository) -> None:
        self._repository = repository
        self._remembered: dict[tuple[str, ...], tuple[datetime, list[Place]]] = {}

    async def pages(
        self,
        caller: Principal | None,
        filters: Mapping[str, Any],
        *,
        sort: str,
        after: tuple[Any, uuid.UUID] | None,
        limit: int,
    ) -> tuple[Search, Asked]:
        """The search for a page of what `filters` ask for and `caller` may see; raises InvalidArgument,
        PermissionDenied.

        A page `after` a row must be in the `sort` of the page before. It can't be where the words have come to be read
        as a place meanwhile, so that nothing is left to be relevant to: then its token is invalid.
        """
        statuses = filters.get("standard_status", (StandardStatus.ACTIVE,))
        asked = await self.asked(filters)
        if sort == "distance" and asked.centre is None:
            raise InvalidArgument(_fault("near", "is required to sort by distance"))
        if not PUBLIC.issuperset(statuses):
            asked.filters.update(_own_alone(caller, asked.filters.get("list_agent_id")))
        search = _search(asked, standard_status=statuses, sort=sort, after=after, limit=limit)
        if after and search.sort != sort:
            raise page_token_invalid()
        return search, asked

    async def facets(self, filters: Mapping[str, Any]) -> Counts:
        """How many active listings have which locality, size, price and kind: each count without its own filter."""
        asked = await self.asked(filters)
        own = {facet: frozenset(names).intersection(asked.filters) for facet, names in _OWN.items()}
        # Facets that have nothing to leave out share one count.
        ways = [*{frozenset[str](), *own.values()}]
        searches = [_search(_without(asked, left_out), limit=SAMPLE) for left_out in ways]
        counted = await asyncio.gather(*map(self._repository.facets, searches))
        found = dict(zip(ways, counted, strict=True))
        return Counts(
            {facet: found[left_out].of.get(facet, ()) for facet, left_out in own.items()},
            found[frozenset()].total,
            any(each.capped for each in counted),
        )

    async def clusters(
        self, filters: Mapping[str, Any], zoom: int
    ) -> tuple[Sequence[Cluster], bool]:
        """What is asked for, in cells of 64 pixels of a map at `zoom`; and whether there is more than that."""
        if "bbox" not in filters:
            raise InvalidArgument(_fault("bbox", "is required: the part of the map that is seen"))
        search = _search(await self.asked(filters), limit=SAMPLE)
        return await self._repository.clusters(search, geometry.WORLD / (1 << (zoom + 2)))

    async def suggest(self, typed: str, city: str | None) -> list[Place]:
        """Places whose names begin with what was typed, or nearly so, each once, the likeliest first."""
        cities = spellings(city.strip().lower()) if city else ()
        beginning = folded_name(typed)
        found = await self._repository.suggested(beginning, cities) if beginning else []
        once = {
            (place.kind, place.name, place.city, place.reference_id): place for place in found[::-1]
        }
        return [place for place in found if once.get(place[:1] + place[2:5]) is place]

    async def similar(self, listing_id: uuid.UUID) -> list[Found]:
        """The active listings most like a public one; raises NotFound."""
        return await self._repository.similar(listing_id)

    async def count_places(self, tx: Transaction) -> None:
        """Bring places up to date with the listings that are active."""
        await self._repository.count_places(tx)

    async def name_project(
        self, tx: Transaction, project_id: uuid.UUID, builder_id: uuid.UUID, name: str, city: str
    ) -> None:
        """A project on sale is found by its name."""
        await self._repository.name_project(tx, project_id, builder_id, name, city)

    async def rename_project(
        self, tx: Transaction, project_id: uuid.UUID, builder_id: uuid.UUID, name: str, city: str
    ) -> None:
        """A project is called otherwise; one that is not found by its name stays so."""
        if await self._repository.is_named(tx, project_id):
            await self._repository.name_project(tx, project_id, builder_id, name, city)

    async def forget_project(
        self, tx: Transaction, project_id: uuid.UUID, builder_id: uuid.UUID
    ) -> None:
        """A project that left the market is found by its name no more."""
        await self._repository.forget_project(tx, project_id, builder_id)

    async def name_builder(self, tx: Transaction, builder_id: uuid.UUID, name: str) -> None:
        """A builder with projects on sale is found by its name."""
        await self._repository.name_builder(tx, builder_id, name)

    async def rename_builder(self, tx: Transaction, builder_id: uuid.UUID, name: str) -> None:
        """A builder is called otherwise; one that is not found by its name stays so."""
        if await self._repository.is_named(tx, builder_id):
            await self._repository.name_builder(tx, builder_id, name)

    async def forget_builder(self, tx: Transaction, builder_id: uuid.UUID) -> None:
        """A suspended builder is found by its name no more."""
        await self._repository.forget(tx, builder_id)

    async def asked(self, filters: Mapping[str, Any]) -> Asked:
        """What `filters` ask for; raises InvalidArgument naming each that can't be."""
        wanted = {name: value for name, value in filters.items() if name != "standard_status"}
        faults = [
            _fault(most, f"must not be less than {least}")
            for least, most in _RANGES
            if least in wanted and most in wanted and wanted[most] < wanted[least]
        ]
        centre = _read_areas(wanted, faults)
        words = folded(wanted.pop("q")) if "q" in filters else None
        if words is not None and not any(map(str.isalnum, words)):
            faults.append(_fault("q", "must contain a word"))
        elif words is not None and len(words.split()) > MOST_WORDS:
            faults.append(_fault("q", f"must not have more than {MOST_WORDS} words"))
        if faults:
            raise InvalidArgument(*faults)
        taken: dict[str, Any] = {}
        places: Sequence[Place] = ()
        rest: Sequence[str] = ()
        if words is not None:
            reading = read(words)
            taken = _not_said(reading.filters, wanted)
            wanted |= taken
            places, rest = await self._places(reading.words, wanted)
            wanted |= await self._place_filters(places)
            if len(rest) > MOST_WORDS_LEFT:
                fault = f"must not have more than {MOST_WORDS_LEFT} words besides sizes, prices, kinds and places"
                raise InvalidArgument(_fault("q", fault))
        if "city" in wanted:
            cities = [spelling for city in wanted["city"] for spelling in spellings(city)]
            wanted["city"] = list(dict.fromkeys(cities))
        return Asked(wanted, tuple(rest), centre, taken, places)

    async def _places(
        self, words: Sequence[str], wanted: Mapping[str, Any]
    ) -> tuple[list[Place], list[str]]:
        if not words:
            return [], []
        cities = {name for city in wanted.get("city", ()) for name in spellings(city)}
        said = {kind for kind, name in _PLACE_FILTERS.items() if name in wanted}
        said |= {"project", "builder"} if "project_id" in wanted else set()
        found: list[Place] = []
        rest = [*words]
        # As a rule names are spelt as they are; what else they could be takes longer to find.
        for nearly in (False, True):
            rest = telling(rest) if nearly else rest
            known = await self._named(tuple(phrases(rest)), nearly=nearly) if rest else ()
            fitting = [
                place
                for place in known
                if place.kind not in said
                and (not cities or not place.city or place.city.lower() in cities)
            ]
            more, rest = meant(rest, fitting)
            found += more
            if found or cities:
                rest = without_regions(rest)
        return in_named_cities(found), rest

    async def _named(self, asked: tuple[str, ...], *, nearly: bool) -> list[Place]:
        now = datetime.now(UTC)
        key = (*asked, "?" if nearly else "")
        remembered = self._remembered.get(key)
        if remembered is not None and remembered[0] > now:
            return remembered[1]
        places = await self._repository.named(asked, nearly=nearly)
        self._remembered[key] = now + REMEMBERED_FOR, places
        while len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        return places

    async def _place_filters(self, places: Sequence[Place]) -> dict[str, Any]:
        found: dict[str, list[Any]] = {}
        for place in places:
            if place.kind in _PLACE_FILTERS:
                found.setdefault(_PLACE_FILTERS[place.kind], []).append(place.name.lower())
            elif place.kind == "project":
                found.setdefault("project_id", []).append(place.reference_id)
        builders = [place.reference_id for place in places if place.kind == "builder"]
        if builders:
            projects = await self._repository.projects_of([each for each in builders if each])
            found.setdefault("project_id", []).extend(projects)
        in_cities = {place.city.lower() for place in places if place.kind == "locality"}
        if in_cities and "city" not in found:
            found["city"] = sorted(in_cities)
        return {name: list(dict.fromkeys(values)) for name, values in found.items()}


def _fault(name: str, message: str) -> Violation:
    """What is wrong with a filter, by its path in a request."""
    return Violation(f"filters.{name}", message)


def _read_areas(wanted: dict[str, Any], faults: list[Violation]) -> geometry.Point | None:
    """Make areas of what says where; the point that distances are measured from, if any."""
    for name, make in _AREAS.items():
        if name in wanted:
            try:
                wanted[name] = make(wanted[name])
            except ValueError as error:
                faults.append(_fault(name, str(error)))
    radius = wanted.pop("radius_m", None)
    near = wanted.get("near")
    if near is None:
        if radius is not None:
            faults.append(_fault("near", "is required beside radius_m"))
        return None
    try:
        wanted["near"] = geometry.circle(near, radius or RADIUS_METRES)
        return geometry.centre(near)
    except ValueError as error:
        faults.append(_fault("near", str(error)))
        return None


def _not_said(read: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What was read and is not said by a parameter: ranges by none of their two."""
    said = {name for ends in _RANGES if not wanted.keys().isdisjoint(ends) for name in ends}
    return {name: value for name, value in read.items() if name not in wanted.keys() | said}


def _search(
    asked: Asked,
    *,
    limit: int,
    standard_status: Sequence[str] = (StandardStatus.ACTIVE,),
    sort: str = "newest",
    after: tuple[Any, uuid.UUID] | None = None,
) -> Search:
    filters = dict(asked.filters)
    listing_type = filters.pop("listing_type", LISTING_TYPES)
    return Search(
        standard_status=standard_status,
        listing_type=listing_type,
        filters=filters,
        words=asked.words,
        # Without words all are as relevant.
        sort="newest" if sort == "relevance" and not asked.words else sort,
        centre=asked.centre,
        after=after,
        limit=limit,
    )


def _without(asked: Asked, names: frozenset[str]) -> Asked:
    left = {name: value for name, value in asked.filters.items() if name not in names}
    return asked._replace(filters=left)


def _own_alone(caller: Principal | None, agent_ids: list[uuid.UUID] | None) -> dict[str, Any]:
    """What a search for statuses that are not public is narrowed to; raises when they are not the caller's to see."""
    if caller is None:
        raise Unauthenticated("Sign in to list what is not public.")
    if caller.is_admin or (
        "agent" in caller.roles and agent_ids and agent_ids == [caller.agent_id]
    ):
        return {}
    if agent_ids and caller.administered_office_id is not None:
        return {"list_office_id": [caller.administered_office_id]}
    raise PermissionDenied(
        "Statuses that are not public are listed together with your own list_agent_id alone."
    )

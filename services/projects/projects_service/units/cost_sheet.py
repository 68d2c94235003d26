"""What a unit costs, all in: charges, GST and stamp duty.

Estimates. Rates are those of flats under construction from a promoter, for a buyer without a concession, as of 2025:
GST by notification 03/2019-CT(R) (1 % affordable, 5 % others, without input credit; none after completion), stamp duty
by the states' schedules, surcharges of a metro included. Buyers' concessions and registration fees are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from projects_service.projects.domain import ProjectStatus
from projects_service.units.domain import Unit

# Rates in basis points: hundredths of a per cent.
GST: Final = 500
GST_AFFORDABLE: Final = 100
# Affordable: up to ₹ 45 lakh and 60 m² of carpet area in a metro, 90 m² elsewhere.
AFFORDABLE_PRICE: Final = 4_500_000
AFFORDABLE_SQFT: Final = 968
AFFORDABLE_SQFT_METRO: Final = 645
METROS: Final = frozenset(
    {
        "bengaluru",
        "chennai",
        "delhi",
        "faridabad",
        "ghaziabad",
        "greater noida",
        "gurugram",
        "hyderabad",
        "kolkata",
        "mumbai",
        "new delhi",
        "noida",
        "thane",
    }
)
STAMP_DUTY: Final[Mapping[str, int]] = {
    "andhra pradesh": 650,
    "delhi": 600,
    "gujarat": 490,
    "haryana": 700,
    "karnataka": 560,
    "kerala": 800,
    "madhya pradesh": 750,
    "maharashtra": 700,
    "rajasthan": 600,
    "tamil nadu": 700,
    "telangana": 550,
    "uttar pradesh": 700,
    "west bengal": 700,
}
STAMP_DUTY_ELSEWHERE: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSheet:
    """What a unit costs, in rupees."""

    base_price: int
    preferential_location_charge: int
    floor_rise_charge: int
    parking_charge: int
    price: int
    gst: int
    stamp_duty: int
    all_in_price: int
    all_in_price_per_sqft: int


def cost_sheet(unit: Unit) -> CostSheet:
    """The cost sheet of `unit`; taxes are on the price, which is the agreement value."""
    gst = _share(unit.price, _gst(unit))
    stamp_duty = _share(
        unit.price, STAMP_DUTY.get((unit.sale.state or "").casefold(), STAMP_DUTY_ELSEWHERE)
    )
    all_in = unit.price + gst + stamp_duty
    return CostSheet(
        base_price=unit.price - unit.charges,
        preferential_location_charge=unit.preferential_location_charge,
        floor_rise_charge=unit.floor_rise_charge,
        parking_charge=unit.parking_charge,
        price=unit.price,
        gst=gst,
        stamp_duty=stamp_duty,
        all_in_price=all_in,
        all_in_price_per_sqft=_rounded(all_in, unit.carpet_area),
    )


def _gst(unit: Unit) -> int:
    if unit.sale.project_status == ProjectStatus.COMPLETED:
        return 0
    in_metro = (unit.sale.city or "").casefold() in METROS
    largest = AFFORDABLE_SQFT_METRO if in_metro else AFFORDABLE_SQFT
    affordable = unit.price <= AFFORDABLE_PRICE and unit.carpet_area <= largest
    return GST_AFFORDABLE if affordable else GST


def _share(amount: int, basis_points: int) -> int:
    return _rounded(amount * basis_points, 10_000)


def _rounded(amount: int, divisor: int) -> int:
    """The quotient in whole rupees, half a rupee counting as one."""
    return (2 * amount + divisor) // (2 * divisor)

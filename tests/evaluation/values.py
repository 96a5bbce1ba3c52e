"""Values that fill the blanks of documents: amounts, dates, codes, numbers of all kinds."""

import random
import string
from collections.abc import Callable, Mapping

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def amount(rng: random.Random) -> str:
    """Return an amount of money with two decimals: most below 100, some in the thousands."""
    cents = rng.randrange(20, 10 ** rng.choice((4, 4, 5, 6)))
    return f"{cents / 100:,.2f}"


def western_date(rng: random.Random) -> str:
    """Return a date in one of the usual English forms."""
    day, month, year = _day(rng)
    forms = (f"{month:02}/{day:02}/{year}", f"{year}-{month:02}-{day:02}", f"{day} {MONTHS[month - 1]} {year}")
    return rng.choice(forms)


def chinese_date(rng: random.Random) -> str:
    """Return a date in one of the usual Chinese forms."""
    day, month, year = _day(rng)
    forms = (f"{year}年{month}月{day}日", f"{year}-{month:02}-{day:02}", f"{year}/{month:02}/{day:02}")
    return rng.choice(forms)


def _day(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(1, 29), rng.randrange(1, 13), rng.randrange(1990, 2026)


def clock(rng: random.Random) -> str:
    """Return a time of day in hours and minutes."""
    return f"{rng.randrange(24):02}:{rng.randrange(60):02}"


def western_phone(rng: random.Random) -> str:
    """Return a telephone number in an English form."""
    one, two, three = rng.randrange(200, 999), rng.randrange(100, 999), rng.randrange(1000, 9999)
    return rng.choice((f"({one}) {two}-{three}", f"+60 3-{one}{two % 10} {three}", f"0{one}-{two}{three}"))


def chinese_phone(rng: random.Random) -> str:
    """Return a telephone number in a Chinese form."""
    one, two = rng.randrange(1000, 9999), rng.randrange(1000, 9999)
    return rng.choice((f"13{rng.randrange(10)}{one}{two}", f"021-{one}{two}", f"400-{one % 1000:03}-{two}"))


def code(rng: random.Random) -> str:
    """Return a document's or an article's number: capitals and digits."""
    head = "".join(rng.choices(string.ascii_uppercase, k=rng.randrange(1, 4)))
    return f"{head}{rng.choice(('-', ''))}{digits(rng, rng.randrange(4, 9))}"


def digits(rng: random.Random, count: int = 12) -> str:
    """Return a number of this many digits, which may begin with 0."""
    return "".join(rng.choices(string.digits, k=count))


VALUES: Mapping[str, Callable[[random.Random], str]] = {
    "amount": amount,
    "clock": clock,
    "time": lambda rng: f"{clock(rng)}:{rng.randrange(60):02}",
    "code": code,
    "digits": digits,
    "postcode": lambda rng: digits(rng, 5),
    "percent": lambda rng: f"{rng.randrange(10, 4_000) / 100:.2f}%",
    "thousands": lambda rng: f"{rng.randrange(1_000, 200_000):,}",
}
"""Values that are the same in every language, by blank."""

VALUES_BY_LANGUAGE: Mapping[str, Mapping[str, Callable[[random.Random], str]]] = {
    "en": {"date": western_date, "phone": western_phone},
    "zh": {"date": chinese_date, "phone": chinese_phone},
}

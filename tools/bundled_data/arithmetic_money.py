"""Word problems about money: prices, wages, savings, discounts, bills."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from .maths import Maths
from .written_trace import NAMES, Sketch

GOODS = (
    *(("notebooks", 3), ("jars of jam", 4), ("bars of soap", 2), ("candles", 5), ("mugs", 7)),
    *(("light bulbs", 6), ("pots of basil", 4), ("packs of seeds", 3), ("tins of paint", 11)),
    *(("balls of wool", 6), ("tennis balls", 2), ("lanterns", 9), ("brushes", 5), ("maps", 8)),
)
SHOPS = ("a market stall", "the corner shop", "a craft fair", "the garden centre", "a flea market")


def shopping(m: Maths) -> Sketch:
    """Two goods at unit prices, paid with a note: the change."""
    name = m.rng.choice(NAMES)
    (good, price), (other, cost) = m.rng.sample(GOODS, k=2)
    n, k = m.rng.randint(3, 9), m.rng.randint(2, 8)
    price, cost = price + m.rng.randint(0, 2), cost + m.rng.randint(0, 2)
    m.given(f"{name} buys {n} {good}", f"each of them costs {m.money(price)}")
    first = m.work(f"the cost of the {good}", n, "*", price, "money")
    m.given(f"{name} also takes {k} {other} at {m.money(cost)} apiece")
    second = m.work(f"the cost of the {other}", k, "*", cost, "money")
    total = m.work("the whole bill", first, "+", second, "money")
    note = (int(total) // 50 + 1) * 50
    change = m.work("the change", note, "-", total, "money")
    m.verify(note, "-", total)
    givens = [
        f"The {good} cost {m.money(price)} each, and {name} buys {n} of them.",
        f"{name} also picks up {k} {other} at {m.money(cost)} apiece.",
    ]
    question = f"If {name} pays with {m.money(note)}, how much change comes back?"
    return m.ask(f"{name} is at {m.rng.choice(SHOPS)}.", givens, question, m.money(change))


def discount(m: Maths) -> Sketch:
    """A percentage off and a delivery charge."""
    name = m.rng.choice(NAMES)
    thing = m.rng.choice(("sofa", "bicycle", "camera", "washing machine", "tent", "desk", "oven"))
    price, percent = m.rng.randint(6, 30) * 20, m.rng.choice((5, 10, 15, 20, 25, 30, 40))
    fee = m.rng.randint(8, 35)
    m.given(f"the {thing} normally costs {m.money(price)}", f"the sale takes {percent}% off")
    unit = m.work("one percent of the price", price, "/", 100)
    off = m.work("the reduction", unit, "*", percent, "money")
    reduced = m.work("the sale price", price, "-", off, "money")
    m.verify(price, "-", off)
    m.given(f"delivery is another {m.money(fee)}")
    total = m.work(f"the amount {name} pays", reduced, "+", fee, "money")
    givens = [
        f"The {thing} has a normal price of {m.money(price)}.",
        f"Delivery to the flat costs {m.money(fee)}, which is not reduced.",
        f"This week there is {percent}% off everything in the showroom.",
    ]
    question = f"What does {name} pay altogether?"
    return m.ask(f"{name} orders a {thing} in a sale.", givens, question, m.money(total))


def wages(m: Maths) -> Sketch:
    """Hourly pay with a higher rate for overtime."""
    name = m.rng.choice(NAMES)
    job = m.rng.choice(("a bakery", "a warehouse", "a hotel", "a call centre", "a nursery garden"))
    rate, extra = m.rng.randint(11, 22), m.rng.randint(3, 9)
    hours, late = m.rng.randint(28, 40), m.rng.randint(2, 8)
    m.given(f"the normal rate is {m.money(rate)} an hour for {hours} hours")
    base = m.work("the ordinary pay", hours, "*", rate, "money")
    m.given(f"every hour of overtime earns {m.money(extra)} more than that")
    high = m.work("the overtime rate", rate, "+", extra, "money")
    more = m.work(f"the pay for the {late} late hours", late, "*", high, "money")
    m.verify(late, "*", high)
    total = m.work("the weekly total", base, "+", more, "money")
    givens = [
        f"The ordinary rate is {m.money(rate)} an hour.",
        f"Overtime is paid at {m.money(extra)} an hour above the ordinary rate.",
        f"Last week {name} put in {hours} ordinary hours and {late} hours of overtime.",
    ]
    question = f"How much did {name} earn last week?"
    return m.ask(f"{name} works in {job}.", givens, question, m.money(total))


def saving(m: Maths) -> Sketch:
    """Weeks needed to reach a goal."""
    name = m.rng.choice(NAMES)
    goal_thing = m.rng.choice(("a guitar", "a kayak", "a telescope", "a train trip", "a drum kit"))
    pay, spend = m.rng.randint(18, 45), m.rng.randint(4, 12)
    weeks, start = m.rng.randint(6, 16), m.rng.randint(15, 90)
    goal = (pay - spend) * weeks + start
    m.given(f"{name} already has {m.money(start)}", f"the goal is {m.money(goal)}")
    missing = m.work("the amount still missing", goal, "-", start, "money")
    m.given(f"each week brings {m.money(pay)} but costs {m.money(spend)} in bus fares")
    kept = m.work("what is kept each week", pay, "-", spend, "money")
    needed = m.work("the number of weeks", missing, "/", kept, "weeks")
    m.verify(missing, "/", kept, chance=0.6)
    givens = [
        f"The price is {m.money(goal)}.",
        f"A paper round brings {m.money(pay)} a week, but bus fares take {m.money(spend)} of it.",
        f"The jar already holds {m.money(start)}.",
    ]
    question = "After how many weeks is there enough?"
    setting = f"{name} is saving up for {goal_thing}."
    return m.ask(setting, givens, question, f"{m.num(needed)} weeks")


def tickets(m: Maths) -> Sketch:
    """Takings from two kinds of ticket, less the rent."""
    event = m.rng.choice(("concert", "puppet show", "film night", "lecture", "magic show", "ball"))
    grown, young = m.rng.randint(40, 160), m.rng.randint(15, 90)
    dear, cheap = m.rng.randint(9, 18), m.rng.randint(3, 8)
    rent = m.rng.randint(8, 30) * 10
    m.given(f"{grown} adults came", f"an adult ticket costs {m.money(dear)}")
    one = m.work("the takings from adults", grown, "*", dear, "money")
    m.given(f"there were {young} children at {m.money(cheap)} each")
    two = m.work("the takings from children", young, "*", cheap, "money")
    total = m.work("the takings in all", one, "+", two, "money")
    m.verify(one, "+", two)
    m.given(f"hiring the hall cost {m.money(rent)}")
    left = m.work("the profit", total, "-", rent, "money")
    givens = [
        f"Adults paid {m.money(dear)} and children {m.money(cheap)}.",
        f"The organisers counted {grown} adults and {young} children.",
        f"The hall was hired for {m.money(rent)}.",
    ]
    question = f"What profit did the {event} make?"
    return m.ask(f"A village put on a {event}.", givens, question, m.money(left))


def fuel(m: Maths) -> Sketch:
    """Fuel used on a round trip and its cost, split among friends."""
    name = m.rng.choice(NAMES)
    use, hundreds = m.rng.randint(5, 9), m.rng.randint(2, 6)
    price, friends = Fraction(m.rng.choice((15, 16, 18, 20, 25)), 10), m.rng.choice((2, 4, 5))
    way = hundreds * 100
    m.given(f"the way there is {way} km and the way back is the same")
    trip = m.work("the whole distance", way, "*", 2, "km")
    m.given(f"the van needs {use} litres for every 100 km")
    hundreds_both = m.work("the number of 100 km stretches", trip, "/", 100)
    litres = m.work("the fuel used", hundreds_both, "*", use, "litres")
    m.verify(hundreds_both, "*", use)
    m.given(f"a litre costs {m.money(price)}")
    cost = m.work("the fuel bill", litres, "*", price, "money")
    share = m.work(f"the share of each of the {friends}", cost, "/", friends, "money")
    givens = [
        f"The festival is {way} km away, and they return by the same road.",
        f"The van burns {use} litres per 100 km.",
        f"Fuel sells at {m.money(price)} a litre.",
    ]
    question = f"If {friends} people split the fuel bill evenly, what does each one pay?"
    return m.ask(f"{name} and friends drive to a festival.", givens, question, m.money(share))


def phone(m: Maths) -> Sketch:
    """A flat fee with a charge for what goes over the allowance."""
    name, company = m.rng.choice(NAMES), m.rng.choice(("Telco", "Blue Line", "Chatterbox", "Hive"))
    flat, allowance = m.rng.randint(9, 24), m.rng.randint(10, 30) * 10
    over, rate = m.rng.randint(4, 18) * 5, Fraction(m.rng.choice((10, 20, 40)), 100)
    used = allowance + over
    m.given(f"{name} talked for {used} minutes", f"{allowance} of them are included")
    extra = m.work("the minutes beyond the allowance", used, "-", allowance, "minutes")
    m.given(f"each extra minute costs {m.money(rate)}")
    charge = m.work("the extra charge", extra, "*", rate, "money")
    m.given(f"the monthly fee is {m.money(flat)}")
    bill = m.work("the bill", flat, "+", charge, "money")
    m.verify(flat, "+", charge)
    givens = [
        f"The fee is {m.money(flat)} a month and includes {allowance} minutes.",
        f"Every further minute is charged at {m.money(rate)}.",
        f"In March {name} used {used} minutes.",
    ]
    question = "How high was the bill for March?"
    setting = f"{name} has a telephone contract with {company}."
    return m.ask(setting, givens, question, m.money(bill))


MONEY: tuple[Callable[[Maths], Sketch], ...] = (
    *(shopping, discount, wages, saving, tickets, fuel, phone),
)

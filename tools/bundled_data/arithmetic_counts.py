"""Word problems about counts, distances, times, ages, fractions, areas and rates."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from .maths import Maths
from .written_trace import NAMES, Sketch

ORDINALS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth", 6: "a sixth", 8: "an eighth"}


def journey(m: Maths) -> Sketch:
    """Two legs at different speeds: the average speed."""
    while True:
        speed, pace = m.rng.sample(range(30, 100, 5), k=2)
        hours, later = m.rng.randint(2, 5), m.rng.randint(1, 4)
        average = Fraction(speed * hours + pace * later, hours + later)
        if average.denominator == 1:
            break
    who = m.rng.choice(("A delivery van", "A coach", "A freight train", "A removal lorry"))
    m.given(f"the first leg takes {hours} hours at {speed} km/h")
    one = m.work("the length of the first leg", speed, "*", hours, "km")
    m.given(f"it then drives at {pace} km/h for {later} hours")
    two = m.work("the length of the second leg", pace, "*", later, "km")
    way = m.work("the whole way", one, "+", two, "km")
    time = m.work("the time on the road", hours, "+", later, "hours")
    result = m.work("the average speed", way, "/", time, "km/h")
    m.verify(way, "/", time)
    setting = f"{who} sets off at {m.rng.randint(5, 9)} in the morning."
    givens = [
        f"For the first {hours} hours it goes at {speed} km/h,"
        f" and for the following {later} hours it goes at {pace} km/h."
    ]
    question = "What is its average speed over the whole trip?"
    return m.ask(setting, givens, question, f"{m.num(result)} km/h")


def fractions(m: Maths) -> Sketch:
    """A fraction of a group, then a fraction of the rest."""
    part, rest = m.rng.choice((3, 4, 5, 6)), m.rng.choice((2, 3, 4))
    whole = part * rest * m.rng.randint(4, 15)
    kind, one, two = m.rng.choice(
        (
            ("pupils", "walk to school", "come by bus"),
            ("seats", "are taken by members", "are sold at the door"),
            ("apples", "go to the cider press", "go to the market"),
            ("books", "are novels", "are about travel"),
            ("guests", "want fish", "want the vegetable pie"),
            ("stamps", "are from Asia", "are from Africa"),
        )
    )
    m.given(f"there are {whole} {kind}", f"{ORDINALS[part]} of them {one}")
    first = m.work(f"the number that {one}", whole, "/", part, kind)
    left = m.work("the number remaining", whole, "-", first, kind)
    m.verify(whole, "-", first)
    m.given(f"of the remainder, {ORDINALS[rest]} {two}")
    second = m.work(f"the number that {two}", left, "/", rest)
    final = m.work("the number in neither group", left, "-", second)
    givens = [f"Of these, {ORDINALS[part]} {one}. Of the remainder, {ORDINALS[rest]} {two}."]
    question = f"How many {kind} are left over after both groups?"
    return m.ask(f"There are {whole} {kind} in all.", givens, question, m.num(final))


def ages(m: Maths) -> Sketch:
    """Ages linked by differences and multiples, some years on."""
    young, middle, old = m.rng.sample(NAMES, k=3)
    age, gap, times = m.rng.randint(4, 12), m.rng.randint(3, 9), m.rng.choice((2, 3, 4))
    years = m.rng.randint(5, 15)
    m.given(f"{young} is {age}", f"{middle} is {gap} years older")
    second = m.work(f"{middle}'s age", age, "+", gap)
    m.given(f"{old} is {times} times as old as {middle}")
    third = m.work(f"{old}'s age now", second, "*", times)
    m.verify(second, "*", times)
    now = m.work(f"the ages of {young} and {old} together", age, "+", third)
    both = m.work(f"the years added to the two of them in {years} years", 2, "*", years)
    total = m.work("the sum at that time", now, "+", both)
    givens = [
        f"{middle} is {gap} years older than {young}.",
        f"{old} is {times} times as old as {middle}.",
        f"{young} has just turned {age}.",
    ]
    question = f"In {years} years, what will the ages of {young} and {old} add up to?"
    return m.ask("", givens, question, m.num(total))


def sharing(m: Maths) -> Sketch:
    """Things from two people pooled, some kept aside, the rest shared."""
    one, two = m.rng.sample(NAMES, k=2)
    kind = m.rng.choice(("marbles", "shells", "plums", "biscuits", "stickers", "walnuts", "beads"))
    heads, each, aside = m.rng.randint(3, 9), m.rng.randint(5, 14), m.rng.randint(3, 20)
    pool = heads * each + aside
    first = m.rng.randint(pool // 4, 3 * pool // 4)
    m.given(f"{one} brings {first} {kind}", f"{two} brings {pool - first}")
    total = m.work(f"the {kind} together", first, "+", pool - first, kind)
    m.given(f"{aside} are set aside for later")
    rest = m.work("the number to hand out", total, "-", aside, kind)
    m.verify(total, "-", aside)
    m.given(f"they are shared by {heads} children")
    share = m.work("what each child gets", rest, "/", heads, kind)
    givens = [f"{one} has {first} {kind}.", f"{two} has {pool - first} {kind}."]
    question = (
        f"They pool them, put {aside} aside for later and share the rest equally"
        f" among {heads} children. How many does each child get?"
    )
    return m.ask("", givens, question, f"{m.num(share)} {kind}")


def stock(m: Maths) -> Sketch:
    """An inventory through several stages."""
    kind, place = m.rng.choice(
        (
            *(("bricks", "A builder's yard"), ("tyres", "A garage"), ("tulip bulbs", "A nursery")),
            *(("bottles", "A cellar"), ("chairs", "A hire firm"), ("helmets", "A ski school")),
        )
    )
    start, sold = m.rng.randint(300, 900), m.rng.randint(80, 250)
    boxes, size, broken = m.rng.randint(4, 12), m.rng.randint(12, 48), m.rng.randint(5, 40)
    m.given(f"the week starts with {start} {kind}", f"{sold} leave on Monday")
    left = m.work("the stock on Monday evening", start, "-", sold, kind)
    m.verify(start, "-", sold)
    m.given(f"{boxes} crates arrive", f"there are {size} {kind} in a crate")
    fresh = m.work("the delivery", boxes, "*", size, kind)
    more = m.work("the stock after the delivery", left, "+", fresh, kind)
    m.given(f"{broken} turn out to be damaged")
    final = m.work("the number fit for use", more, "-", broken, kind)
    setting = f"{place} has {start} {kind} at the start of the week."
    givens = [
        f"On Monday {sold} of them go out. On Wednesday {boxes} crates of {size} are delivered."
    ]
    question = (
        f"On Friday {broken} {kind} are found to be damaged and thrown away. How many are left?"
    )
    return m.ask(setting, givens, question, f"{m.num(final)} {kind}")


def recipe(m: Maths) -> Sketch:
    """A recipe scaled to more people, with some of it in the cupboard."""
    dish, stuff = m.rng.choice(
        (
            *(("pancakes", "flour"), ("risotto", "rice"), ("lentil soup", "lentils")),
            *(("crumble", "sugar"), ("couscous salad", "couscous"), ("fudge", "butter")),
        )
    )
    serves, times = m.rng.choice((2, 3, 4, 6)), m.rng.randint(2, 6)
    grams = serves * m.rng.randint(4, 12) * 10
    guests, have = serves * times, m.rng.randint(2, 9) * 20
    m.given(f"the recipe takes {grams} g of {stuff} for {serves} people")
    each = m.work("the amount for one person", grams, "/", serves, "g")
    m.given(f"{guests} people are coming")
    need = m.work(f"the {stuff} needed", each, "*", guests, "g")
    m.verify(each, "*", guests)
    have = min(have, int(need) - 20)
    m.given(f"{have} g are already in the cupboard")
    buy = m.work("the amount to buy", need, "-", have, "g")
    givens = [
        f"The recipe needs {grams} g of {stuff} and serves {serves}.",
        f"There are {have} g of {stuff} in the cupboard.",
    ]
    setting = f"{m.rng.choice(NAMES)} is making {dish} for {guests} people."
    return m.ask(setting, givens, f"How much more {stuff} is needed?", f"{m.num(buy)} g")


def tank(m: Maths) -> Sketch:
    """A tank that fills while it leaks."""
    thing = m.rng.choice(("rain tank", "fish pond", "swimming pool", "water trough", "boiler"))
    pump, leak, minutes = m.rng.randint(14, 40), m.rng.randint(2, 9), m.rng.randint(8, 30)
    start = m.rng.randint(3, 20) * 10
    full = start + (pump - leak) * minutes
    m.given(f"the {thing} holds {full} litres", f"{start} litres are in it already")
    space = m.work("the space left", full, "-", start, "litres")
    m.given(f"{pump} litres run in every minute while {leak} leak away")
    net = m.work("the gain per minute", pump, "-", leak, "litres")
    time = m.work("the time to fill it", space, "/", net, "minutes")
    m.verify(space, "/", net, chance=0.7)
    givens = [
        f"A hose adds {pump} litres a minute, but a crack loses {leak} litres a minute.",
        f"At the moment there are {start} litres in it.",
    ]
    setting = f"A {thing} can hold {full} litres."
    question = f"How many minutes pass before the {thing} is full?"
    return m.ask(setting, givens, question, f"{m.num(time)} minutes")


def fence(m: Maths) -> Sketch:
    """The fence around a plot with a gate, by the metre."""
    plot = m.rng.choice(("vegetable garden", "paddock", "playground", "orchard", "dog run"))
    long, wide, gate = m.rng.randint(20, 70), m.rng.randint(8, 19), m.rng.randint(2, 5)
    price = m.rng.randint(6, 19)
    m.given(f"the {plot} is {long} m long and {wide} m wide")
    half = m.work("one long and one short side", long, "+", wide, "m")
    around = m.work("the whole way round", half, "*", 2, "m")
    m.verify(half, "*", 2)
    m.given(f"the gate takes up {gate} m")
    wire = m.work("the fence to buy", around, "-", gate, "m")
    m.given(f"one metre costs {m.money(price)}")
    cost = m.work("the cost", wire, "*", price, "money")
    givens = [
        f"It is {long} m long and {wide} m wide.",
        f"Fencing costs {m.money(price)} a metre.",
        f"A gate of {gate} m needs no fencing.",
    ]
    setting = f"A rectangular {plot} is to be fenced."
    return m.ask(setting, givens, "What will the fencing cost?", m.money(cost))


def reading(m: Maths) -> Sketch:
    """Pages read at two paces: the days still needed."""
    name = m.rng.choice(NAMES)
    book = m.rng.choice(("a novel", "a biography", "a history of salt", "a book about whales"))
    days, slow, fast, more = (m.rng.randint(a, b) for a, b in ((3, 7), (9, 20), (22, 40), (4, 10)))
    pages = days * slow + fast * more
    m.given(f"{name} reads {slow} pages a day for {days} days")
    done = m.work("the pages read by then", slow, "*", days, "pages")
    m.given(f"the book has {pages} pages")
    left = m.work("the pages left", pages, "-", done, "pages")
    m.verify(pages, "-", done)
    m.given(f"after that the pace is {fast} pages a day")
    rest = m.work("the further days", left, "/", fast, "days")
    total = m.work("the days in all", days, "+", rest, "days")
    givens = [
        f"It has {pages} pages.",
        f"For the first {days} days {name} manages {slow} pages a day,"
        f" and from then on {fast} pages a day.",
    ]
    setting = f"{name} borrows {book} from the library."
    question = "How many days does it take to finish the book?"
    return m.ask(setting, givens, question, f"{m.num(total)} days")


def bus(m: Maths) -> Sketch:
    """Passengers getting on and off."""
    line, start = m.rng.randint(2, 99), m.rng.randint(20, 45)
    off, on = m.rng.randint(4, 15), m.rng.randint(3, 18)
    left, joined = m.rng.randint(2, 9), m.rng.randint(5, 20)
    stops = m.rng.sample(("the museum", "Mill Street", "the hospital", "Castle Square"), k=2)
    m.given(f"{start} people are aboard at first", f"{off} get off at {stops[0]}")
    count = m.work(f"the number after people leave at {stops[0]}", start, "-", off)
    m.given(f"{on} get on there")
    count2 = m.work("the number as the bus moves on", count, "+", on)
    m.verify(count, "+", on)
    m.given(f"at {stops[1]} {left} leave and {joined} join")
    count3 = m.work(f"the number after people leave at {stops[1]}", count2, "-", left)
    final = m.work("the number at the end", count3, "+", joined)
    givens = [
        f"At {stops[0]} {off} passengers get off and {on} get on."
        f" At {stops[1]} {left} get off and {joined} get on."
    ]
    setting = f"Bus {line} leaves the depot road with {start} passengers."
    return m.ask(setting, givens, "How many are on board after that?", m.num(final))


def printers(m: Maths) -> Sketch:
    """Two machines working together for a time, then one alone."""
    kind, verb = m.rng.choice((("posters", "prints"), ("labels", "cuts"), ("boxes", "folds")))
    a, b = m.rng.sample(range(12, 60), k=2)
    both, alone = m.rng.randint(5, 20), m.rng.randint(4, 15)
    m.given(f"machine A {verb} {a} {kind} a minute", f"machine B {verb} {b}")
    rate = m.work("the joint rate", a, "+", b, f"{kind} a minute")
    m.given(f"they run side by side for {both} minutes")
    first = m.work("the output of the two together", rate, "*", both, kind)
    m.verify(rate, "*", both)
    m.given(f"machine B goes on alone for {alone} minutes")
    second = m.work("the output of B alone", b, "*", alone, kind)
    total = m.work("the grand total", first, "+", second, kind)
    givens = [
        f"Machine A {verb} {a} {kind} a minute.",
        f"Machine B {verb} {b} {kind} a minute.",
    ]
    question = (
        f"Both run for {both} minutes. Then A stops, and B goes on for another {alone} minutes."
        f" How many {kind} are made altogether?"
    )
    return m.ask("", givens, question, f"{m.num(total)} {kind}")


def scores(m: Maths) -> Sketch:
    """The last score needed for a given average."""
    name = m.rng.choice(NAMES)
    game = m.rng.choice(("archery", "quiz", "darts", "gymnastics", "bowling"))
    three = [m.rng.randint(50, 84) for _ in range(3)]
    goal = sum(three) // 3 + m.rng.randint(0, 4)
    m.given(f"the average over 4 rounds should be {goal}")
    need = m.work("the total required", 4, "*", goal, "points")
    m.verify(4, "*", goal)
    m.given(f"the scores so far are {three[0]}, {three[1]} and {three[2]}")
    two = m.work("the first two rounds", three[0], "+", three[1], "points")
    have = m.work("the points so far", two, "+", three[2], "points")
    last = m.work("the points still needed", need, "-", have, "points")
    listed = f"{three[0]}, {three[1]} and {three[2]} points"
    givens = [
        f"{name} scored {listed} in the first three rounds.",
        f"To qualify, the average over all 4 rounds must be {goal}.",
    ]
    question = "How many points does the last round have to bring?"
    setting = f"{name} takes part in a {game} contest with 4 rounds."
    return m.ask(setting, givens, question, f"{m.num(last)} points")


def paint(m: Maths) -> Sketch:
    """Wall area less windows, two coats, tins needed."""
    room = m.rng.choice(("kitchen", "studio", "hallway", "classroom", "bedroom", "shed"))
    cover, tins = m.rng.choice((4, 5, 6, 8)), m.rng.randint(3, 9)
    high, window = m.rng.choice((2, 3)), m.rng.randint(2, 8)
    while (cover * tins + window) % high:
        window += 1
    wall = (cover * tins + window) // high
    m.given(f"the walls are {wall} m long in all and {high} m high")
    area = m.work("the wall area", wall, "*", high, "square metres")
    m.given(f"windows and doors take away {window} square metres")
    bare = m.work("the area to paint", area, "-", window, "square metres")
    m.verify(area, "-", window)
    twice = m.work("the area with two coats", bare, "*", 2, "square metres")
    m.given(f"one tin covers {cover} square metres")
    count = m.work("the number of tins", twice, "/", cover, "tins")
    givens = [
        f"Its walls have a total length of {wall} m and a height of {high} m.",
        f"The windows and doors take up {window} square metres.",
        f"One tin covers {cover} square metres.",
    ]
    setting = f"The walls of a {room} are to get two coats of paint."
    return m.ask(setting, givens, "How many tins are needed?", f"{m.num(count)} tins")


COUNTS: tuple[Callable[[Maths], Sketch], ...] = (
    *(journey, fractions, ages, sharing, stock, recipe, tank, fence, reading, bus, printers),
    *(scores, paint),
)

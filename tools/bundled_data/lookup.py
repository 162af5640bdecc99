"""Questions answered by looking up and chaining facts that the prompt states."""

from __future__ import annotations

from collections.abc import Callable

from .written_trace import NAMES, Pad, Sketch, capital

TOWNS = (
    *("Ashford", "Brackwell", "Corrin", "Dunmore", "Elvaston", "Farleigh", "Glenholm", "Harwick"),
    *("Inverlea", "Kestrel Bay", "Lowmoor", "Marston", "Netherby", "Oakhanger", "Pellworth"),
)
SEAT_LEADS = (
    "that puts {} in seat {}.",
    "so {} must be in seat {}.",
    "this means {} takes seat {}.",
    "hence {} is in seat {}.",
)
WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _mixed(p: Pad, facts: list[str]) -> str:
    return " ".join(f"{capital(fact)}." for fact in p.rng.sample(facts, k=len(facts)))


def seating(p: Pad) -> Sketch:
    """Five seats in a row, placed by relative clues: who has a given seat."""
    people = p.rng.sample(NAMES, k=5)
    start = p.rng.randint(0, 4)
    placed, todo = [start], [seat for seat in range(5) if seat != start]
    clues = [f"{people[start]} has seat {start + 1}"]
    p.given(clues[0])
    while todo:
        seat = p.rng.choice([s for s in todo if s - 1 in placed or s + 1 in placed])
        side, other = ("right", seat - 1) if seat - 1 in placed else ("left", seat + 1)
        how = p.rng.choice(("directly to the {} of", "in the next seat to the {} of"))
        clues.append(f"{people[seat]} sits {how.format(side)} {people[other]}")
        todo.remove(seat)
        placed.append(seat)
        if len(todo) > 0:
            p.given(clues[-1])
            p.found(p.rng.choice(SEAT_LEADS).format(people[seat], seat + 1))
    target = placed[p.rng.choice((-2, -3))]
    setting = f"Five friends sit in seats 1 to 5 of a {p.rng.choice(('cinema', 'train', 'boat'))}"
    prompt = f"{setting}, numbered from left to right. {_mixed(p, clues)}"
    return p.finish(f"{prompt} Who sits in seat {target + 1}?", people[target])


def owners(p: Pad) -> Sketch:
    """Who owns what, across three attributes."""
    people = p.rng.sample(NAMES, k=4)
    pets = p.rng.sample(("parrot", "tortoise", "spaniel", "goat", "ferret", "rabbit"), k=4)
    doors = p.rng.sample(("green", "red", "white", "yellow", "blue", "black"), k=4)
    drinks = p.rng.sample(("tea", "cocoa", "lemonade", "coffee", "cider", "milk"), k=4)
    facts = [f"{name} keeps a {pet}" for name, pet in zip(people, pets, strict=True)]
    lives = [
        f"the owner of the {a} lives behind the {b} door" for a, b in zip(pets, doors, strict=True)
    ]
    sips = [f"{d} is drunk behind the {b} door" for d, b in zip(drinks, doors, strict=True)]
    i, j = p.rng.sample(range(4), k=2)
    p.given(facts[i])
    p.found(f"so for {people[i]} I need to follow the {pets[i]}.")
    p.given(lives[i])
    p.found(f"that means {people[i]} lives behind the {doors[i]} door.")
    p.given(sips[i])
    p.found(f"the {doors[i]} door and {drinks[i]} go together, so {people[i]} drinks {drinks[i]}.")
    p.checked(
        f"The {doors[j]} door is a different one: it belongs to {people[j]}, so no mix-up there.",
        f"{people[j]} has the {pets[j]}, not the {pets[i]}, so that is consistent.",
    )
    listing = f"{_mixed(p, facts)} {_mixed(p, lives)} {_mixed(p, sips)}"
    return p.finish(f"{listing} What does {people[i]} drink?", drinks[i])


def programme(p: Pad) -> Sketch:
    """Talks with rooms and times: what follows a talk in its room."""
    subjects = ("bridges", "moths", "opera", "vaccines", "glaciers", "chess", "pottery", "storms")
    talks, people = p.rng.sample(subjects, k=6), p.rng.sample(NAMES, k=6)
    rooms = p.rng.sample(("Cedar Room", "Blue Room", "Main Hall", "Attic", "Library"), k=2)
    times = sorted(p.rng.sample(range(540, 900, 30), k=3))
    slots = [(rooms[i // 3], times[i % 3]) for i in range(6)]
    facts = [
        f"{people[i]} speaks about {talks[i]} in the {slots[i][0]} at {_clock(slots[i][1])}"
        for i in range(6)
    ]
    side, nth = p.rng.randint(0, 1) * 3, p.rng.randint(0, 1)
    here, after = side + nth, side + nth + 1
    p.given(facts[here])
    p.found(
        f"so I am looking for the next talk in the {slots[here][0]} after {_clock(times[nth])}."
    )
    room = [facts[i] for i in range(side, side + 3) if i != here]
    for fact in room:
        p.given(fact)
    p.found(f"in that room the first start after {_clock(times[nth])} is {_clock(times[nth + 1])}.")
    p.found(
        f"the {_clock(times[nth + 1])} talk in the {slots[here][0]} is given by {people[after]}."
    )
    p.checked(f"The talk about {talks[3 - side]} is in the {rooms[1 - side // 3]}, so it is out.")
    question = f"Who gives the next talk in the same room after the one about {talks[here]}?"
    return p.finish(f"{_mixed(p, facts)} {question}", people[after])


def catalogue(p: Pad) -> Sketch:
    """Codes and prices: the difference or sum of two entries."""
    goods = p.rng.sample(
        ("kettle", "lamp", "rug", "clock", "stool", "mirror", "radio", "vase", "toaster"), k=6
    )
    codes = [f"{p.rng.choice('ABCDEFGH')}{n}" for n in p.rng.sample(range(100, 999), k=6)]
    prices = p.rng.sample(range(12, 120), k=6)
    facts = [f"{c}: {g}, {v} euros" for c, g, v in zip(codes, goods, prices, strict=True)]
    i, j = p.rng.sample(range(6), k=2)
    p.given(f"the question is about codes {codes[i]} and {codes[j]}")
    p.found(f"code {codes[i]} is the {goods[i]}.")
    p.found(f"in the list the {goods[i]} is priced at {prices[i]} euros.")
    p.found(f"code {codes[j]} stands for the {goods[j]}, at {prices[j]} euros.")
    if p.rng.random() < 0.5:
        result = prices[i] + prices[j]
        p.computed(f"together that is {prices[i]} + {prices[j]} = {result}.")
        p.checked(f"And {result} - {prices[j]} = {prices[i]}, so the sum holds.")
        question = f"What do {codes[i]} and {codes[j]} cost together?"
    else:
        high, low = max(prices[i], prices[j]), min(prices[i], prices[j])
        result = high - low
        p.computed(f"the dearer one is {high} euros, so the gap is {high} - {low} = {result}.")
        p.checked(f"And {low} + {result} = {high}, as it should.")
        question = f"By how many euros do the prices of {codes[i]} and {codes[j]} differ?"
    prompt = "A catalogue lists these items. " + "; ".join(facts) + f". {question}"
    return p.finish(prompt, f"{result} euros")


def family(p: Pad) -> Sketch:
    """A family tree over three generations: an aunt, uncle or cousin."""
    old, one, two, wife, child, other, friend = p.rng.sample(NAMES, k=7)
    facts = [
        f"{old} has exactly two children, {one} and {two}",
        f"{one} is married to {wife}",
        f"the only child of {wife} and {one} is {child}",
        f"{two} has one daughter, called {other}",
        f"{friend} is an old friend of {wife}",
    ]
    p.given(facts[2])
    p.found(f"so one parent of {child} is {one}, and I need the siblings of {one}.")
    p.given(facts[0])
    p.found(f"the only sibling of {one} is therefore {two}.")
    if p.rng.random() < 0.5:
        p.given(facts[3])
        p.found(f"since {two} is a sibling of {one}, {other} is the cousin of {child}.")
        question, answer = f"Who is the cousin of {child} on the side of {one}?", other
    else:
        p.found(f"{old} is the parent of {one}, hence a grandparent of {child}.")
        question = f"Which grandparent do {child} and {other} share, as far as is stated?"
        p.given(facts[3])
        p.found(f"{two} is also a child of {old}, which makes {old} a grandparent of {other}.")
        answer = old
    p.checked(
        f"{friend} is only a friend, so that fact plays no part.",
        f"{wife} came into the family by marriage, so nothing changes on that side.",
    )
    return p.finish(f"{_mixed(p, facts)} {question}", answer)


def timetable(p: Pad) -> Sketch:
    """Stops and times on one line: a connection and its waiting time."""
    stops = p.rng.sample(TOWNS, k=5)
    times, now = [], p.rng.randint(420, 960)
    for _ in stops:
        times.append(now)
        now += p.rng.randint(9, 48)
    i = p.rng.randint(1, 3)
    wait = p.rng.randint(4, 50)
    boat = times[i] + wait
    calls = [f"{stop} {_clock(t)}" for stop, t in zip(stops, times, strict=True)]
    kind = p.rng.choice(("ferry", "shuttle", "cable car", "post bus"))
    p.given(f"the {kind} leaves from {stops[i]}")
    p.found(f"so the train has to be left at {stops[i]}, which is stop number {i + 1}.")
    p.found(f"according to the list the train reaches {stops[i]} at {_clock(times[i])}.")
    p.given(f"the {kind} departs at {_clock(boat)}")
    start, end = times[i] % 60, boat % 60
    p.computed(
        f"the hour is the same, so it is just {end} - {start} = {wait} minutes."
        if end > start
        else f"from {_clock(times[i])} to the full hour it is 60 - {start} = {60 - start}"
        f" minutes, and {60 - start} + {end} = {wait}."
    )
    p.checked(
        f"The train only gets to {stops[i + 1]} at {_clock(times[i + 1])}, which is too far on."
    )
    prompt = f"The train stops at {', '.join(calls)}. At {stops[i]} a {kind} leaves at"
    question = f"How many minutes does a passenger from {stops[0]} wait there for the {kind}?"
    return p.finish(f"{prompt} {_clock(boat)}. {question}", f"{wait} minutes")


def registry(p: Pad) -> Sketch:
    """A chain from person to team to floor to extension."""
    people = p.rng.sample(NAMES, k=4)
    teams = p.rng.sample(("Archive", "Press", "Payroll", "Design", "Legal", "Travel"), k=4)
    floors = p.rng.sample(("first", "second", "third", "fourth", "fifth", "sixth"), k=4)
    lines = p.rng.sample(range(2000, 9999), k=4)
    works = [f"{a} works for {b}" for a, b in zip(people, teams, strict=True)]
    sits = [f"{b} is on the {c} floor" for b, c in zip(teams, floors, strict=True)]
    rings = [f"the {c} floor answers extension {d}" for c, d in zip(floors, lines, strict=True)]
    i, j = p.rng.sample(range(4), k=2)
    p.given(works[i])
    p.found(f"next I have to find out where {teams[i]} is.")
    p.given(sits[i])
    p.found(f"so {people[i]} can be found on the {floors[i]} floor.")
    p.given(rings[i])
    p.found(f"the number for {people[i]} is then {lines[i]}.")
    p.checked(
        f"Extension {lines[j]} would reach {teams[j]} instead, so that one is wrong.",
        f"The {floors[j]} floor belongs to {teams[j]}, so I have not confused the two.",
    )
    prompt = f"{_mixed(p, works)} {_mixed(p, sits)} {_mixed(p, rings)}"
    return p.finish(f"{prompt} Which extension reaches {people[i]}?", str(lines[i]))


def roster(p: Pad) -> Sketch:
    """A duty roster with two swaps: who is on duty on a day."""
    people = p.rng.sample(NAMES, k=5)
    duty = dict(zip(WEEK, people, strict=True))
    where = p.rng.choice(("reception", "the night desk", "the kitchen", "the lifeboat", "the till"))
    first = [f"{name} on {day}" for day, name in duty.items()]
    a, b, c = p.rng.sample(WEEK, k=3)
    p.given(f"{duty[a]} starts out on {a} and {duty[b]} on {b}")
    p.given(f"then {a} and {b} are exchanged")
    duty[a], duty[b] = duty[b], duty[a]
    p.found(f"after that {duty[a]} has {a} and {duty[b]} has {b}.")
    p.given(f"later {b} and {c} are exchanged as well")
    p.found(f"before this second change {c} still belongs to {duty[c]}.")
    duty[b], duty[c] = duty[c], duty[b]
    p.found(f"so now {duty[b]} has {b} and {duty[c]} has {c}.")
    rest = next(day for day in WEEK if day not in (a, b, c))
    p.checked(f"{rest} is untouched and stays with {duty[rest]}.")
    day = p.rng.choice((b, c))
    swaps = f"First the people on {a} and {b} exchange their days. After that the people on"
    prompt = f"The plan for {where} is {', '.join(first)}. {swaps} {b} and {c} exchange theirs."
    return p.finish(f"{prompt} Who is on duty on {day} in the end?", duty[day])


def route(p: Pad) -> Sketch:
    """Marked paths between towns: where a walk ends and how long it is."""
    towns = p.rng.sample(TOWNS, k=7)
    colours = p.rng.sample(("red", "blue", "green", "white", "orange"), k=3)
    legs = [p.rng.randint(3, 19) for _ in range(3)]
    facts = [
        f"the {colours[i]} path runs from {towns[i]} to {towns[i + 1]} and is {legs[i]} km long"
        for i in range(3)
    ]
    facts += [
        f"the {colours[1]} path does not touch {towns[5]}",
        f"a road of {p.rng.randint(20, 40)} km joins {towns[4]} and {towns[6]}",
    ]
    for i in range(3):
        p.given(facts[i])
        if i != 1:
            p.found(f"so taking the {colours[i]} path I get from {towns[i]} to {towns[i + 1]}.")
    both = legs[0] + legs[1]
    total = both + legs[2]
    p.computed(f"adding up, {legs[0]} + {legs[1]} = {both} and {both} + {legs[2]} = {total}.")
    p.checked(f"The road to {towns[6]} is not part of the walk.")
    walk = f"{colours[0]}, then the {colours[1]} and finally the {colours[2]} path"
    question = f"A hiker in {towns[0]} takes the {walk}. How many km is that?"
    return p.finish(f"{_mixed(p, facts)} {question}", f"{total} km")


LOOKUPS: tuple[Callable[[Pad], Sketch], ...] = (
    *(seating, owners, programme, catalogue, family, timetable, registry, roster, route),
)

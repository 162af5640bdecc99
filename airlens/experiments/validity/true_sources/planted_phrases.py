"""Phrases from which :mod:`.planted_traces` makes its traces.

In a phrase ``{e}`` is a name of two words, ``{v}`` a number, and ``{o}`` the name of another thing
that has the same number.
"""

from __future__ import annotations

from typing import NamedTuple


class Setting(NamedTuple):
    """What a trace is about.

    Attributes:
        first: first words of names.
        second: second words of names.
        opening: first sentence of the prompt.
        given: a sentence of the prompt that gives a named thing its number.
        states: ways to give a named thing its number in a step.
        uses: ways to use the number of a named thing, five.
        mentions: ways to name a thing beside a number that is not its own.
        passes: ways to give a thing the number of another one.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    opening: str
    given: str
    states: tuple[str, ...]
    uses: tuple[str, ...]
    mentions: tuple[str, ...]
    passes: tuple[str, ...]


SETTINGS = (
    Setting(
        ("red", "blue", "green", "grey", "white"),
        ("crate", "barrel", "trunk", "sack", "drum"),
        "A clerk weighs the goods in a shed and loads a lorry.",
        "It is known that the {e} holds {v} kg.",
        (
            "Let the {e} hold {v} kg.",
            "On the scale the {e} comes to {v} kg.",
            "For the {e} the note says {v} kg.",
        ),
        (
            "The {e}'s {v} kg go on the lorry now.",
            "Next the lorry takes {v} kg, and that is the {e}.",
            "Up goes the {e} with all of its {v} kg.",
            "{v} kg are ticked off, as the {e} is on board.",
            "Two men lift the {e}, so {v} kg more.",
        ),
        (
            "The {e} stands in bay {v}.",
            "Somebody tied ticket {v} to the {e}.",
            "The {e} came in through gate {v}.",
        ),
        (
            "All of the {o} is put into the {e}, {v} kg.",
            "What was in the {o} fills the {e}: {v} kg.",
            "Take the load of the {o} for the {e}, {v} kg.",
        ),
    ),
    Setting(
        ("Ann", "Tom", "Mira", "Paul", "Rosa"),
        ("Carter", "Miller", "Novak", "Brandt", "Okoro"),
        "A club keeps the score of its quiz night.",
        "Before the break {e} had {v} points.",
        (
            "{e} gets {v} points in this round.",
            "The judges give {v} points to {e}.",
            "This time it is {v} points for {e}.",
        ),
        (
            "On the board, {e} is entered with {v} points.",
            "The {v} points of {e} are read out aloud.",
            "So the sheet says {e}, {v} points.",
            "Applause for {e}, who is called up with {v} points.",
            "A prize for {v} points goes to {e}.",
        ),
        (
            "{e} sits at table {v}.",
            "Question {v} was written by {e}.",
            "{e} has drawn card {v}.",
        ),
        (
            "Just as many as {o} go to {e}, {v} points.",
            "The judges treat {o} and {e} alike: {v} points.",
            "Like {o}, now {e} has {v} points.",
        ),
    ),
    Setting(
        ("north", "south", "upper", "lower", "sunny"),
        ("bed", "row", "field", "terrace", "plot"),
        "A gardener plans what to sow in spring.",
        "The {e} was measured last year and takes {v} seeds.",
        (
            "There is room for {v} seeds in the {e}.",
            "Say the {e} takes {v} seeds.",
            "By its size the {e} needs {v} seeds.",
        ),
        (
            "From the bag {v} seeds are counted out for the {e}.",
            "The {e} is sown today with its {v} seeds.",
            "In the plan we write {v} seeds beside the {e}.",
            "Rake the {e} once its {v} seeds are in the ground.",
            "That leaves the bag short of {v} seeds for the {e}.",
        ),
        (
            "The {e} lies on page {v} of the map.",
            "Hose {v} reaches as far as the {e}.",
            "Peg {v} marks a corner of the {e}.",
        ),
        (
            "As large as the {o} is the {e}, {v} seeds.",
            "What the {o} takes, the {e} takes too: {v} seeds.",
            "Like the {o}, the {e} needs {v} seeds.",
        ),
    ),
    Setting(
        ("oak", "iron", "corner", "window", "narrow"),
        ("shelf", "cabinet", "rack", "case", "cupboard"),
        "Two librarians move the books to another room.",
        "An old list has {v} books in the {e}.",
        (
            "They count {v} books in the {e}.",
            "The {e} turns out to have {v} books.",
            "In the {e} there must be {v} books.",
        ),
        (
            "The {v} books from the {e} go into the first boxes.",
            "Now the {e} is emptied, {v} books in all.",
            "Boxes are needed for {v} books, those of the {e}.",
            "Carry down what the {e} had, that is {v} books.",
            "With {v} books gone, the {e} can be taken apart.",
        ),
        (
            "Key {v} opens the {e}.",
            "The {e} bears the number {v} on its side.",
            "A leaflet of the year {v} lay behind the {e}.",
        ),
        (
            "All from the {o} are put in the {e}, {v} books.",
            "What stood in the {o} fits the {e}: {v} books.",
            "Out of the {o} and into the {e} go {v} books.",
        ),
    ),
    Setting(
        ("round", "tall", "brown", "clear", "small"),
        ("flask", "jar", "bottle", "tube", "beaker"),
        "A student mixes a solution from several vessels.",
        "According to its label the {e} contains {v} ml.",
        (
            "Pour {v} ml into the {e}.",
            "We fill the {e} with {v} ml.",
            "The {e} shall contain {v} ml.",
        ),
        (
            "The {e} with its {v} ml is added to the bowl.",
            "Into the bowl go {v} ml, all that the {e} has.",
            "Stir, then empty the {e}, which is {v} ml.",
            "At last the student tips in the {e}, so {v} ml more.",
            "The bowl rises by {v} ml once the {e} is poured out.",
        ),
        (
            "The {e} was bought in lot {v}.",
            "Hook {v} is free again, beside the {e}.",
            "The {e} is described in chapter {v}.",
        ),
        (
            "All of the {o} is poured into the {e}, {v} ml.",
            "What the {o} had fills the {e}: {v} ml.",
            "From the {o} to the {e} run {v} ml.",
        ),
    ),
    Setting(
        ("early", "late", "coast", "harbour", "valley"),
        ("bus", "train", "ferry", "tram", "coach"),
        "An inspector notes how many people travel on a Sunday.",
        "As always, the {e} carries {v} people.",
        (
            "The {e} carries {v} people.",
            "Today {v} people take the {e}.",
            "For the {e} the driver reports {v} people.",
        ),
        (
            "Add the {v} people of the {e} to the form.",
            "The form gets a line for the {e} with {v} people.",
            "Of all guests {v} came by the {e}, says the form.",
            "Under the {e} the inspector puts down {v} people.",
            "A total is begun with the {e} and its {v} people.",
        ),
        (
            "The {e} leaves from stop {v}.",
            "Line {v} meets the {e} on the way.",
            "The {e} has the plate {v}.",
        ),
        (
            "All from the {o} change to the {e}, {v} people.",
            "Who came by the {o} goes on by the {e}: {v} people.",
            "From the {o} to the {e} walk {v} people.",
        ),
    ),
)

CLOSINGS = (
    "That is the whole list.",
    "Nothing is left to be done.",
    "With this the work is finished.",
    "The rest can wait until tomorrow.",
)

# Steps that name nothing of the setting: "{a}", "{b}", "{c}" are a sum or a difference.
SUMS = (
    "In the margin stands {a} + {b} = {c}, which belongs to another list.",
    "A quick check of the pen: {a} + {b} = {c}.",
    "Elsewhere {c} - {a} = {b} was worked out.",
    "By the way, {c} - {b} = {a}.",
    "Last week it was {a} + {b} = {c}, but that is over.",
    "To keep in practice: {a} and {b} make {c}.",
)
FILLERS = (
    "So far everything is in order.",
    "Let us go on with care.",
    "This needs no further thought.",
    "The clock strikes, and a cup of tea is brought.",
    "Nobody objects.",
    "One more look at what is written above.",
    "The pencil has to be sharpened first.",
    "Outside it has begun to rain a little.",
    "That was the easy part.",
    "Somebody asks about the weather, and nobody answers.",
    "We turn the sheet over.",
    "It is not hard, only long.",
)

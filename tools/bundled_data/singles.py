"""Sentences that stand alone: questions, requests, talk, advice, opinions, notices, memories."""

from __future__ import annotations

from .topic import phrases

SINGLES: tuple[str, ...] = phrases(
    """Could you pass me the screwdriver with the yellow handle?
    Whose turn is it to take out the recycling?
    Please leave your wet umbrellas in the stand by the entrance.
    If the parcel does not come today, I shall ring the depot.
    Never lend a fountain pen to somebody who presses hard.
    She speaks Finnish at home and Swedish at work.
    It takes less time to walk there than to park.
    Hold the ladder steady while I reach for the gutter.
    What on earth is that humming noise in the wall?
    The more you knead it, the smoother the dough becomes.
    He would rather lose an argument than raise his voice.
    There is a spare key under the third flowerpot.
    Nothing tastes quite as good as bread you baked yourself.
    Had we left ten minutes sooner, we would have missed the rain.
    How many stamps does a letter to Brazil need?
    Ask the pharmacist whether these two tablets may be taken together.
    I have never understood the rules of cricket.
    The soup is free, but you pay for the bowl.
    Somebody has been sleeping in the boat shed again.
    Turn left at the blue chapel and follow the smell of coffee.
    Even the best maps leave out the nettles.
    Would you mind if I opened a window?
    Our street has seven bakers and not one decent loaf.
    Keep the receipt in case the zip breaks.
    A good pair of boots is worth a month of wages.
    My neighbour collects keys that fit no lock.
    Why do all the best ideas arrive in the shower?
    Swimming after a heavy lunch is not as dangerous as people claim.
    The committee meets whenever the chairman remembers.
    Nobody told us that the museum was shut on Mondays.
    You can borrow my bicycle as long as you pump up the tyres.
    The cheapest seats have the finest view of the ceiling.
    Whoever finishes first may choose the film.
    Is there a faster way to peel so much garlic?
    They named the boat after a dog they once had.
    This coat has been to more funerals than I have.
    Count the spoons before you let the magician leave.
    Passengers are asked not to feed the monkeys on platform two.
    The twins agree on nothing except the size of the cake.
    It was neither warm enough to swim nor cold enough to skate.
    Let the glue dry overnight before you move the clamp.
    I still dream about the peaches we ate in that orchard.
    Does this bus stop anywhere near the botanical gardens?
    Some people iron their socks, and some people live a little.
    The waiter recommended the fish but would not say why.
    Half of the audience came only for the biscuits.
    Tell your brother that his trousers are ready to collect.
    Anyone can paint a cloud, but few can paint the wind.
    The shop assistant swore that the shoes would stretch.
    Where did you learn to whistle like that?
    In our house the argument about the thermostat never ends.
    Wear something warm, because the cellar is colder than you think.
    The lecture lasted an hour and felt like three.
    Neither of the two witnesses could describe the hat.
    After the third flood they decided to build on stilts.
    Rain before seven is said to clear by eleven.
    I would know that laugh in a crowded stadium.
    The price includes breakfast, towels and a talkative landlady.
    Can anyone here read music well enough to turn the pages?
    Put the heavy books on the bottom shelf, or the case will topple.
    His handwriting looks like the track of a drunken spider.
    We drove all night and saw nothing but headlights.
    Every village on this coast claims to have invented the pasty.
    The baby laughed at the hoover and cried at the cake.
    Do not touch the wire until the red lamp goes out.
    You will find the plates in the cupboard above the sink.
    My first job was to sort screws by length.
    There were more chairs than people at the poetry evening.
    Either the clock is fast or the whole town is late.
    What would you take with you to a desert island?
    The bridge hums a low note when lorries cross it.
    She answered the question with another, harder question.
    Lemon juice will take the rust off those scissors.
    The tailor measured him twice and sighed both times.
    As soon as the fever broke, he asked for pancakes.
    Mind the step, since it is higher than it looks.
    Few things are sadder than a fairground in November.
    Our landlord believes that mould is a matter of attitude.
    When was the last time you climbed a tree?
    The instructions came in nine languages, none of them ours.
    I can lend you a tent, but two of the pegs are missing.
    Somewhere in this drawer there is a working pen.
    They rowed for an hour before noticing the anchor.
    Good carpenters waste little wood and fewer words.
    The cousin you met at the lake is now a judge.
    Once you have tasted fresh figs, the dried ones seem dull.
    Why is the smallest suitcase always the heaviest?
    Take the stairs, for the lift has a mind of its own.
    Her garden is mostly gravel and good intentions.
    A library card was the first thing that was truly mine.
    The dentist hums opera while drilling.
    To reach the lighthouse you must wait for low water.
    Nobody in the family admits to owning the accordion.
    Could we move the meeting to a day without cake?
    On clear evenings you can see the lights of another country.
    The recipe calls for patience and a very large pot.
    He apologised to the lamp post before seeing what it was.
    Without her glasses she waved cheerfully at a scarecrow.
    The train was so quiet that I heard someone peel an egg.
    Guests may use the piano, provided they can play it.
    The puddle outside our door has its own ducks.
    Is it rude to eat asparagus with your fingers?
    Every spring the same pair of storks returns to our chimney.
    What he lacked in talent he made up for in volume.
    The cat ignores the mice and hunts the vacuum cleaner.
    Save some of the red paint for the back of the door.
    I learned more from the cleaner than from the professor.
    The path is steep, but there is a bench at every bend.
    Unless the judges disagree, the brown hen has won.
    They argued about the route until the petrol ran out.
    Bring a towel, a torch and something to sit on.
    How long should one boil an ostrich egg?
    The best time to prune a vine is when it sleeps.
    The old cinema now sells mattresses.
    Anyone caught smoking near the hay will walk home.
    From the top deck you can look straight into the palace garden.
    Our telephone number is one digit away from the pizzeria's.
    Please speak slowly, because the line is full of crackles.
    It is hard to be solemn in a paper hat.
    The violin case held two shirts and a salami.
    Since the roundabout was built, nobody knows where the centre is.
    Give the paint another hour, or the bench will mark your coat.
    Which of these three roads did the postman recommend?
    My uncle proposed in a car wash.
    The moon rose behind the gasworks, huge and orange.
    Try to land on both feet and look as though you meant it.
    You may keep the pears if you return the basket.
    A whole shelf of the fridge belongs to her experiments.
    The elder sister sings, and the younger one turns up the radio.
    No one can fold a map the way it was before.
    Let us agree never to mention the canoe.
    The bakery opens at five, when only foxes are about.
    I have packed the tickets so safely that I cannot find them.
    Do the neighbours know that their gate is on our roof?
    Beyond the last houses the road turns to sand.
    Whenever it thunders, the dog hides in the laundry.
    The interview went well until they asked about ladders.
    Our grandmother could tell the weather by the sound of the trains.
    The second act is better if you missed the first.
    Stir clockwise, taste often and never answer the phone.
    There was room for one more on the sledge, but only just.
    The hotel had five stars, four of them painted on by hand.
    I wonder who first thought of eating artichokes.
    Cheap paint costs more in the end.
    The sparrow at our window prefers rye bread.
    We buried the hamster with full military honours.
    Tonight's speaker has been delayed by a herd of cows.
    The signpost gives three different distances to the same town.
    Are you certain that this is decaffeinated?
    He keeps his savings in a hollow book about finance.
    The tide waits for no one, least of all for picnickers.
    An hour in the darkroom passes like a minute.
    The new glasses made every leaf look freshly cut.
    Should the alarm ring, leave by the kitchen stairs.
    The carpet hides a stain the shape of Portugal.
    Her voice carried across two fields and a motorway.
    They sell eggs, firewood and advice at the farm gate.
    The quickest cure for hiccups is a good fright.
    All the clocks in the antique shop strike at different times.
    What became of the parrot when the captain retired?
    You should have seen the size of the moth in the bathroom.
    The map was drawn by someone who had never left town.
    I am not lost, only early for somewhere else.
    Soft water makes better tea, or so the locals claim.
    The jury asked for more coffee and a dictionary.
    That tower leans a little further every century.
    Shall we wait for the others or start on the olives?
    His speech was short, kind and entirely inaudible.
    It rained so hard that the frogs looked worried.
    The first frost sweetens the kale and kills the basil.
    My desk faces a brick wall, and I have grown fond of it.
    Everyone waved at the train, although nobody knew who was on board.
    The cellist lives above a shop that sells drums.
    Two spoonfuls are plenty, unless you like it really hot.
    With a little luck the bus will be late as well.
    The queue for the exhibition is itself worth seeing.
    One of the swans has taken a dislike to the mayor.
    If you listen closely, you can hear the ice sing.
    The rule about hats applies to ghosts as well.
    Leave a note for the milkman before you go away.
    Our team lost, but the pies were excellent.
    The hardest part of juggling is picking things up.
    Where the two rivers meet, the water runs in stripes."""
)

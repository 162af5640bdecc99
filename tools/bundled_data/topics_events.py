"""Phrase banks of whole past-tense clauses: weather, machines, animals, land, mishaps."""

from __future__ import annotations

from .topic import Topic, topic

EVENTS: tuple[Topic, ...] = (
    topic(
        "weather",
        "",
        """hail the size of marbles dented every parked car
        the fog was so thick that the ferries stayed in port
        a warm wind melted the snow on the lower slopes
        lightning split the old cedar beside the chapel
        frost drew ferns on the kitchen window
        the gale tore the tarpaulin from the timber yard
        dust from the desert turned the sunset crimson
        a double rainbow stretched across the valley
        the thermometer dropped to minus thirty
        puddles froze solid along the towpath
        the drizzle soaked through two coats and a hat
        clouds gathered over the eastern ridge
        a waterspout wandered across the bay
        the drought cracked the bed of the reservoir
        snowdrifts buried the fences up to the top rail
        the heat softened the tar on the roof
        a single gust carried off the vicar's hat
        mist clung to the reeds until the middle of the day
        the barometer fell faster than anyone could remember
        sleet rattled against the tin shutters
        the first monsoon rain drummed on the palm leaves
        the wind changed direction three times""",
        """in the last days of February|on the morning of the regatta|the day before the fair
        just as the forecast had promised|to the annoyance of the cyclists
        during the long school break
        on the far side of the lake|before the harvest was in|towards evening""",
        """as I noted in my diary|but hardly anyone minded
        while we sat by the fire|which delighted the photographers""",
    ),
    topic(
        "machines",
        "",
        """the old generator started at the first pull
        the conveyor belt jammed with a loud bang
        a robot arm painted the same door eleven times
        the steam engine hissed like an angry goose
        the printer spat out page after page of question marks
        the drone landed neatly on a hay bale
        the combine harvester threw a belt
        one of the turbines shook itself loose from its mounting
        the coffee machine poured soup into every cup
        the lift stopped between the fourth and fifth floors
        the loom clattered like rain on a tin roof
        the telescope swung slowly towards Saturn
        the pump ran dry and began to smoke
        a spare gearbox arrived in the wrong crate
        the brakes squealed all the way down the hill
        the satellite sent back one blurred picture
        the crane lifted the bell as if it weighed nothing
        the elevator music played backwards
        the gauges all dropped to zero at once
        the clockwork mouse ran under the wardrobe
        the battery lasted far longer than the label claimed
        the sewing machine stitched a perfect figure of eight""",
        """during the very first test|in front of the investors|at the end of the night shift
        after a long overhaul|on the coldest day of the year|for no obvious reason
        while the mechanic was at lunch|on the second Thursday of the month
        shortly before the handover""",
        """and the technicians shrugged|but the engineer only nodded
        which nobody could explain|to the confusion of the inspectors""",
    ),
    topic(
        "animals",
        "",
        """a heron stood on one leg beside the weir
        the kitten fell asleep in a flour bin
        two foxes played on the roof of the greenhouse
        an otter cracked a mussel on its chest
        the elephants walked in single file to the water hole
        our terrier buried a slipper under the lilac
        a swarm of bees settled on the letter box
        the parrot repeated the number of the taxi firm
        wild boar dug up half of the golf course
        the tortoise crossed the yard in eleven minutes
        a seal pup stared at the swimmers
        the donkey refused to step onto the bridge
        swifts nested under the eaves of the bank
        a hedgehog drank from the cat's bowl
        the stallion jumped the gate without a rider
        dozens of frogs crossed the wet road
        the penguins lined up for their sardines
        a moth as broad as a hand circled the lamp
        the sheepdog herded a flock of tourists
        an owl called from the ruined mill
        the hamster escaped through a hole in the skirting
        a pelican swallowed somebody's sandwich""",
        """in broad daylight|on a still evening in May|while we held our breath
        as the light began to fade|a few metres from the path|to the delight of the children
        during the picnic|early on Saturday|just after the rain""",
        """and nobody dared to move|but the camera was at home
        which is rarer than it sounds|and then it was quiet again""",
    ),
    topic(
        "land",
        "",
        """the river burst its banks above the mill
        a landslide blocked the only road to the valley
        the spring behind the chapel ran dry
        an earthquake rang the church bells by itself
        the glacier crept a few metres closer to the village
        the island grew by a hectare of black lava
        waves carved a new arch in the chalk
        the marsh was drained to make room for wheat
        a sinkhole swallowed a tennis court
        the forest crept back over the abandoned railway
        the delta split into three shallow channels
        the volcano sent up a thin thread of smoke
        a storm uncovered the ribs of a wooden ship
        the dunes moved inland and buried a barn
        the lake turned green from one shore to the other
        floodwater left a ring of mud on the walls
        the border was shifted to follow the stream
        the hot springs began to smell of sulphur
        the canal linked two towns that had never traded
        a cliff path crumbled into the surf""",
        """in the winter of 1923|in the space of a year|within living memory
        to everybody's astonishment
        as the chronicle records|in the far north of the province|long before the dam was built
        at the turn of the century|while the king was abroad""",
        """or so the villagers say|to the sorrow of the fishermen
        and the old maps became useless|which a geologist had foreseen""",
    ),
    topic(
        "bygone",
        "",
        """the ferry was rowed by a widow and her sons
        salt was carried over the pass on mules
        children collected wool from the thorn hedges
        the whole street shared one telephone
        a single lamp lit the entire market
        bread was sold by weight and stamped with a star
        the post came twice a week by sledge
        cloth was dyed with onion skins and walnut shells
        ice from the pond was stored under straw
        letters were sealed with a drop of red wax
        the night watch called out the hours
        the schoolmaster was paid in firewood and eggs
        news travelled no faster than a tired horse
        candles were made from the fat of sheep
        the miller kept one sack in every twelve
        ships paid a toll to pass under the bridge
        the barber also pulled teeth
        every house kept a bucket of sand by the door
        the town gates were locked at dusk
        weavers worked by the window to save oil
        a peddler brought needles and ribbons once a month
        the clock in the square had only one hand""",
        """in my great-grandmother's day|before the railway came|until the end of the war
        according to the parish records|in the years after the great fire
        as the older people remember it|all through the eighteenth century|in those lean times
        well into the 1930s""",
        """and nobody thought it strange|though few would believe it now
        as a faded photograph proves|and life went on much the same""",
    ),
    topic(
        "mishaps",
        "",
        """the wedding cake slid off the back of the van
        a wheel came off the mayor's carriage
        the tent collapsed on the brass band
        somebody released the balloons a day too early
        the guest of honour went to the wrong village
        a goat ate the winner's certificate
        the microphone picked up a taxi driver's conversation
        all of the name badges were printed upside down
        the fireworks went off inside the box
        the photographer backed into the fountain
        the soup arrived after the dessert
        two speakers gave exactly the same speech
        the statue was unveiled with the ladder still attached
        the ribbon would not tear and the scissors were blunt
        the marching band turned left instead of right
        the choir began in two different keys
        the raffle was won by the man who ran it
        a flock of geese invaded the buffet
        half of the coats ended up in the river
        the keys to the hall were locked inside it""",
        """at the opening ceremony|in the middle of the speeches|on the only dry day of the month
        at my cousin's anniversary party|in full view of the press|at the very last moment
        in the second week of May|on the stroke of twelve|despite weeks of planning""",
        """and the guests could not stop laughing|but the evening was saved
        and people still talk about it|which nobody had planned for""",
    ),
)

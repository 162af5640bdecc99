"""Phrase banks about people outdoors: farms, boats, hills, sport, travel, building, research."""

from __future__ import annotations

from .topic import Topic, topic

FIELD: tuple[Topic, ...] = (
    topic(
        "farm",
        """the shepherd|a beekeeper|Farmer Okafor|the dairyman's wife|the hired hands|Giulia
        the vet|my uncle|the cheese maker|three of the pickers""",
        """moved the ewes to the upper meadow
        mended the stone wall where the cows had pushed through
        lifted the last of the beetroot by hand
        caught a loose goat with a handful of oats
        sheared forty sheep and one angry ram
        repaired the tractor with a belt from a washing machine
        picked olives into nets spread under the trees
        pruned the apple trees into the shape of a bowl
        drove the hay wagon through the ford
        lost half the barley to hungry pigeons
        taught a calf to drink from a bucket
        scared the crows away with strips of foil
        counted the lambs twice to be sure
        opened the sluice to flood the rice field
        stacked the firewood against the south wall
        led a lame horse down to the road
        bottled the honey in square jars
        dug a ditch around the lower field
        sold two piglets to the schoolmaster
        hid the seed potatoes from the frost""",
        """at first light|just ahead of the storm|in a year of poor crops|with an old grey dog
        when the river began to rise|on the last day of the harvest|on the day of the village show
        despite a bad back|under a full moon""",
        """and was back in time for supper|singing loudly all the while
        as the swallows wheeled overhead|without a word of complaint""",
    ),
    topic(
        "sea",
        """the ferry captain|an old fisherman|the harbour master|Ingrid|a crew of four|the diver
        the lighthouse keeper|the ship's cook|our skipper|the coastguard""",
        """hauled in a net full of jellyfish
        steered between the rocks by memory
        patched the mainsail with a flour sack
        painted the hull a cheerful yellow
        spotted a whale off the northern point
        lost an anchor in the muddy channel
        towed a broken yacht into the bay
        signalled to the shore with a hand mirror
        scraped the barnacles from the keel
        sold the catch straight from the deck
        tied the dinghy to a rusty ring
        logged the wind and the height of the waves
        threw a rope to a boy on a raft
        brought up a bottle from the wreck
        found crabs hiding in the bilge
        sailed around the island in a bathtub
        rescued a spaniel from the sandbank
        dried a row of squid along the rail
        read the tide table upside down
        waited three hours for a fair wind""",
        """on a grey morning|on the spring tide|long before the storm broke|off the western cape
        with a heavy heart|in the middle of the regatta|as gulls screamed overhead
        on the voyage home|after the long war""",
        """and lit a pipe afterwards|and told the story for years
        as if it happened every day|while the radio crackled below""",
    ),
    topic(
        "hills",
        """the mountain guide|a party of scouts|Nadia|the hut warden|two geologists|the rescue team
        an elderly hiker|my walking companion|the surveyor|Bjorn""",
        """crossed the glacier on a single rope
        pitched the tent on a slope of loose stones
        followed the goat path around the summit
        melted snow over a tiny stove
        lost a boot in the peat bog
        marked the trail with small heaps of stones
        shared a bar of chocolate with a stranger
        climbed the north face without any rope
        mistook a sheep for a bear
        filled the flasks at a mossy spring
        read the map by the glow of a watch
        sheltered in a cave full of bats
        waded across the stream with boots held high
        measured the ridge with a brass barometer
        carried an injured walker down on a door
        photographed a rare blue gentian
        woke to find the valley full of cloud
        turned back a hundred metres below the top
        buried the food to keep it from foxes
        hammered a fossil out of the cliff""",
        """before the weather turned|on the second day of the trek|on a windy afternoon
        with blistered feet|shortly after dawn|above the tree line|as thunder rolled to the east
        at the end of a long descent|on the way to the pass""",
        """and laughed about it at the inn|and rested for a while after that
        while eagles circled below|and lived to tell the tale""",
    ),
    topic(
        "sport",
        """the goalkeeper|the tall bowler|the relay team|Simone|the oldest runner|our coach
        the visiting side|the young cyclist|the referee|an all-rounder from Hungary""",
        """tripped over the corner flag
        trained on the beach with a sack of sand
        broke the club record by a tenth of a second
        argued about the offside rule
        wore odd socks for luck
        threw the javelin straight into a hedge
        practised penalties against the barn door
        swam the length of the lake underwater
        shook hands with every opponent
        came from behind to finish third
        hit the ball clean over the pavilion
        punctured a tyre on the steepest hill
        lost count of the laps
        missed an open goal from two paces
        stretched for an hour beside the track
        played the whole match with a broken toe
        handed the medal to a small boy in the crowd
        swapped shirts with the captain of the other team
        served four aces in a row
        fell at the final hurdle""",
        """before the county championships|in the pouring rain|one Saturday in April
        in front of a television crew|against all expectations|with the sun low in the west
        during the training camp|on the hottest day of the tournament""",
        """and the captain just grinned|as the whole club knows
        and made no fuss about it|which the newspapers loved""",
    ),
    topic(
        "travel",
        """the tour guide|a couple from Lisbon|Wen|the night porter|our bus driver|the travel writer
        three nuns|a businessman in a hurry|the customs officer|my flatmate""",
        """left a passport in the hotel safe
        caught the wrong tram at the harbour
        haggled over a carpet in four languages
        slept upright between two crates of chickens
        changed trains six times in one day
        bought a ticket to a town that no longer exists
        spent the last coins on a paper cone of chestnuts
        asked for directions with a drawing of a castle
        queued for hours to see a very small painting
        stuffed nine sweaters into a single rucksack
        shared an orange with the man in the next seat
        missed the connection by a matter of seconds
        mispronounced the name of every station
        sent a postcard of a cathedral to the wrong aunt
        found a quiet courtyard behind the bazaar
        rented a bicycle with no brakes
        crossed the desert in an ice cream van
        kept a diary in tiny green handwriting
        took the mountain railway to the very end
        unpacked the suitcase on the station floor""",
        """on the first morning of the trip|in the company of strangers
        somewhere south of the capital
        in the worst heat of August|on the way to a wedding|during the national strike
        with almost no money left|after a sleepless night|two days behind schedule""",
        """and called it an adventure|and missed dinner as a result
        as the diary records|with no idea what it would lead to""",
    ),
    topic(
        "garden",
        """the head gardener|Mrs Abara|a retired postman|the children|the botanist|our landlord
        Felix|the vicar|the lady at number nine|the groundsman""",
        """planted garlic between the rose bushes
        trimmed the hedge into the shape of a teapot
        measured a pumpkin the size of an armchair
        moved the compost heap behind the shed
        tied the sweet peas to bamboo canes
        found a Roman coin among the carrots
        watered the lettuces with cold tea
        built a pond for a family of newts
        dug up the tulips by mistake
        grafted three kinds of pear onto one tree
        chased the deer away with a saucepan lid
        laid a path of crushed seashells
        covered the strawberries with an old net
        gathered walnuts in a straw hat
        put out a saucer of beer for the slugs
        rolled the lawn until it was perfectly flat
        lost a wedding ring in the flower bed
        hung a feeder for the goldfinches
        picked the first rhubarb of the year
        potted a palm tree no bigger than a spoon""",
        """in the cool of the evening|one fine afternoon|between two showers
        with great determination|in full view of the neighbours|without a word to anyone
        while the blackbirds sang|at the bottom of the garden|before the flower show""",
        """and wrote about it in the parish magazine|and then slept in a deckchair
        to the interest of the whole street|and came in with muddy knees""",
    ),
    topic(
        "building",
        """the bricklayer|the crane operator|a team of plumbers|the architect|Leila|the foreman
        the roofers|the town engineer|an electrician|the stonemason""",
        """poured the concrete for the new steps
        cut a doorway through a metre of stone
        found an old well beneath the cellar
        raised the last beam into place
        fitted the bathroom window back to front
        laid the tiles in a pattern of waves
        dropped a spirit level from the scaffold
        rebuilt the chimney with the original bricks
        tested the lift with sacks of cement
        painted the bridge from one end to the other
        widened the tunnel by a hand's breadth
        drew the staircase on a sheet of plywood
        cut the power to the entire block
        carved a lion's head above the porch
        sealed the leaking roof with hot tar
        dug the foundations through solid clay
        hung a heavy bell in the tower
        insulated the loft with sheep's wool
        numbered the stones before taking down the arch
        patched the road with gravel and pitch""",
        """one morning in October|ahead of the first frost|in a biting wind
        with the owner looking on|behind a high wooden fence|to the astonishment of the client
        on the site of the old brewery|before the inspector came|during the lunch break""",
        """and moved on to the next job|while the radio blared
        and nobody ever found out why|which the surveyor noted in a red book""",
    ),
    topic(
        "rescue",
        """the fire crew|a young constable|the detective|the park ranger|Inspector Moreau
        a passer-by
        the new recruit|the search party|Sergeant Bhatt|the duty officer""",
        """coaxed a kitten down from a lamp post
        put out the blaze in the paint store
        dusted the window frame for fingerprints
        closed the coast road to all traffic
        broke down the door with an iron bar
        followed the footprints as far as the canal
        questioned the gardener for the second time
        pulled a cow out of the swimming pool
        returned the stolen cello to its owner
        directed the traffic with a rolled umbrella
        noticed that the alibi did not add up
        carried two sleepers out through the smoke
        traced the phone call to an empty house
        handed out blankets and hot chocolate
        dragged a boat from the flooded street
        found the missing boy asleep in a haystack
        unlocked the handcuffs with a hairpin
        wrote down the number of the speeding van
        evacuated the cinema in four minutes
        searched the warehouse from top to bottom""",
        """in the early hours of Sunday|within minutes of the alarm|on the night of the flood
        with the help of a farmer|as a crowd gathered|in the rain and darkness
        without waiting for orders|before the reporters arrived|during the carnival""",
        """and filed a brief report|and then drove away without giving a name
        and was thanked by the mayor|which ended the matter""",
    ),
    topic(
        "research",
        """the astronomer|a doctoral student|the botanist's assistant|Dr Kimura|the laboratory
        an amateur geologist|the polar expedition|the statistician|Marguerite|the field team""",
        """drilled a core of ice as long as a bus
        repeated the experiment with distilled water
        tagged eleven storks with tiny rings
        discovered a beetle unknown to science
        plotted the position of a faint comet
        dropped the only sample into the sink
        measured the salt in the harbour mud
        counted seeds under a low-power lens
        recorded the songs of a hundred warblers
        calibrated the scales with a gold coin
        found traces of pollen in the clay
        labelled the test tubes in the wrong order
        published the results in a small journal
        cooled the magnet with liquid helium
        mapped the floor of the lake by sonar
        doubted the figures from the very start
        grew crystals in a jam jar
        tracked a wolf across two frontiers
        explained the strange signal as a faulty cable
        froze the cells for later study""",
        """after eight months of failure|on the last clear night of the season
        in the first year of the project|at the station on the plateau|in the middle of the summer
        in a makeshift tent|under the eye of the academy|in the presence of two colleagues
        early in 1968""",
        """and noted it in the log|which changed the whole theory
        and told the rest over supper|though few believed it at first""",
    ),
    topic(
        "town",
        """the mayor|a group of pensioners|the tram conductor|the street sweeper|Valentina
        the barber
        the newspaper editor|a delivery rider|the night watchman|the councillors""",
        """opened the new bridge with a pair of garden shears
        fed the pigeons outside the bank
        repainted the benches in the square
        complained about the noise of the fountain
        read the whole charter aloud from the balcony
        chained a bicycle to the statue of the poet
        voted to keep the crooked lamp post
        handed out free umbrellas at the station
        planted lime trees along the ring road
        stopped the tram for a family of ducks
        printed an apology on the front page
        climbed the clock tower to wind the mechanism
        swept confetti off the courthouse steps
        renamed the alley after a famous tailor
        played chess with a stranger under the arcade
        lost the key to the city gates
        collected signatures against the car park
        lit the lanterns one after another
        told the same story about the great fire
        danced with the baker's widow for an hour""",
        """on the national holiday|in spite of the cold|during the summer festival
        for the third year running|in front of the old post office|when the rain finally stopped
        in front of a school party|with little ceremony|at noon precisely""",
        """and the onlookers smiled|and nobody knows the reason
        while the band struck up a march|much as in previous years""",
    ),
)

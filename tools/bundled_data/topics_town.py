"""Phrase banks about people indoors: kitchens, workshops, offices, stages, shops, homes."""

from __future__ import annotations

from .topic import Topic, topic

TOWN: tuple[Topic, ...] = (
    topic(
        "kitchen",
        """the head cook|Amina|my grandmother|the new apprentice|the baker next door|Uncle Theo
        two of the students|our host|the canteen manager|Rosalind""",
        """peeled a whole sack of potatoes for the soup
        burnt the first batch of almond biscuits
        stirred saffron and orange peel into the rice
        grated far too much nutmeg over the custard
        forgot to salt the water for the pasta
        wrapped the trout in wet newspaper and baked it
        swapped the butter for olive oil in the old recipe
        rescued the split mayonnaise with a spoonful of mustard
        rolled the pastry thin enough to read through
        tasted the lentil stew and reached for more cumin
        left the dough to rise beside the warm stove
        sharpened every knife in the drawer on a wet stone
        scraped the last of the honey from the jar
        pickled a basket of small cucumbers with dill
        roasted chestnuts in a pan full of holes
        strained the plum jam through a clean cloth
        cracked a dozen eggs into the big blue bowl
        ruined a good saucepan by boiling it dry
        made dumplings from stale bread and a little bacon
        simmered the bones with leeks and bay leaves
        folded fresh basil through the tomato sauce
        dusted the ginger cake with icing sugar""",
        """before the first guests arrived|while the radio played old dance tunes
        on the last evening of the holidays|during the power cut|with the windows wide open
        without once looking at the recipe|as the clock struck seven
        in the cramped kitchen behind the hall|on the morning of the wedding""",
        """and nobody said a word about it|while the others laid the table
        and then sat down for a rest|and the whole house came to look""",
    ),
    topic(
        "workshop",
        """the carpenter|Old Henrik|the clockmaker's daughter|a retired engineer|Beatriz|my brother
        the two mechanics|the blacksmith|our neighbour|the youngest welder""",
        """planed the oak door until it swung freely
        soldered a loose wire inside the amplifier
        stripped four layers of paint from the chair
        oiled the hinges of every cupboard
        cut the copper pipe a finger's width too short
        replaced the cracked spring in the brass clock
        hung the saws in order of size along the wall
        glued the broken handle with melted resin
        measured the plank twice and still got it wrong
        drilled a neat row of holes along the steel bar
        built a kite frame from split bamboo
        dropped a tin of screws between the floorboards
        carved a small owl from a block of lime wood
        welded the garden gate back together
        polished the gear wheels with fine sand
        wound new wire around the burnt-out motor
        sketched the hinge on the back of an envelope
        traded a good chisel for a box of drill bits
        balanced the bicycle wheel on two nails
        sanded the table legs with old emery paper
        took the sewing machine apart to the last bolt
        borrowed a tall ladder from the firemen""",
        """after the lamps had been lit|on a quiet Monday|by the light of a single bulb
        during the hottest week of summer|with hardly any tools to hand|at the back of the shed
        while the kettle came to the boil|before the customer could object
        on the day of the village fair""",
        """and swept the floor afterwards|whistling the same tune over and over
        and wrote the date on the wall in chalk|to the amazement of the apprentices""",
    ),
    topic(
        "office",
        """the finance manager|Priya|our new director|the receptionist|a junior clerk|Mr Oyelaran
        the woman from payroll|both auditors|the caretaker|Stefan""",
        """filed the invoices under the wrong month
        printed three hundred copies of a blank page
        locked the only key inside the safe
        rewrote the safety notice in plain language
        moved the meeting to a room without chairs
        watered the plastic plant by mistake
        found a mouse behind the photocopier
        sent the parcel to an address in another country
        asked for a quieter desk away from the lift
        rang the supplier about the missing toner
        explained the new tax form with a simple drawing
        stapled the contract to somebody's sandwich bag
        cancelled the order for forty swivel chairs
        changed the password and told nobody
        spotted an error in the final column of figures
        wrote a polite reply to an angry customer
        labelled each shelf in the stationery cupboard
        shredded the draft of the annual report
        read the small print on the lease aloud
        turned down a promotion to the northern branch
        set off the alarm with a piece of toast
        rearranged the desks to face the courtyard""",
        """on the first day of the quarter|just before the inspection|on a rainy Tuesday
        over a cold cup of coffee|while the lift was being repaired|late on Friday afternoon
        during the fire drill|three days after the merger|when the phones fell silent""",
        """and went home early|and thought no more about it
        which led to a long memo|to the amusement of the sales team""",
    ),
    topic(
        "school",
        """the chemistry teacher|Class Four|the head of languages|little Yusuf|a visiting professor
        the twins|Miss Delacroix|the school librarian|our geography tutor|the tallest pupil""",
        """drew a map of the river on the blackboard
        recited a long poem about a shipwreck
        counted the rings of a fallen tree
        showed how a prism splits white light
        learned the names of the planets by singing them
        built a bridge from dry spaghetti
        mixed up the dates of two famous battles
        collected seventeen kinds of leaf for a project
        wrote a play about a stubborn king
        solved the puzzle without any hint
        hid a frog in the pencil box
        spelled the word rhythm correctly at last
        weighed a feather on the kitchen scales
        asked why the sea is salty
        corrected the textbook in green ink
        translated a menu from Portuguese
        timed a pendulum with a borrowed watch
        lost the register somewhere on the stairs
        planted beans in jars of damp cotton wool
        folded a paper boat that floated for an hour
        borrowed an atlas older than the building
        explained fractions with slices of melon""",
        """in the last lesson before lunch|while snow fell outside|at the start of the spring term
        one windy morning|after a visit to the museum|after a long silence
        during a rainy break|on the last day of term|on prize day""",
        """and everybody giggled|and then sat down quietly
        though the bell had already rung|which started a lively argument""",
    ),
    topic(
        "hospital",
        """the night nurse|Dr Halvorsen|a young surgeon|the ward sister|the dentist|Ngozi
        the chief surgeon|the locum from Cardiff|the junior doctor|the ambulance driver""",
        """changed the dressing on a burnt hand
        fetched an extra blanket for the old sailor
        read the X-ray against the window
        taught the patient to walk with a stick
        wrote the dose in large clear letters
        listened to a cough that had lasted for weeks
        calmed a frightened boy with a story about bears
        pulled out a stubborn tooth in seconds
        ran down the corridor with a bag of blood
        checked the blood pressure of the whole football team
        removed a fish hook from a thumb
        ordered six more boxes of bandages
        warned the mayor about too much salt
        found the missing spectacles under a pillow
        carried the flowers out to the landing
        stitched a long cut above the eyebrow
        recommended plenty of rest and warm soup
        brought a wheelchair up in the goods lift
        refilled the jar of throat sweets
        spoke to the family in their own language""",
        """at three in the morning|between two emergencies|shortly after visiting hours
        without any fuss|in the busiest week of the winter|as the shift changed
        when the generator failed|on Christmas Eve|in the first week of the year""",
        """and never mentioned it again|and then went off to find some tea
        and made a note on the chart|as calmly as ever""",
    ),
    topic(
        "music",
        """the second violinist|my cousin Bela|Luisa|the church organist|my piano teacher
        a music student|the cellist from Krakow|the old bandmaster|Kofi|the conductor's son""",
        """tuned the old harp by ear
        played the slow movement far too quickly
        broke a string in the middle of the solo
        sang a lullaby in three languages
        borrowed a cello from the museum
        hummed the melody until it made sense
        left the sheet music on the tram
        wrote a waltz for a friend's birthday
        practised the same four bars over and over
        turned two pages at once and kept going
        repaired the bellows with a patch of leather
        tapped out the rhythm on a biscuit tin
        recorded the song in an empty water tower
        swapped the trumpet for a battered tuba
        taught the children a round about a cuckoo
        forgot the words of the second verse
        added a long trill before the final chord
        played under the balcony for nothing but applause
        learned an old ballad from a fisherman
        rehearsed behind the curtain in thick socks""",
        """on the steps of the town hall|after the interval|on the night before the concert
        at the midsummer festival|on a bitterly cold evening|while the hall filled up
        on a borrowed instrument|during the royal visit|on the evening of the parade""",
        """and said nothing about it|as the whole choir can confirm
        which made the soprano laugh|though hardly anyone noticed""",
    ),
    topic(
        "theatre",
        """the leading actor|the wardrobe mistress|a painter of scenery|the clown|Magdalena
        the usher
        the stage manager|an understudy|the puppeteers|the playwright""",
        """sewed a torn velvet cloak back together
        painted a forest on forty metres of canvas
        walked on through the wrong door
        whispered the forgotten line from the wings
        built a dragon out of umbrellas
        tripped over a cable during the duel
        refused to wear the feathered hat
        lowered the moon on a squeaking rope
        rewrote the ending on a paper napkin
        powdered the wigs with cornflour
        fell asleep in the royal box
        juggled lemons to fill the pause
        sold the last seat to a man with a parrot
        shook a sheet of tin to make the thunder
        counted the tickets in the dusty office
        kept the curtain down for a whole minute
        took the part of the ghost without warning
        lit the stage with a row of car lamps
        learned the entire second act on a train
        hung lanterns along the front of the balcony""",
        """on the opening night|at the dress rehearsal|in the year of the great tour
        while the rain leaked in|on the second night in Bergen|in the third week of the season
        with only minutes to spare|to the director's astonishment|in the last week of the run""",
        """and never spoke of it again|and carried on as if nothing had happened
        while the orchestra waited|which became part of the legend""",
    ),
    topic(
        "shop",
        """the greengrocer|a market trader|Mrs Lindqvist|the florist|the bookseller|Hamid
        the shoe repairer|the girl at the till|our butcher|the antique dealer""",
        """weighed the cherries in a brass pan
        wrapped the parcel in yesterday's paper
        gave back a coin too many
        chalked the price of eels on a slate
        stacked the melons into a wobbly tower
        put aside a first edition for a friend
        sold a cracked teapot as a vase
        haggled over a box of door knobs
        closed the shutters an hour early
        mended a boot with a strip of tyre
        tied the tulips with a length of green wool
        hired a student to deliver the parcels
        swept the sawdust into the gutter
        threw in a bunch of parsley for free
        counted the takings in a back room
        tested the torch batteries one by one
        displayed the hats on upturned buckets
        mislaid the keys to the cold store
        bought a crate of apricots from a passing lorry
        painted a new sign in red and gold""",
        """on market day|as the church bells rang|in the pouring rain|well before sunrise
        while the queue grew longer|at the height of the sales|in the narrow lane by the bridge
        after a good deal of argument|on the eve of the festival""",
        """and hummed a little tune|as the cat looked on
        and made a joke about the weather|to the surprise of the regulars""",
    ),
    topic(
        "library",
        """the archivist|a student of law|Professor Tanaka|the museum guard|a local historian|Ewa
        the map collector|the curator|two schoolgirls|the translator""",
        """found a love letter inside a dictionary
        copied the inscription letter by letter
        dusted a cabinet of stuffed hummingbirds
        returned a novel that had been due for years
        catalogued nine hundred glass negatives
        read the whole diary of a lighthouse keeper
        traced the border on thin paper
        glued the spine of a fat encyclopaedia
        noticed a thumbprint on the wax seal
        turned the pages with a wooden spatula
        compared two editions line by line
        dropped a tray of index cards on the stairs
        discovered that the famous portrait was a copy
        unrolled a chart of the southern stars
        put the coins back in the wrong drawer
        dozed over a history of drainage
        showed the visitors a bronze age comb
        identified the handwriting as the duke's
        borrowed a magnifying glass from the front desk
        wrote a short label for the meteorite""",
        """in the reading room|on a wet Thursday|long after closing time|at a table by the stairs
        on a humid afternoon|during the renovation|under a flickering lamp
        at the end of a dull week|in the week before Easter""",
        """and made a note of the date|and asked for a second opinion
        before going out for lunch|which later made the local news""",
    ),
    topic(
        "home",
        """my aunt|the lodger|Grandfather|the babysitter|our eldest daughter|Tomas|the whole family
        the couple upstairs|the decorator|Cousin Adaeze""",
        """painted the hallway the colour of mustard
        knitted a scarf long enough for a giraffe
        moved the piano to the other end of the room
        hung the washing across the landing
        unblocked the sink with a bent coat hanger
        lost at cards to a nine-year-old
        put up shelves that sloped to the left
        found a nest of wasps in the attic
        taught the parrot to imitate the doorbell
        turned the old curtains into cushions
        fixed the dripping tap with a rubber ring
        saved every jam jar for some future need
        spilled ink on the best tablecloth
        built a den from blankets and a clothes horse
        wrote thank-you letters at the dining table
        sorted the buttons by colour and size
        polished the silver spoons for no particular reason
        slept through the noise of the drills
        let the bath overflow onto the stairs
        buried a time capsule under the patio""",
        """on a dull Sunday|while the rain came down|in the week after the move
        with the dog watching closely|during the school holidays|late in the evening
        on the coldest night of the year|for the second time that week|before breakfast""",
        """and felt rather proud of it|and then put the kettle on
        to the despair of the landlord|and laughed about it for weeks""",
    ),
)

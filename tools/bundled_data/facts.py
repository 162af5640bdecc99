"""Everyday facts, as present-tense clauses, and the phrases that may introduce them."""

from __future__ import annotations

from .topic import phrases

FACTS: tuple[str, ...] = phrases(
    """octopuses have three hearts and blue blood
    the Danube flows through more countries than any other river
    honey keeps for centuries if the jar is sealed
    bamboo is a kind of grass rather than a tree
    sound travels faster in water than in air
    Iceland heats most of its homes with hot springs
    a hummingbird can hover and even fly backwards
    copper roofs turn green as they weather
    the Atacama is one of the driest places on Earth
    cheese ripens more slowly in a cold cellar
    the moon always shows us the same face
    rubber trees are tapped in the cool of the morning
    bats find their prey by listening for echoes
    a violin has four strings tuned in fifths
    diamonds and pencil lead are both made of carbon
    camels store fat rather than water in their humps
    Lake Baikal holds a fifth of the world's fresh surface water
    the tides are pulled mainly by the moon
    yeast gives off the gas that makes bread rise
    penguins live in the wild on southern coasts
    cork is cut from the bark of a living oak
    Venus is hotter than Mercury because of its thick air
    chess was played in Persia long before it reached Europe
    glass can be recycled again and again
    sharks have skeletons of cartilage instead of bone
    the Sahara was once dotted with lakes
    a compass needle does not point exactly to the pole
    silk is spun from the cocoons of moth larvae
    owls can turn their heads almost all the way round
    the Netherlands lies partly below the level of the sea
    steel is mostly iron with a little carbon
    snails can sleep through a long dry spell
    the shortest day of the year falls in December in the north
    salt lowers the freezing point of water
    trees talk to one another through threads of fungus
    the marathon is a little over forty-two kilometres long
    vanilla comes from the pods of an orchid
    a piano has more than two hundred strings
    Bolivia has no coast but keeps a navy
    cats cannot taste anything sweet
    the inner ear helps us to keep our balance
    lightning is hotter than the surface of the sun
    windmills were used to pump water out of the fields
    koalas spend most of the day asleep
    the Nile runs from south to north
    onions make us cry because of a sulphur compound
    the speed of light is the same for every observer
    a bicycle is steadier the faster it goes
    tea and coffee both contain caffeine
    salmon return to the stream where they hatched
    most of Mongolia is grassland and desert
    concrete goes on hardening for years
    seahorse fathers carry the eggs
    the skin is the largest organ of the body
    tomatoes were once thought to be poisonous
    ants can carry many times their own weight
    a leap year has one extra day in February
    the Amazon carries more water than any other river
    helium makes a balloon rise because it is lighter than air
    red wine stains come out more easily while they are wet
    the bagpipes are played in many parts of the world
    gold does not rust or tarnish
    polar bears have black skin beneath their fur
    saffron is picked by hand from autumn crocuses
    the Pacific is wider than all the continents together
    goats can climb almost vertical cliffs
    a sundial is useless on a cloudy day
    frogs take in water through their skin
    paper was made from rags before it was made from wood
    Australia is both a country and a continent
    hot water sometimes freezes faster than cold
    elephants recognise themselves in a mirror
    a full orchestra tunes to the note of the oboe
    rice is grown on terraces in much of Asia
    the human hand has twenty-seven bones
    magnets lose their strength when they are heated
    peat forms very slowly in waterlogged ground
    Tokyo was once a small fishing village called Edo
    bees dance to show where the flowers are
    aluminium was once more precious than silver
    whales breathe air just as we do
    the referee may add time at the end of each half
    mushrooms are closer to animals than to plants
    granite cools slowly deep underground
    a good night's sleep helps the memory
    the Andes are the longest mountain range on land
    soap works by loosening grease from the skin
    woodpeckers do not get headaches
    cinnamon is the dried inner bark of a tree
    maps of the sea show depth as well as distance
    every snowflake has six sides or arms
    the first photographs took many minutes to expose
    crocodiles swallow stones to help their digestion
    wool keeps its warmth even when damp
    the equator crosses Ecuador and Kenya
    a cello sounds lower than a viola
    milk turns sour when bacteria feed on its sugar
    jellyfish have neither brains nor bones
    old newspapers make excellent insulation
    potatoes came to Europe from the Andes
    the sun is a middle-sized star
    flamingos turn pink from the food they eat
    drums were used to send messages over long distances
    the Great Barrier Reef can be seen from orbit
    pepper was once worth its weight in silver
    spiders use both sticky and smooth silk
    a heavy ship floats because it pushes water aside
    the days grow longer after the winter solstice
    lemons ripen slowly in a cool room
    swimmers float more easily in salt water
    the Alps are still rising by a tiny amount each year
    dust from space falls on the Earth every day
    chalk is made of the shells of tiny sea creatures
    reindeer have eyes that change colour with the seasons
    a plane can glide a long way without its engines
    Greek and Russian use related alphabets
    rabbits keep their ears upright to lose heat
    sugar beet grows well in cool climates
    the first railway carriages were pulled by horses
    water expands as it turns to ice
    zebras have stripes as individual as fingerprints
    mint will take over a garden if nobody stops it
    Morocco exports oranges and phosphates
    the smallest bones of the body lie inside the ear
    clay must be dried slowly before it is fired
    trams run more quietly on grassed track
    amber is the hardened resin of ancient pines
    table tennis began as an after-dinner game
    squirrels forget where they bury many of their nuts
    the harp is one of the oldest instruments
    deserts can be bitterly cold at night
    velcro was inspired by burrs caught in a dog's coat
    Finland has well over a hundred thousand lakes
    a candle needs oxygen to keep burning
    walnut wood is prized by makers of furniture
    crows can remember a face for years
    flour dust can explode in a closed room
    mangroves protect the coast from storms
    the word robot comes from a Czech play
    lava can flow for miles before it hardens
    blue was the rarest dye in the ancient world
    figs are pollinated by tiny wasps
    the stars near the pole never set
    linen grows stronger when it is wet"""
)

FACT_LEADS: tuple[str, ...] = phrases(
    """as the guide explained, {}.|it is easy to forget that {}.|did you know that {}?
    few visitors realise that {}.|I was eight before I learned that {}.
    the label in the museum says that {}.|our teacher liked to remind us that {}.
    {}, as any schoolchild will tell you.|{}, or so my father always says.
    is it really true that {}?|for a long time nobody suspected that {}.
    the quiz turned on the fact that {}.|the lecture began with the news that {}.
    {}, though it sounds like a joke.|according to the almanac, {}.
    what surprised me most was that {}.|a poster by the door announces that {}.
    we had a long argument about whether {}.|{}, and that is no exaggeration.
    try telling a four-year-old that {}.|the encyclopaedia on the shelf confirms that {}.
    the new exhibition shows that {}.|{}, if the textbooks are right.
    remember for the examination that {}.|on the radio they mentioned that {}.
    a sailor once told me that {}.|my sister refuses to believe that {}.
    {}, which makes a good question for a quiz.|it can be shown quite simply that {}.
    the crossword clue relied on knowing that {}."""
)
